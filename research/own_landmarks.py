"""The tutorial for a landmark set of one's own on real pictures: every step, as commands, from a CSV to the judge.

    python -m research.own_landmarks data/hands --output DIR --steps 600

takes the pictures and points of a data set apart into a folder and a CSV, as somebody has them who begins, and goes on
as `docs/tutorials/own-landmarks.md` does: schema without an order, check, split, train, evaluate, export, predict. What
is left to do by hand it says at the end: the review in the browser.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from SpineLandmarksLib.annotated_slices import load_annotations, schema_of

#: Small enough for one core. A picture's longer side is up to 256 mm.
RECIPE = """\
architecture: {{heatmap: {{network: unet, filters: [16, 32, 64, 96, 128], stride: 2}}, stride: 2,
  heatmap_loss: softmax_cross_entropy}}
preparation: {{spacing_mm: 1.0, multiple: 32}}
geometry: {{shift_xy: [20, 20], rotation: 15, scale: [0.85, 1.15]}}
crop: [256, 192]
learning_rate: 0.004
steps: {steps}
batch: 4
"""


def main(arguments: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m research.own_landmarks", description=(__doc__ or "").splitlines()[0])
    p.add_argument("data", type=Path, help="folder of a data set with landmarks.json, as hands")
    p.add_argument("--output", type=Path, required=True, help="a new folder")
    p.add_argument("--steps", type=int, default=600)
    p.add_argument("--holdout", type=int, default=20, help="patients that judge")
    options = p.parse_args(arguments)
    options.output.mkdir(parents=True)
    names = take_apart(options.data, options.output)
    as_data_set(options.output, names)
    (options.output / "own.yaml").write_text(RECIPE.format(steps=options.steps), encoding="utf-8")
    for line in commands(options.output, options.holdout):
        run(line, options.output)
    print_figures(options.output / "report" / "metrics.json")
    print(f"Then, by hand: cd {options.output} && spine-landmarks review mine --bundle own --author Ann")
    return 0


def take_apart(data: Path, output: Path) -> list[str]:
    """A folder of pictures and points.csv, as they come from somewhere; the names of the points."""
    (output / "mine" / "images").mkdir(parents=True)
    names = list(schema_of(data))
    with open(output / "points.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["image", "patient", "name", "x", "y", "spacing_mm"])
        for row in load_annotations([data], names):
            shutil.copyfile(row.image, output / "mine" / "images" / row.image.name)
            spacing = (row.spacing_mm or (1.0, 1.0))[0]
            table.writerows([row.image.name, row.group, name, *xy, spacing] for name, xy in row.points_xy.items())
    return names


def as_data_set(output: Path, names: Sequence[str]) -> None:
    """landmarks.json and schema.json from the CSV, as the tutorial does; nobody has measured the spacing of `hands`."""
    rows: dict[str, dict[str, object]] = {}
    for point in csv.DictReader((output / "points.csv").read_text(encoding="utf-8").splitlines()):
        row = rows.setdefault(point["image"], {"patient": point["patient"], "image": f"images/{point['image']}"})
        row["spacing_mm_estimated"] = float(point["spacing_mm"])
        row.setdefault("landmarks_px", {})[point["name"]] = [float(point["x"]), float(point["y"])]  # type: ignore[index]
    (output / "mine" / "landmarks.json").write_text(json.dumps(list(rows.values())), encoding="utf-8")
    schema = {"landmarks": list(names), "order": "none"}
    (output / "mine" / "schema.json").write_text(json.dumps(schema), encoding="utf-8")


def commands(output: Path, holdout: int) -> list[str]:
    picture = sorted((output / "mine" / "images").iterdir())[0].name
    return [
        "dataset init mine --author Ann",
        "dataset check mine",
        f"dataset split mine --holdout {holdout}",
        "train --recipe own.yaml --data mine --holdout 10 --name own --output run",
        "evaluate mine --locked --bundle run/own --output report",
        "export run/own --output own",
        f"predict mine/images/{picture} --spacing 0.3 --bundle own --output found "
        "--format json,csv,mrk.json,report.html",
    ]


def run(line: str, folder: Path) -> None:
    """A command of the program, in the folder; raises CalledProcessError where it fails."""
    print(f"$ spine-landmarks {line}", flush=True)
    started = time.monotonic()
    program = [sys.executable, "-m", "SpineLandmarksLib", *shlex.split(line)]
    path = os.pathsep.join(filter(None, (os.getcwd(), os.environ.get("PYTHONPATH", ""))))
    subprocess.run(program, cwd=folder, check=True, env={**os.environ, "PYTHONPATH": path})
    print(f"# {time.monotonic() - started:.0f} s", flush=True)


def print_figures(metrics: Path) -> None:
    found = json.loads(metrics.read_text(encoding="utf-8"))
    print(f"{found['n_images']} locked pictures, {found['unit']}: {json.dumps(found['overall'])}")


if __name__ == "__main__":
    sys.exit(main())
