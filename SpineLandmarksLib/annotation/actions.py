"""What a person can do to the landmarks of a session, on every screen: keys, words, when, and what is asked first."""

from __future__ import annotations

from collections.abc import Callable

from SpineLandmarksLib.annotation.endplates import corners_of
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.landmarks import Landmark, names_per_level

#: Key, action, and words for it.
KEYS = (
    ("N", "next", "next doubtful"),
    ("C", "confirm", "confirm or take back"),
    ("Shift+C", "confirm_all", "confirm all"),
    ("P", "place", "place what is missing, click by click"),
    ("X", "not_visible", "not visible"),
    ("Shift+X", "rest_not_visible", "all that are out of view are not visible"),
    ("Shift+L", "relocalize", "relocalize the rest"),
    ("E", "endplates", "show or hide endplates, their corners and angles"),
    ("Shift+U", "shift_up", "names one level up"),
    ("Shift+D", "shift_down", "names one level down"),
    ("Ctrl+Z", "undo", "undo"),
    ("Ctrl+Y", "redo", "redo"),
)
#: Those that are nothing but an operation on the session and the selected landmark.
OPERATIONS: dict[str, Callable[[Session, str], object]] = {
    "confirm": lambda session, name: (
        session.unconfirm(name) if session[name].status == "confirmed" else session.confirm(name)
    ),
    "confirm_all": lambda session, name: session.confirm_all(name),
    "not_visible": lambda session, name: session.mark_not_visible(name),
    "rest_not_visible": lambda session, name: session.mark_rest_not_visible(name),
    "undo": lambda session, name: session.undo(),
    "redo": lambda session, name: session.redo(),
}
SHIFTS = {"shift_up": +1, "shift_down": -1}


def enabled(session: Session | None, selected: str | None) -> dict[str, bool]:
    """Which of the actions can be done now, with this landmark selected."""
    if session is None:
        return {action: False for _, action, _ in KEYS}
    chosen = session[selected] if selected else None
    has_point = chosen is not None and not chosen.is_absent
    has_points = any(not mark.is_absent for mark in session.current)
    to_review, alike = bool(session.to_review()), session.alike(selected)
    can_shift = has_points and names_per_level(session.names) > 0
    return {
        "next": session.next_doubtful() is not None,
        "confirm": has_point,
        "confirm_all": any(mark.status in ("predicted", "corrected") for mark in alike),
        "place": next_to_place(session, selected) is not None,
        "not_visible": chosen is not None and chosen.status not in ("not_visible", "confirmed"),
        "rest_not_visible": any(mark.status == "out_of_view" for mark in alike),
        "relocalize": bool(session.given()) and to_review,
        "endplates": bool(corners_of(session.current)),
        "shift_up": can_shift,
        "shift_down": can_shift,
        "undo": session.can_undo(),
        "redo": session.can_redo(),
    }


def next_to_place(session: Session, selected: str | None) -> str | None:
    """The landmark that a click sets: the selected one where it has no point, else the next below that is out of view,
    and round again from the head; None where there is none.
    """
    if selected and session[selected].is_absent:
        return selected
    return next((mark.name for mark in _from(session, selected) if mark.status == "out_of_view"), None)


def next_untold(session: Session, after: str | None) -> str | None:
    """The one to place after that one: neither a model nor a person has spoken of it."""
    return next((mark.name for mark in _from(session, after) if is_untold(mark)), None)


def is_untold(mark: Landmark) -> bool:
    return mark.status == "out_of_view" and mark.confidence is None and bool(mark.needs_review)


def _from(session: Session, name: str | None) -> tuple[Landmark, ...]:
    """All landmarks, or corners where it is one, head to foot, from this one on and round again."""
    marks = session.alike(name)
    at = next((row for row, mark in enumerate(marks) if mark.name == name), 0)
    return (*marks[at:], *marks[:at])


def confirm_words(session: Session | None, selected: str | None) -> str:
    """What the button of `confirm` says."""
    return "Take back" if session and selected and session[selected].status == "confirmed" else "Confirm"


def shift_question(session: Session, levels: int) -> str:
    """What is asked before all names move although some are confirmed; empty where none is."""
    confirmed = [mark.name for mark in session.points if mark.status == "confirmed"]
    named = "All" if len(confirmed) == len(session.points) else ", ".join(confirmed)
    verb, way = "is" if len(confirmed) == 1 else "are", "up" if levels > 0 else "down"
    asked = f"{named} {verb} confirmed. Move all names one level {way} nevertheless? Undo takes it back."
    return asked if confirmed else ""
