"""Opening a study for review: its image, as it was annotated, and its landmarks as they were last saved."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.revision import Revision
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.annotation.session_file import load_session
from SpineLandmarksLib.errors import InputError, SpineLandmarksError
from SpineLandmarksLib.formats.shared import complete_set
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.store.blind import ReadingView
from SpineLandmarksLib.store.readings import Opinion, standing, versions
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.store.study_record import StudyRecord, complete, image_problems
from SpineLandmarksLib.web.telling_thread import TellingThread

#: Folder of the data set for the steps of each study that was corrected in the browser.
SESSIONS = "sessions"
#: Millimetres by which the frame of a source may differ from the one that was annotated.
SAME_FRAME_MM = 1e-3


@dataclass(frozen=True)
class OpenStudy:
    """stack: to look at. path: what a model reads, None where it is not what was annotated. notes: for the person.

    landmarks: as last saved, None where there are none. parent: the revision they are from. history: the file that
    keeps the steps which led there. signed_by: who has signed that revision off, if anybody. view: what this person
    sees of it. opinions: of those who have read it, for who decides; disputed: the landmarks in which they differ.
    schema: of the data set. others: the further ends of a forked study.
    """

    study: StudyRecord
    stack: SagittalStack
    frame: ImageFrame
    path: Path | None
    landmarks: LandmarkSet | None
    parent: str | None
    notes: tuple[str, ...] = ()
    history: Path | None = None
    signed_by: str = ""
    view: ReadingView = "main"
    opinions: tuple[Opinion, ...] = ()
    disputed: tuple[str, ...] = ()
    schema: tuple[str, ...] = LUMBAR11
    others: tuple[str, ...] = ()

    def session(self, author: str, landmarks: LandmarkSet | None = None, parent: str | None = None) -> Session:
        """To correct what was saved, or other landmarks; where there are none, all have to be placed.

        What was saved last comes with its steps, so that they can still be undone; what is signed off is sealed.
        """
        made = self._session(author, landmarks, parent)
        made.seal = self.signed_by
        return made

    def _session(self, author: str, landmarks: LandmarkSet | None, parent: str | None) -> Session:
        if landmarks is None and self.history is not None and self.history.is_file():
            with contextlib.suppress(SpineLandmarksError):  # damaged, or of a newer version: without its steps, then
                session = load_session(self.history, self.frame, author)
                if session.parent == self.parent and session.is_saved:
                    return session
        nothing = LandmarkSet(
            tuple(Landmark(name, "out_of_view", needs_review=True) for name in self.schema),
            input=self.study.image,
            series_uid=self.study.series_uid,
            slice_index=self.study.slice_index,
            spacing_mm=self.study.spacing_mm,
        )
        original = landmarks or self.landmarks or nothing
        return Session(self.study.key, original, author, self.frame, parent=parent or self.parent)


def open_study(store: Store, key: str, annotator: str) -> OpenStudy:
    """Read a study, as this person may see it. Raises InputError, FormatError and StoreError in plain words; nothing is
    changed.
    """
    seen = standing(store, key, annotator)
    study = store.study(key)
    if study.matrix is None:
        raise InputError(
            f"Expected a study with known millimetres; {key} has none. Add it again with its spacing: "
            "spine-landmarks dataset add --spacing MM"
        )
    problems = tuple(image_problems(study, store.folder))
    stack, path, notes = _image(study, store.folder, bool(problems))
    revision, more = _latest(store, study, annotator) if seen.view == "main" else (seen.revision, ())
    landmarks = seen.landmarks
    if revision is not None and landmarks is None:
        known = complete_set(list(revision.landmarks), store.schema, key)
        told = replace(revision.landmarks, landmarks=known.landmarks)
        landmarks = complete(told, study.matrix)
    others: tuple[str, ...] = ()
    if seen.view == "main":
        opinions, disputed = versions(store, study)
        signer = store.signed_by(revision.id) if revision else ""
        seen = replace(seen, signed_by=signer, opinions=opinions, disputed=disputed)
        others = tuple(head.id for head in store.heads(key) if revision and head.id != revision.id)
    frame = ImageFrame.of(stack)
    assert frame is not None
    return OpenStudy(
        study,
        stack,
        frame,
        path,
        landmarks,
        revision.id if revision else None,
        (*problems, *notes, *more, *(("The readers differ: " + "; ".join(seen.words),) if seen.words else ())),
        store.folder / SESSIONS / f"{key}{_own_name(annotator) if seen.view != 'main' else ''}.json",
        seen.signed_by,
        seen.view,
        seen.opinions,
        seen.disputed,
        store.schema,
        others,
    )


def _own_name(annotator: str) -> str:
    """Part of a file's name that is this person's alone."""
    return f"@{hashlib.sha256(annotator.encode()).hexdigest()[:12]}"


def _image(study: StudyRecord, folder: Path, is_doubtful: bool) -> tuple[SagittalStack, Path | None, tuple[str, ...]]:
    """The volume that was added, if it is still that; else the slice that the data set keeps."""
    picture = folder / study.image
    if not study.source:
        return _read_picture(study, picture), None if is_doubtful else picture, ()
    if not is_doubtful:
        try:
            stack = read_study(folder / study.source)
            if _is_same(stack, study):
                return stack, folder / study.source, ()
        except SpineLandmarksError:
            pass
    note = "Only the slice that the data set keeps is shown, and no model can be run: the volume is not what it was"
    return _read_picture(study, picture), None, (note,)


def _is_same(stack: SagittalStack, study: StudyRecord) -> bool:
    if stack.ras_from_ijk is None or study.matrix is None:
        return False
    return stack.voxels.shape[2:0:-1] == study.size_wh and bool(
        np.abs(stack.ras_from_ijk - study.matrix).max() < SAME_FRAME_MM
    )


def _read_picture(study: StudyRecord, path: Path) -> SagittalStack:
    if not path.is_file():
        raise InputError(f"{study.key}: the image {study.image} is not there. Put it back; its landmarks are kept")
    stack = read_study(path, study.spacing_mm)
    if not study.source or study.ras_from_ijk is None:
        return stack
    matrix = np.array(study.ras_from_ijk)
    matrix[:3, 3] = (matrix @ [0, 0, study.slice_index, 1])[:3]
    return replace(stack, ras_from_ijk=matrix, series_uid=study.series_uid)


def _latest(store: Store, study: StudyRecord, annotator: str) -> tuple[Revision | None, tuple[str, ...]]:
    heads = store.heads(study.key)
    if len(heads) < 2:
        return (heads[0] if heads else None), ()
    mine = [head for head in heads if head.author == annotator]
    chosen = (mine or heads)[-1]
    others = ", ".join(f"{head.id} by {head.author}" for head in heads if head is not chosen)
    return chosen, (
        f"There is more than one version of this study. This is {chosen.id} by {chosen.author}; also kept: "
        f"{others}. One has to be chosen: sign it off in the browser, which draws where they differ, or: "
        "spine-landmarks dataset choose",
    )


class StudyLoader:
    """Reads studies in a thread, and the next one before it is asked for. At most two are kept.

    on_done: called in that thread after each.
    """

    def __init__(self, store: Store, annotator: str, on_done: Callable[[], None] = lambda: None) -> None:
        self._store, self.annotator = store, annotator
        self._threads = TellingThread("study", on_done)
        self._futures: dict[str, Future[OpenStudy]] = {}

    def preload(self, key: str) -> None:
        self._get(key)

    def read(self, key: str) -> Future[OpenStudy]:
        """The image may come from before; the landmarks are those that are in the store now."""
        before = self._futures.pop(key, None)
        return self._threads.submit(self._fresh, key, before)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _get(self, key: str) -> Future[OpenStudy]:
        if key not in self._futures:
            self._futures = dict(list(self._futures.items())[-1:])
            self._futures[key] = self._threads.submit(open_study, self._store, key, self.annotator)
        return self._futures[key]

    def _fresh(self, key: str, before: Future[OpenStudy] | None) -> OpenStudy:
        if before is None or before.exception() is not None:
            return open_study(self._store, key, self.annotator)
        opened = before.result()
        seen = standing(self._store, key, self.annotator)
        if seen.view != "main" or opened.view != "main":
            return open_study(self._store, key, self.annotator)
        heads = [head.id for head in self._store.heads(key)]
        is_current = heads == ([opened.parent] if opened.parent else [])
        is_current = is_current and not (heads and self._store.signed_by(heads[0]) != opened.signed_by)
        return opened if is_current else open_study(self._store, key, self.annotator)
