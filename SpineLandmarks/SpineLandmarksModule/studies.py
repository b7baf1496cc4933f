"""The studies that are open: for each volume its session and its node, found again in a scene that was loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr

from SpineLandmarksLib.annotation.import_file import import_or_ask, seen_in
from SpineLandmarksLib.annotation.revision import study_key_of
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.errors import GeometryError, SpineLandmarksError
from SpineLandmarksLib.formats.shared import complete_set
from SpineLandmarksLib.formats.slicer_markups import described_landmark
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksModule.cases import origin_of
from SpineLandmarksModule.points import StudyPoints, detach_session, find_node, restored_session, studied_nodes
from SpineLandmarksModule.volumes import (
    frame_of,
    frame_of_reference_of,
    local_from_world,
    require_usable,
    series_uid_of,
    source_of,
)


class Studies:
    """on_change: called after each change of any session. on_refused: called with a text for a dialog."""

    def __init__(self, on_change: Callable[[], None], on_refused: Callable[[str], None]) -> None:
        self._on_change, self._on_refused = on_change, on_refused
        self._open: dict[str, StudyPoints] = {}
        self._author = ""

    def set_author(self, name: str) -> None:
        """Who corrects from now on."""
        self._author = name
        for study in self:
            study.session.author = name

    def __iter__(self) -> Iterator[StudyPoints]:
        return iter(tuple(self._open.values()))

    def of(self, volume: Any) -> StudyPoints | None:
        """The study of a volume: an open one, or one that was saved with the scene."""
        if volume is None or volume.GetID() in self._open:
            return self._open.get(volume.GetID()) if volume else None
        node = find_node(volume.GetScene(), volume)
        if node is None:
            return None
        try:
            session = restored_session(node, frame_of(volume))
        except SpineLandmarksError as error:
            session = self._from_points(volume, node, error)
        return self._add(session, volume, node) if session else None

    def take(self, volume: Any, found: LandmarkSet, is_again: bool, since: LandmarkSet | None) -> StudyPoints:
        """Show what the worker has found. is_again: only where no person has spoken. since: the landmarks when the
        worker was asked, None where there were none; what a person did meanwhile stays.

        A study on which work was done keeps its history: the new landmarks are one more step, which undo takes back.
        """
        found = replace(found, input=source_of(volume), series_uid=series_uid_of(volume))
        study = self.of(volume)
        if study is None or not (is_again or study.session.is_worked_on):
            return self._renew(volume, found)
        study.session.merge_relocalized(found, not is_again and since is not None, since)
        return study

    def import_file(self, volume: Any, path: Path, may: Callable[[str], bool]) -> bool:
        """Put the landmarks of a file on a volume; whether it was done. Raises as `import_or_ask` and
        `require_usable` do. may: asks a person with a text.
        """
        require_usable(volume)
        study = self.of(volume)
        frame = replace(frame_of(volume), reference_uid=frame_of_reference_of(volume) or "")
        if study is None:
            landmarks = import_or_ask(path, LUMBAR11, frame, None, None, may)
        else:
            session = study.session
            landmarks = import_or_ask(path, session.names, frame, session.original, session.current, may)
        return landmarks is not None and self._import(volume, landmarks, may)

    def in_frame_of(self, volume: Any) -> list[StudyPoints]:
        """Studies of other volumes of the scene that lie in the same frame of reference, or where nothing says it."""
        frame = frame_of_reference_of(volume)
        others = [each for each in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if each is not volume]
        near = [other for other in others if frame_of_reference_of(other) in (frame, None) or frame is None]
        return [study for study in map(self.of, near) if study is not None]

    def take_over(self, volume: Any, source: StudyPoints, may: Callable[[str], bool]) -> bool:
        """Put the points of another series, with their statuses, where they lie in the patient; whether it was done.

        Raises as `import_file`.
        """
        require_usable(volume)
        matrix = local_from_world(volume) @ np.linalg.inv(local_from_world(source.volume))
        frame, said = frame_of(volume), source.session.current
        marks, corners = (
            tuple(seen_in(frame, _moved(mark, matrix)) for mark in some) for some in (said.landmarks, said.corners)
        )
        moved = LandmarkSet(marks, source.volume.GetName(), corners=corners)
        if not any(mark.position_ras_mm for mark in moved):
            raise GeometryError(tr("No point of {name} lies in this volume").format(name=source.volume.GetName()))
        landmarks = replace(
            moved,
            bundle=said.bundle,
            needs_review=said.needs_review,
            warnings=said.warnings,
            numberings=said.numberings,
        )
        return self._import(volume, landmarks, may)

    def _import(self, volume: Any, landmarks: LandmarkSet, may: Callable[[str], bool]) -> bool:
        study = self.of(volume)
        if study is None:
            self._renew(volume, landmarks)
            return True
        new = {mark.name: mark for mark in landmarks.points}
        replaces = any(mark.status == "confirmed" and new.get(mark.name, mark) != mark for mark in study.session.points)
        if replaces and not may(tr("Some landmarks are confirmed. Replace them too? Undo takes it back")):
            return False
        study.session.import_points(landmarks, including_confirmed=True)
        return True

    def drop(self, study: StudyPoints) -> None:
        """Watch a study no longer; its node stays."""
        study.close()
        self._open = {key: one for key, one in self._open.items() if one is not study}

    def clear(self) -> None:
        for study in self:
            self.drop(study)

    def show_only(self, study: StudyPoints | None) -> None:
        """Hide the points of all others, open or not: those of one patient lie on another's image."""
        for node in studied_nodes(slicer.mrmlScene):
            display = node.GetDisplayNode()
            if display:
                display.SetVisibility(study is not None and node is study.node)

    def put_back(self, study: StudyPoints) -> None:
        """Go on with a study that was dropped; a node that was deleted is made anew, with all corrections."""
        self._add(study.session, study.volume, study.node if study.node.GetScene() is not None else None)

    def begin(self, volume: Any, landmarks: LandmarkSet, parent: str | None) -> StudyPoints:
        """Go on with the landmarks of a revision, on a volume that bears the key of its study as its name."""
        return self._add(Session(volume.GetName(), landmarks, self._author, frame_of(volume), parent=parent), volume)

    def _renew(self, volume: Any, landmarks: LandmarkSet) -> StudyPoints:
        """A study that begins with these landmarks, on the node of the one before if there is one."""
        before = self.of(volume)
        if before:
            self.drop(before)
        session = Session(_key_of(volume, landmarks), landmarks, self._author, frame_of(volume))
        return self._add(session, volume, before.node if before else None)

    def _add(self, session: Session, volume: Any, node: Any = None) -> StudyPoints:
        session.author = self._author or session.author
        study = StudyPoints(session, volume, node, self._on_change, self._on_refused)
        self._open[volume.GetID()] = study
        self._on_change()
        return study

    def _from_points(self, volume: Any, node: Any, error: SpineLandmarksError) -> Session | None:
        """A session that begins with the points as they are, where the history saved with them is damaged."""
        try:
            landmarks = _read_points(node)
            self._on_refused(
                tr(
                    "The history saved with {name} is damaged ({error}). The points and statuses were taken as "
                    "they are; undo goes back no further than here"
                ).format(name=node.GetName(), error=error)
            )
            return Session(_key_of(volume, landmarks), landmarks, self._author, frame_of(volume))
        except SpineLandmarksError:
            detach_session(node)
            self._on_refused(
                tr(
                    "{name} was changed so much that it cannot be gone on with ({error}). It stays in the scene "
                    "as a list of its own; press Localize to begin anew"
                ).format(name=node.GetName(), error=error)
            )
            return None


def _key_of(volume: Any, landmarks: LandmarkSet) -> str:
    """A case has its key; another image is its own series, whatever series a file of landmarks is of."""
    origin = origin_of(volume)
    return origin.key if origin else study_key_of(series_uid_of(volume) or landmarks.series_uid or volume.GetName())


def _moved(mark: Landmark, matrix: np.ndarray) -> Landmark:
    if mark.position_ras_mm is None:
        return mark
    r, a, s = (float(value) for value in apply(matrix, mark.position_ras_mm))
    return replace(mark, position_ras_mm=(r, a, s), pixel_xy=None)


def _read_points(node: Any) -> LandmarkSet:
    """What the points of a node say. Raises FormatError or LandmarkError."""
    found = []
    for row in range(node.GetNumberOfControlPoints()):
        defined = node.GetNthControlPointPositionStatus(row) == node.PositionDefined
        position = tuple(node.GetNthControlPointPosition(row)) if defined else None
        label, description = node.GetNthControlPointLabel(row), node.GetNthControlPointDescription(row)
        found.append(described_landmark(node.GetName(), label, description, position))
    names = [mark.name for mark in found]
    schema = LUMBAR11 if any(name in LUMBAR11 for name in names) else names
    return complete_set(found, schema, node.GetName(), input=node.GetName())
