"""Which studies lie in a tree of folders.

- A folder that holds DICOM files is a study, together with its sub-folders and whatever else lies in it.
- Where all DICOM folders below one folder belong to one study (their first files name one StudyInstanceUID), that
  folder is the study: a study of several series is usually kept as a folder for each.
- Every other image or zip file is a study of its own. Pictures are not: a tree holds previews and screenshots.

Names that begin with a dot are passed over, links to folders are not followed. One header is read for each folder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from SpineLandmarksLib.errors import SpineLandmarksError
from SpineLandmarksLib.imaging.dicom_header import looks_like_dicom
from SpineLandmarksLib.imaging.volume import reading

#: A file of one of these is a study; `.img` and `.raw` belong to a header file beside them.
VOLUMES = (".nii.gz", ".nii", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgh.gz", ".mgh", ".mgz", ".zip")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
#: Pictures that are results of this program.
_OVERLAY = ".overlay.png"
#: The list of files on a DICOM disk (PS3.10, 8.6), which is a DICOM file and no image.
_DIRECTORY = "DICOMDIR"


def find_studies(root: Path, with_pictures: bool = False, but_not: Path | None = None) -> list[Path]:
    """The studies below a folder, by name; a file is a study itself.

    with_pictures: whether a picture is a study too. but_not: a folder that is not looked into.
    """
    if not root.is_dir():
        return [root]
    kinds = VOLUMES + PICTURES if with_pictures else VOLUMES
    dicom, volumes = _look(root, kinds, but_not.resolve() if but_not else None)
    return sorted([*(folder for folder, _ in dicom), *volumes])


def _look(folder: Path, kinds: tuple[str, ...], but_not: Path | None) -> tuple[list[tuple[Path, str]], list[Path]]:
    """DICOM studies with their UIDs (empty when unknown), and volumes, below a folder."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        folders = [entry for entry in entries if entry.is_dir() and not entry.is_symlink()]
        files = [entry for entry in entries if entry.is_file()]
    except OSError:  # reading it as a study will say what is wrong
        return [(folder, "")], []
    if (uid := _study_of(files)) is not None:
        return [(folder, uid)], []
    dicom: list[tuple[Path, str]] = []
    volumes = [file for file in files if _is_image(file, kinds)]
    for below in folders:
        if below.resolve() != but_not:
            more = _look(below, kinds, but_not)
            dicom += more[0]
            volumes += more[1]
    return _joined(folder, dicom), volumes


def _joined(folder: Path, dicom: list[tuple[Path, str]]) -> list[tuple[Path, str]]:
    uids = {uid for _, uid in dicom}
    return [(folder, uids.pop())] if len(dicom) > 1 and len(uids) == 1 and "" not in uids else dicom


def _is_image(file: Path, kinds: tuple[str, ...]) -> bool:
    name = file.name.lower()
    return name.endswith(kinds) and not name.endswith(_OVERLAY)


def _study_of(files: list[Path]) -> str | None:
    """StudyInstanceUID of the first DICOM file that has one; empty when none has; None without DICOM files."""
    uid = None
    for file in files:
        if _is_image(file, VOLUMES + PICTURES) or file.name.upper() == _DIRECTORY:
            continue
        if (tags := read_tags(file, ["StudyInstanceUID"])) is not None:
            uid = tags.get("StudyInstanceUID", "")
            if uid:
                break
    return uid


def files_below(path: Path) -> list[Path]:
    """The files of a folder and its sub-folders, sorted; a file is its own."""
    if not path.is_dir():
        return [path]
    return sorted(Path(folder) / name for folder, _, names in os.walk(path) for name in names)


def read_tags(file: Path, keywords: Sequence[str]) -> dict[str, str] | None:
    """Texts of elements of a DICOM file, empty where it lacks them; {} for a damaged one, None for every other file."""
    import pydicom

    try:
        with file.open("rb") as stream:
            if not looks_like_dicom(stream.read(132)):
                return None
    except OSError:
        return None
    try:
        with reading(file, "a DICOM file"):
            dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(keywords))
            return {keyword: str(dataset.get(keyword) or "") for keyword in keywords}
    except SpineLandmarksError:
        return {}
