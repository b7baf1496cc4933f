"""What the page shows, as plain values: tables, words and numbers, from the controller and the views."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from SpineLandmarksLib.annotation.actions import confirm_words, is_untold
from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.measurements import measure
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.annotation.wording import LETTERS, OPINION_STYLES, cells, colour
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet
from SpineLandmarksLib.web.actions import Actions
from SpineLandmarksLib.web.controller import ReviewController


def view_state(controller: ReviewController, actions: Actions) -> dict[str, Any]:
    """Everything that follows from what is true now, by the name of the page's variable."""
    session, job = controller.session, controller.localization.job
    save_text, save_kind = controller.saver.words
    return {
        "annotator": controller.annotator,
        "studies": controller.listing.as_text,
        "study_key": controller.opened.study.key if controller.opened else "",
        "done_count": controller.listing.done,
        "study_count": len(controller.listing.rows),
        "rows": landmark_rows(controller, actions.selected, actions.scene.shows_endplates),
        "endplates": actions.scene.shows_endplates,
        "selected": actions.selected or "",
        "can": actions.can(),
        "confirm_words": confirm_words(session, actions.selected),
        "warnings": list(controller.warnings),
        "looked_at": _looked_at(session, controller.undecided),
        "save_text": save_text,
        "save_kind": save_kind,
        "job_stage": job.stage if job else "",
        "job_share": round(100 * job.share) if job else 0,
        "model": (session.current.bundle or "") if session else "",
        "measured": measurement_rows(session),
        **_team_state(controller),
    }


def measurement_rows(session: Session | None) -> list[dict[str, str]]:
    """Measurements by corners, with what they mean in their tip; those without a value say why."""
    return _measured(session.current) if session else []


@lru_cache(maxsize=2)  # asked for at each change of the page, most of which move no point
def _measured(landmarks: LandmarkSet) -> list[dict[str, str]]:
    return [
        {
            "name": one.name,
            "words": one.words.replace(" to ", "\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}"),  # an interval is one line
            "usual": f"{one.usual.low:g} to {one.usual.high:g}" if one.usual else "",
            "tip": "\n".join(
                filter(None, (one.definition, one.source, one.usual.source if one.usual else "", one.grade))
            ),
        }
        for one in measure(landmarks)
        if one.points
    ]


def _team_state(controller: ReviewController) -> dict[str, Any]:
    """Of who works together. letters: by which the points of each reader are told apart."""
    opened, account = controller.opened, controller.account
    opinions = opened.opinions if opened else ()
    return {
        "role": account.role or "",
        "can_assign": account.may("lead") and opened is not None and opened.view == "main",
        "is_lead": account.is_lead,
        "people": list(controller.people),
        "opinions": [
            {"letter": letter, "person": one.person, "colour": style.css, "shape": style.shape}
            for letter, one, style in zip(LETTERS, opinions, OPINION_STYLES, strict=False)
        ],
    }


def _looked_at(session: Session | None, undecided: Sequence[str]) -> str:
    if session is None or not session.current.bundle:
        return ""
    if session.seal:
        return f"signed off by {session.seal}"
    count = len(session.to_review())
    if count:
        return f"{count} to look at"
    return f"to decide: {', '.join(undecided)}" if undecided else "all looked at"  # corners in which readers differ


def landmark_rows(
    controller: ReviewController, selected: str | None, with_corners: bool = False
) -> list[dict[str, Any]]:
    """One a landmark, from the head down, then one a corner; also before there is a study."""
    frame = controller.opened.frame if controller.opened else None
    session, names = controller.session, controller.store.schema
    marks = (
        (session.points if with_corners else session.current)
        if session
        else [Landmark(name, "out_of_view") for name in names]
    )
    return [_landmark(mark, frame, mark.name == selected, controller.session is not None) for mark in marks]


def _landmark(mark: Landmark, frame: ImageFrame | None, is_selected: bool, is_known: bool) -> dict[str, Any]:
    name, words, sure, r, a, s, on = cells(mark, frame)
    nothing_said = is_untold(mark) or not is_known
    return {
        "name": name,
        "status": "none" if nothing_said else mark.status,
        "words": "not placed" if nothing_said else words,
        "sure": sure,
        "colour": colour(mark.confidence, bool(mark.needs_review)) or "transparent",
        "r": r,
        "a": a,
        "s": s,
        "slice": on,
        "stressed": bool(mark.needs_review) and is_known,
        "selected": is_selected,
    }
