"""The keys of the page: those of every screen, and those of its own views."""

from __future__ import annotations

from SpineLandmarksLib.annotation import actions

#: Key as the page names it, the action, and words for it.
KEYS = (
    ("J", "down", "landmark below"),
    ("K", "up", "landmark above"),
    *actions.KEYS,
    ("Arrows", "nudge", "move the selected point by 0.5 mm, with Shift by 3 mm"),
    ("PageUp", "slice_up", "previous slice"),
    ("PageDown", "slice_down", "next slice"),
    ("+", "zoom_in", "larger"),
    ("-", "zoom_out", "smaller"),
    ("0", "fit", "whole image"),
    ("W", "window", "brightness with the mouse"),
    ("Escape", "reset_mouse_mode", "end placing"),
    ("Shift+S", "sign_off", "sign off, next study"),
    ("A", "take_first", "of two readers who differ, take the first one's point"),
    ("B", "take_second", "take the second one's point"),
    ("M", "take_mean", "take the middle between them"),
    ("Shift+A", "all_first", "take the first one's whole chain"),
    ("Shift+B", "all_second", "take the second one's whole chain"),
    ("?", "help", "these keys"),
)
#: Arrow keys: steps to the right and down on the screen.
ARROWS = {"ArrowRight": (1, 0), "ArrowLeft": (-1, 0), "ArrowDown": (0, 1), "ArrowUp": (0, -1)}
NUDGE_MM, FAR_MM = 0.5, 3.0


def known_keys() -> list[str]:
    """As the script names them."""
    arrows = [f"{shift}{arrow}" for shift in ("", "Shift+") for arrow in ARROWS]
    return [key for key, *_ in KEYS if key != "Arrows"] + arrows


def action_of(key: str) -> str | None:
    return next((action for name, action, _ in KEYS if name == key), None)


def nudge_of(key: str) -> tuple[float, float] | None:
    """Millimetres to the right and down of an arrow key."""
    step = ARROWS.get(key.removeprefix("Shift+"))
    if step is None:
        return None
    mm = FAR_MM if key.startswith("Shift+") else NUDGE_MM
    return step[0] * mm, step[1] * mm
