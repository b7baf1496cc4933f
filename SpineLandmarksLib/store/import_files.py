"""Plain files into a data set that has their studies: exports, revisions, and landmark files named as their study."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from SpineLandmarksLib.annotation.import_file import merged, require_plausible
from SpineLandmarksLib.annotation.plausibility import Expected, Points, course_of
from SpineLandmarksLib.annotation.revision import Revision, utc_now
from SpineLandmarksLib.annotation.revision_files import REVISIONS, read_training_set
from SpineLandmarksLib.errors import FormatError, SpineLandmarksError
from SpineLandmarksLib.formats import AS_STATED, Reading
from SpineLandmarksLib.formats.dicom_sr_reading import frame_of_reference
from SpineLandmarksLib.formats.strict_json import load_json
from SpineLandmarksLib.imaging.dicom_source import image_planes
from SpineLandmarksLib.landmarks import LandmarkSet, Schema
from SpineLandmarksLib.store.add import Adding, add_source
from SpineLandmarksLib.store.annotations import Annotated, read_annotations
from SpineLandmarksLib.store.checks import ambiguity, before, check_landmarks
from SpineLandmarksLib.store.export import RECORDS, import_record
from SpineLandmarksLib.store.find import find_sources
from SpineLandmarksLib.store.folder import read_folder
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.store.study_record import StudyRecord, complete


def import_files(store: Store, path: Path, author: str, reading: Reading = AS_STATED) -> Iterator[str]:
    """Take in one path and tell each thing done in a line. Raises FormatError and StoreError.

    reading: how the positions of landmark files are to be read; those that do not fit their study are refused.

    A folder of `dataset export`, one of its records, the revisions that 3D Slicer saved (also of studies that are not
    in the data set yet), a revision that was set aside, or landmarks as CSV, markups or results, alone or in a folder.
    """
    if (path / RECORDS).is_dir():
        for file in sorted((path / RECORDS).glob("*.json")):
            yield _record(store, file)
        return
    if path.is_dir() and path.name == REVISIONS:
        for folder in sorted(path.iterdir()):
            yield _saved_beside(store, folder)
        return
    if not path.exists():
        raise FormatError(f"Expected an existing file or folder; there is no {path}")
    content = load_json(path) if path.is_file() and path.name.lower().endswith(".json") else None
    if isinstance(content, dict) and "revisions" in content:
        yield _record(store, path)
    elif isinstance(content, dict) and "result" in content:
        saved = store.save(Revision.from_json(content, str(path)))
        yield "; ".join((f"{path.name}: {'was there' if saved.repeated else 'saved'}", *saved.notes))
    else:
        yield from _landmark_files(store, path, author, reading)


def _record(store: Store, file: Path) -> str:
    study, added = import_record(store, file)
    return f"{study}: {added} revisions taken in"


def _saved_beside(store: Store, folder: Path) -> str:
    """The revisions of one study; the study is added from the image that the first of them names."""
    revisions = [revision for _, revision in read_training_set(folder.parent.parent, folder.name)]
    if revisions and revisions[0].study not in store.study_keys():
        image = folder.parent.parent / revisions[0].image.path
        (source,) = find_sources([image], read_folder(store.folder).id)
        add_source(
            store, replace(source, key=revisions[0].study), [], Adding(slice_index=revisions[0].landmarks.slice_index)
        )
    saved = [store.save(revision) for revision in revisions]
    added = sum(not one.repeated for one in saved)
    notes = dict.fromkeys(note for one in saved for note in one.notes)
    return "; ".join((f"{folder.name}: {added} revisions taken in", *notes))


def _landmark_files(store: Store, path: Path, author: str, reading: Reading) -> Iterator[str]:
    """Each file becomes a revision on top of what its study has; none does when one of them cannot."""
    revisions = [_revision(store, one, author) for one in read_annotations(path, reading, store.schema)]
    for revision in revisions:
        saved = store.save(revision)
        yield "; ".join((f"{revision.study}: saved as {saved.id}", *saved.notes))
        study = store.study(revision.study)
        earlier = before(store.history(study.key), revision)
        odd = [finding.text for finding in check_landmarks(study, revision, earlier) if finding.is_error]
        odd += filter(None, [ambiguity(study, revision, earlier)])
        yield from (f"  look at it: {text}" for text in odd)


def _revision(store: Store, one: Annotated, author: str) -> Revision:
    study = _report_study(store, one) if one.path.name.lower().endswith(".dcm") else store.study(one.study)
    heads = store.heads(study.key)
    said = _placed(one, study, course_of(store.history(study.key)), store.schema)
    told = merged(said, heads[-1].landmarks if heads else None, store.schema)
    stated = one.landmarks.slice_index is not None or study.matrix is None
    index = said.slice_index if stated else study.nearest_slice(told)
    return Revision(
        study.key,
        one.author or author,
        utc_now(),
        replace(told, input=study.image, series_uid=study.series_uid, slice_index=index),
        study.reference,
        heads[-1].id if heads else None,
        comment=one.comment,
    )


def _report_study(store: Store, one: Annotated) -> StudyRecord:
    """The study whose series a report is of, whatever its file is called; else the one of that name, where its points
    are in the frame of reference of the images, or it is of their series where that is not known.
    """
    uid = one.landmarks.series_uid
    same = [study for study in store.studies() if uid and study.series_uid == uid]
    study = same[0] if len(same) == 1 else store.study(one.study)
    wanted, found = _frame_of_images(study, store.folder), frame_of_reference(one.path)
    if wanted and found and wanted != found:
        raise FormatError(f"{one.path}: expected points of the frame of reference {wanted} of {study.key}; got {found}")
    if not (wanted and found) and uid and study.series_uid and uid != study.series_uid:
        raise FormatError(
            f"{one.path}: expected a report on series {study.series_uid} of {study.key}; got one on {uid}"
        )
    return study


def _frame_of_images(study: StudyRecord, folder: Path) -> str:
    """UID of the frame of reference of a study; empty where its images have none, or are not there."""
    if not study.source or not study.series_uid:
        return ""
    try:
        header = image_planes(folder / study.source, study.series_uid)[0].header
    except (SpineLandmarksError, OSError):
        return ""
    return str(header.get("FrameOfReferenceUID", ""))


def _placed(one: Annotated, study: StudyRecord, course: Points, schema: Schema) -> LandmarkSet:
    """What a file says, in pixels and millimetres of the study. Raises FormatError where it cannot mean it."""
    if one.tianchi and study.ras_from_ijk is not None:
        raise FormatError(
            f"{one.path}: expected annotations of a picture; {study.key} is none, and these count in the pixels of its "
            "file. Add the study with them: spine-landmarks dataset add --annotations"
        )
    if study.matrix is not None:
        require_plausible(one.landmarks, Expected(study.contains, course), one.path, one.reading, schema)
    return complete(one.landmarks, study.matrix, 0 if one.tianchi else None, study.known_slices, str(one.path))
