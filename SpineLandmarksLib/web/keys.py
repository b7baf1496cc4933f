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
    ("?", "help", "these keys"),
)
#: Arrow keys: steps to the right and down on the screen.
ARROWS = {"ArrowRight": (1, 0), "ArrowLeft": (-1, 0), "ArrowDown": (0, 1), "ArrowUp": (0, -1)}
NUDGE_MM, FAR_MM = 0.5, 3.0

#: Sends each key that is pressed outside a text field, as "Ctrl+Shift+X". The page is mounted anew with each change of
#: its layout, and runs this again: the listener of the last time goes.
SCRIPT = """
window.removeEventListener('keydown', window.spineLandmarksKeys, true);
window.spineLandmarksKeys = function (event) {
  const place = event.target && event.target.tagName;
  if (document.querySelector('.question') && ['Enter', 'Escape'].includes(event.key)) {
    if (event.key === 'Enter' && event.target.closest('.no')) return;
    event.preventDefault();
    event.stopPropagation();
    window.trame.trigger('answer', [event.key === 'Enter']);
    return;
  }
  if (place === 'TEXTAREA' && event.key === 'Escape') event.target.blur();
  if (place === 'INPUT' || place === 'TEXTAREA' || event.altKey || !window.trame) return;
  if (/^(Arrow|Page)/.test(event.key) && event.target.closest('[role=slider]')) return;
  const letter = event.key.length === 1 && event.key.toLowerCase() !== event.key.toUpperCase();
  let name = letter ? event.key.toUpperCase() : event.key;
  if (event.shiftKey && (letter || event.key.startsWith('Arrow'))) name = 'Shift+' + name;
  if (event.ctrlKey || event.metaKey) name = 'Ctrl+' + name;
  if (name === 'Ctrl+Shift+Z') name = 'Ctrl+Y';
  if (KNOWN.includes(name)) {
    if (name !== 'Escape') {  // which closes dialogs too
      event.preventDefault();
      event.stopPropagation();
    }
    window.trame.trigger('key', [name]);
  }
};
window.addEventListener('keydown', window.spineLandmarksKeys, true);
"""


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
