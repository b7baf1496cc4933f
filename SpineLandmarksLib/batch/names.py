"""What the results of each study are called: no two alike, and the same again in the next run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from SpineLandmarksLib.errors import InputError
from SpineLandmarksLib.imaging.discover import PICTURES, VOLUMES, find_studies
from SpineLandmarksLib.predict import printable

#: Endings that come off a file's name; a folder keeps its whole name.
ENDINGS = (*VOLUMES, *PICTURES, ".img", ".dcm", ".ima")
#: Names of a run's own lists, which no study may have.
FAILED, SUMMARY = "failed", "summary"
#: Bytes of a stem: with `.overlay.png` and the like it must stay below the 255 that most disks allow.
MAX_BYTES = 200


@dataclass(frozen=True)
class BatchItem:
    """An input and the stem of its result files."""

    path: Path
    stem: str


def named(inputs: Sequence[Path]) -> list[BatchItem]:
    """Each input as a study."""
    return [BatchItem(path, stem) for path, stem in zip(inputs, stems(inputs), strict=True)]


def found_in(roots: Sequence[Path], with_pictures: bool, output: Path) -> list[BatchItem]:
    """The studies in trees, named after their folders below the root, as `patient_study`. InputError without any."""
    names: dict[Path, str] = {}
    for root in roots:
        for path in find_studies(root, with_pictures, but_not=output):
            below = path.relative_to(root).parts[:-1] if path != root else ()
            parts = (*([root.name] if len(roots) > 1 and path != root else []), *below, _stem(path))
            names.setdefault(path, "_".join(printable(part) for part in parts))
    if not names:
        pictures = "" if with_pictures else "; with --spacing, pictures count too"
        raise InputError(f"Expected DICOM folders or image files in {', '.join(map(str, roots))}; found none{pictures}")
    return [BatchItem(path, stem) for path, stem in zip(names, _unlike(names.values()), strict=True)]


def stems(inputs: Sequence[Path]) -> list[str]:
    """Names of the results: each input's own, with as many parent folders as it takes to tell inputs apart.

    Where folders do not do it (`a.nii` beside `a.png`), a number does. Names that differ in case alone are one name
    on many disks, and `failed` and `summary` belong to the lists of a run.
    """
    paths = [Path(os.path.abspath(path)) for path in inputs]
    names = [_stem(path) for path in paths]
    for depth in range(1, max(len(path.parts) for path in paths)):
        if len({name.casefold() for name in names}) == len(set(paths)):
            break
        names = ["_".join((*path.parts[1:-1][-depth:], _stem(path))) for path in paths]
    once = list(dict.fromkeys(zip(paths, names, strict=True)))
    unlike = dict(zip(once, _unlike(name for _, name in once), strict=True))
    return [unlike[pair] for pair in zip(paths, names, strict=True)]


def _unlike(names: Iterable[str]) -> Iterator[str]:
    """Each name, with a number where an earlier one is the same but for case."""
    taken = {FAILED, SUMMARY}
    for name in names:
        name = next(n for n in _numbered(_short(name)) if n.casefold() not in taken)
        taken.add(name.casefold())
        yield name


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in count(2))


def _short(name: str) -> str:
    """The end of a name that is too long, and a hash of the whole in place of the beginning."""
    data = name.encode()
    if len(data) <= MAX_BYTES:
        return name
    return f"{hashlib.sha256(data).hexdigest()[:12]}_{data[-MAX_BYTES + 20 :].decode(errors='ignore')}"


def _stem(path: Path) -> str:
    name = printable(path.name)
    if not path.is_dir():
        ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")
        name = name[: len(name) - len(ending)] or name
    return name or "study"  # the root of a disk has no name
