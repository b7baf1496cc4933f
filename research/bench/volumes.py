"""Distance in 3-D of the predicted lumbar bodies from the centres of their masks, on real volumes.

    python research/bench/volumes.py ../shared/data/volumes [BUNDLE]

Beside each NAME.nii.gz lies NAME.json with {"body_centres_ras_mm": {"L1": [R, A, S], ...}}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from SpineLandmarksLib.bundle import DEFAULT
from SpineLandmarksLib.predict import Localizer, predict


def main(folder: Path, bundle: str = DEFAULT) -> None:
    localizer = Localizer.open(bundle)
    every = []
    for volume in sorted(folder.glob("*.nii.gz")):
        truth = json.loads(Path(str(volume).removesuffix(".nii.gz") + ".json").read_text())["body_centres_ras_mm"]
        _, found = predict(volume, localizer)
        mm = [
            float(np.linalg.norm(np.subtract(found[name].position_ras_mm or (np.nan,) * 3, truth[name])))
            for name in truth
        ]
        row = "  ".join(f"{name} {value:4.1f}" for name, value in zip(truth, mm, strict=True))
        print(f"{volume.name:20} {row} mm")
        every += mm
    print(f"{localizer.bundle.label}: mean {np.mean(every):.2f} mm, worst {max(every):.2f} mm of {len(every)} bodies")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
