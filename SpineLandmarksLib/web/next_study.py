"""The next study of a data set for somebody who corrects in another program, assigned, as that program can read it.

    python -m SpineLandmarksLib.web.next_study DATASET ANNOTATOR FOLDER [AFTER [RELEASE [WANTED]]]
    python -m SpineLandmarksLib.web.next_study DATASET ANNOTATOR

prints one line of JSON: {"key", "done", "to_do", "rows", "voxels", "ras_from_ijk", "landmarks", "parent", "image",
"notes"}; without a FOLDER, only the rows: [key, state, words] of every study, as the browser lists them.
Queue, order and states are those of the browser: what was begun first, then the rest; AFTER a study, what follows it;
or the study that is WANTED. RELEASE, which nobody worked on, is kept for the annotator no longer once there is another.
An empty text is none.
`voxels` is a file in FOLDER: (K, H, W) of the upright stack, numpy's .npy. The landmarks are those of revision `parent`
in the result contract; both are null where nothing is known yet. `image` is what a revision must say of the image.
Where nothing waits, key is null.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from SpineLandmarksLib.errors import SpineLandmarksError
from SpineLandmarksLib.formats.json_result import as_json
from SpineLandmarksLib.store.doubt import StudyDoubts, most_doubtful_first
from SpineLandmarksLib.store.folder import open_dataset
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.web.open_study import OpenStudy, open_study
from SpineLandmarksLib.web.studies import Listing, listing

_DOUBTS = StudyDoubts()


def next_study(
    store: Store, annotator: str, folder: Path, after: str = "", release: str = "", wanted: str = ""
) -> dict[str, Any]:
    """Assign it and say what it is. Raises as `open_study`."""
    listed = _listed(store, annotator)
    to_do = listed.to_do(after or None)
    key = store.take([wanted] if wanted else to_do, annotator)
    found = {"key": key, "done": listed.done, "to_do": len(to_do)}
    if key is None:
        return found | {"rows": case_rows(store, annotator)}
    described = _described(open_study(store, key, annotator), folder)
    if release not in ("", key) and store.assignments().get(release) == annotator:
        store.release(release)
    return found | described | {"rows": case_rows(store, annotator)}


def case_rows(store: Store, annotator: str) -> list[list[str]]:
    """[key, state, words] of every study, first those to do, as `studies.listing` has them."""
    return [[row.key, row.state, row.words] for row in _listed(store, annotator).rows]


def _listed(store: Store, annotator: str) -> Listing:
    return listing(store, annotator, most_doubtful_first(_DOUBTS.read(store)))


def _described(opened: OpenStudy, folder: Path) -> dict[str, Any]:
    voxels = folder / f"{opened.study.key}.npy"
    np.save(voxels, opened.stack.voxels)
    return {
        "voxels": str(voxels),
        "ras_from_ijk": opened.frame.ras_from_ijk.tolist(),
        "landmarks": as_json(opened.landmarks) if opened.landmarks else None,
        "parent": opened.parent,
        "image": asdict(opened.study.reference),
        "notes": list(opened.notes),
    }


def print_next_study(dataset: str, annotator: str, folder: str = "", *keys: str) -> int:
    """keys: AFTER, RELEASE and WANTED, as far as they are given."""
    try:
        with open_dataset(Path(dataset)) as store:
            listed = {"rows": case_rows(store, annotator)} if not folder else {}
            print(json.dumps(listed or next_study(store, annotator, Path(folder), *keys)))
    except (SpineLandmarksError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(print_next_study(*sys.argv[1:]))
