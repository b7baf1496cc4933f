"""The command `convert`: landmark files from one format into another, with what is lost on the way."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from SpineLandmarksLib.arguments import slice_index, spacing
from SpineLandmarksLib.errors import FormatError, OutputError

if TYPE_CHECKING:
    from SpineLandmarksLib.formats.catalogue import FileFormat
    from SpineLandmarksLib.formats.image_grid import PointsOnImage


def add_convert(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("convert", help="turn landmark files of one format into another")
    p.add_argument("input", nargs="?", type=Path, metavar="IN", help="landmark file")
    p.add_argument(
        "output", nargs="?", type=Path, metavar="OUT", help="file, or a folder for the files of several images"
    )
    p.add_argument("--from", dest="source", metavar="FORMAT", help="of IN (default: by its content)")
    p.add_argument("--to", metavar="FORMAT", help="of OUT (default: by its name)")
    p.add_argument(
        "--image", type=Path, metavar="IMAGE", help="that the points lie on; formats in pixels or voxels need it"
    )
    p.add_argument("--spacing", type=spacing, metavar="MM", help="mm per pixel of a picture; X,Y if they differ")
    p.add_argument("--slice", type=slice_index, metavar="INDEX", help="of pixels, where IN does not say it")
    p.add_argument("--study", metavar="UID|DATE|N", help="exam of the image where it holds several")
    p.add_argument("--formats", action="store_true", help="show what each format can carry, and end")
    p.set_defaults(run=run_convert)


def run_convert(options: argparse.Namespace) -> int:
    """Convert one file and tell what was written and what was lost."""
    from SpineLandmarksLib.formats.catalogue import as_table, format_to_write

    if options.formats:
        print(as_table())
        return 0
    if options.input is None or options.output is None:
        raise FormatError("Expected IN and OUT; got fewer. `convert --formats` shows the formats")
    cases = _read(options)
    kind = format_to_write(options.to, options.output)
    _require_millimetres(cases, kind)
    for text in dict.fromkeys(_remarks(cases, kind)):
        print(f"  {text}")
    for file, group in _files(cases, options.output, kind):
        assert kind.write is not None
        kind.write(group, file)
        count = sum(kind.holds(mark) for one in group for mark in one.landmarks)
        print(f"{file}: {count} points on {len(group)} image{'s' * (len(group) > 1)}, {kind.title}")
    return 0


def _read(options: argparse.Namespace) -> list[PointsOnImage]:
    """The landmarks of the file, on the image where one is given."""
    from SpineLandmarksLib.formats.catalogue import read_cases
    from SpineLandmarksLib.formats.image_grid import PointsOnImage

    if options.image is None:
        return read_cases(options.input, options.source)[1]
    from SpineLandmarksLib.imaging.placement import off_slice_mm, placed
    from SpineLandmarksLib.imaging.study import read_grid

    stack, grid = read_grid(options.image, options.spacing, options.study)
    kind, cases = read_cases(options.input, options.source, image=grid)
    said = _of_image(cases, grid.stem, grid.study_uid).landmarks
    shown = grid.shown if kind.counts_in.startswith("pixels of a DICOM") else None
    found = placed(said, stack, options.slice, shown)
    if (off_mm := off_slice_mm(found, stack)) > 1:
        print(f"  points lie up to {off_mm:.1f} mm beside slice {found.slice_index}; pixels alone do not say so")
    return [PointsOnImage(replace(found, input=str(options.image)), grid)]


def _of_image(cases: Sequence[PointsOnImage], stem: str, study_uid: str | None) -> PointsOnImage:
    """The only case, or the one that has the image's name."""
    fits = [one for one in cases if one.image and one.image.stem in (stem, study_uid)] if len(cases) > 1 else cases
    if len(fits) != 1:
        names = ", ".join(one.name for one in cases)[:200]
        raise FormatError(
            f"Expected the landmarks of {stem} once in the file; found {len(fits)} of that name in {names}"
        )
    return fits[0]


def _require_millimetres(cases: Sequence[PointsOnImage], kind: FileFormat) -> None:
    """Raise FormatError where a format of millimetres would leave out points that have pixels alone."""
    marks = [mark for one in cases for mark in one.landmarks if not mark.is_absent and mark.position_ras_mm is None]
    if marks and "pixels" not in kind.carries:
        names = ", ".join(dict.fromkeys(mark.name for mark in marks))
        raise FormatError(f"{kind.title}: expected millimetres; {names} have pixels alone. Give the --image")


def _remarks(cases: Sequence[PointsOnImage], kind: FileFormat) -> list[str]:
    from SpineLandmarksLib.formats.catalogue import losses

    warnings = [f"warning: {text}" for one in cases for text in one.landmarks.warnings]
    lost = [f"not in {kind.title}: {text}" for one in cases for text in losses(one.landmarks, kind)]
    return [*warnings, *lost, *([f"note: {kind.remark}"] if kind.remark else [])]


def _files(
    cases: Sequence[PointsOnImage], output: Path, kind: FileFormat
) -> list[tuple[Path, Sequence[PointsOnImage]]]:
    """Where each image's landmarks go: one file for all, or one each in a folder, named as its image."""
    if kind.several or len(cases) == 1:
        if output.is_dir():
            raise OutputError(f"Expected a file to write; {output} is a folder")
        return [(output, cases)]
    names = [f"{one.image.stem if one.image else Path(one.name).stem}{kind.endings[0]}" for one in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise OutputError(f"Expected a name for each image; {', '.join(twice)[:200]} would be written twice")
    if output.suffix and not output.is_dir():
        raise OutputError(f"Expected a folder for the files of {len(cases)} images; got the file name {output}")
    output.mkdir(parents=True, exist_ok=True)
    return [(output / name, [one]) for name, one in zip(names, cases, strict=True)]
