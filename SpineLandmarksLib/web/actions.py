"""Actions of the browser reviewer: what each button and key does to the study and the views, and which are enabled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from SpineLandmarksLib.annotation.actions import OPERATIONS, SHIFTS, enabled, next_to_place, next_untold, shift_question
from SpineLandmarksLib.annotation.consensus import chosen
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.errors import LandmarkError
from SpineLandmarksLib.geometry import spacing_mm
from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.store.accounts import Account
from SpineLandmarksLib.store.exclusions import REASONS
from SpineLandmarksLib.web.controller import ReviewController
from SpineLandmarksLib.web.keys import action_of, nudge_of

#: Factor of one step of magnification.
ZOOM = 1.25
#: What does not end placing.
GOES_ON = ("undo", "redo", "not_visible", "rest_not_visible")
#: What would change the landmarks.
DECISIONS = ("take_first", "take_second", "take_mean", "all_first", "all_second")
CHANGES = {*OPERATIONS, *SHIFTS, *DECISIONS, "place", "localize", "relocalize"}


class Actions:
    """controller: of the annotator. scene: as `scene.Scene`. ask: puts a question, and calls back on yes; ask_text: one
    whose answer is a text.
    """

    def __init__(
        self,
        controller: ReviewController,
        scene: Any,
        ask: Callable[[str, Callable[[], object]], None],
        ask_text: Callable[[str, Callable[[str], object]], None] = lambda question, then: None,
    ) -> None:
        self.controller, self.scene, self._ask, self._ask_text = controller, scene, ask, ask_text
        self.selected: str | None = None
        self._placing: str | None = None
        self._by_name: dict[str, Callable[[], object]] = {
            **{action: partial(self._operate, operation) for action, operation in OPERATIONS.items()},
            **{action: partial(self.shift, levels) for action, levels in SHIFTS.items()},
            "next": self.next_doubtful,
            "down": lambda: self.step(+1),
            "up": lambda: self.step(-1),
            "place": self.place,
            "localize": self.localize,
            "relocalize": controller.relocalize,
            "cancel": controller.localization.cancel,
            "slice_up": lambda: self.scroll(-1),
            "slice_down": lambda: self.scroll(+1),
            "zoom_in": lambda: scene.zoom(ZOOM),
            "zoom_out": lambda: scene.zoom(1 / ZOOM),
            "fit": scene.fit,
            "window": lambda: scene.reset_mouse_mode() if scene.mode == "window" else scene.adjust_window(),
            "reset_window": scene.reset_window,
            "endplates": lambda: self.show_endplates(not scene.shows_endplates),
            "reset_mouse_mode": scene.reset_mouse_mode,
            "take_first": lambda: self.take_opinion(0),
            "take_second": lambda: self.take_opinion(1),
            "take_mean": lambda: self.take_opinion(None),
            "all_first": lambda: self.take_opinion(0, whole=True),
            "all_second": lambda: self.take_opinion(1, whole=True),
            "sign_off": self.sign_off,
            "skip": controller.take_next,
            "exclude": self.exclude,
            "gold": controller.choose_gold,
        }

    def do(self, name: str) -> None:
        """Raises SpineLandmarksError for what is refused, in words for the person."""
        if self.controller.session is not None or name in ("skip", "cancel"):
            action = self._by_name[name]
            if self.scene.mode == "place" and name in GOES_ON:
                self._go_on(action)
            elif name in CHANGES:
                self._unsealed(action)
            else:
                action()

    def key(self, name: str) -> None:
        """A key of the page; one whose button is disabled does nothing."""
        step = nudge_of(name)
        action = action_of(name)
        if step is not None and self.controller.session is not None:
            self._unsealed(lambda: self.nudge(*step))
        elif action in self._by_name and self.can().get(action, True):
            self.do(action)

    def can(self) -> dict[str, bool]:
        """What is possible now, by action."""
        job, opened = self.controller.localization.job, self.controller.opened
        can = enabled(self.controller.session, self.selected)
        can_run = opened is not None and opened.path is not None and job is None
        return {
            **can,
            "localize": can_run,
            "relocalize": can_run and can["relocalize"],
            "cancel": job is not None,
            **dict.fromkeys(DECISIONS, bool(opened and opened.opinions)),
            "sign_off": self.controller.is_decided,
            "skip": bool(self.controller.annotator),
        }

    # Landmarks

    def select(self, name: str) -> None:
        """Choose a landmark and go there."""
        session = self.controller.session
        if session is None or all(mark.name != name for mark in session.points):
            return
        if name not in session.names:
            self.scene.show_endplates(True)
        self.choose(name)
        self.scene.jump(name)
        if self._placing not in (None, name):  # the next click is for this one now
            self._placing = None
            self.scene.reset_mouse_mode()
            if session[name].is_absent:
                self._start_placing(name)

    def choose(self, name: str | None) -> None:
        """Choose a landmark, which is where one looks already."""
        self.selected = name
        self.scene.mark(name)

    def show_endplates(self, visible: bool) -> None:
        """Show or hide them; what is hidden is not worked on."""
        self.scene.show_endplates(visible)
        if not visible and self.selected not in (None, *self._session().names):
            self._placing = None
            self.scene.reset_mouse_mode()
            self.choose(None)

    def step(self, by: int) -> None:
        session = self._session()
        names = [mark.name for mark in (session.points if self.scene.shows_endplates else session.current)]
        at = names.index(self.selected) + by if self.selected in names else 0
        self.select(names[min(max(at, 0), len(names) - 1)])

    def next_doubtful(self) -> None:
        name = self._session().next_doubtful(after=self.selected)
        if name:
            self.select(name)

    def place(self) -> None:
        """The next click sets a landmark, and further ones those that nobody has spoken of; asked again, it is put in
        the middle of the view.
        """
        session = self._session()
        name = next_to_place(session, self.selected)
        if name is None:
            return
        if self.scene.mode != "place":
            self._start_placing(name)
            return
        self._placing = None
        self.scene.reset_mouse_mode()
        session.place(name, self.scene.centre())

    def poll(self) -> bool:
        """Go on to the next landmark after one was placed with a click; whether it has."""
        session, placed = self.controller.session, self._placing
        if placed is None or self.scene.mode == "place":
            return False
        self._placing = None
        if session is None or session[placed].is_absent:  # it was given up
            return False
        return self._place_next(placed)

    def _go_on(self, action: Callable[[], object]) -> None:
        """Do something else in the middle of placing: what was taken back is placed again, else the next one."""
        self._placing = None
        self.scene.reset_mouse_mode()
        before = {mark.name: mark for mark in self._session().points}
        action()
        changed = [mark.name for mark in self._session().points if mark != before.get(mark.name, mark)]
        self._place_next(changed[0] if changed else self.selected)

    def _place_next(self, after: str | None) -> bool:
        name = next_untold(self._session(), after)
        if name is not None:
            self._start_placing(name)
        return name is not None

    def _start_placing(self, name: str) -> None:
        self._placing = name
        self.choose(name)
        self.scene.start_placing(name)

    def nudge(self, right_mm: float, down_mm: float) -> None:
        """Move the chosen point along the image's own rows and columns."""
        session, opened = self.controller.session, self.controller.opened
        if session is None or opened is None or self.selected is None:
            return
        position = session[self.selected].position_ras_mm
        if position is None:
            return
        i, j, k = opened.frame.ijk(position)
        columns, rows, _ = spacing_mm(opened.frame.ras_from_ijk)
        moved = opened.frame.ras_from_ijk @ [i + right_mm / columns, j + down_mm / rows, k, 1]
        r, a, s = (float(value) for value in moved[:3])
        session.move(self.selected, (r, a, s))
        self.scene.jump(self.selected)

    def shift(self, levels: int) -> None:
        session = self._session()
        question = shift_question(session, levels)
        if question:
            self._ask(question, lambda: session.shift_chain(levels, including_confirmed=True))
        else:
            session.shift_chain(levels)

    def localize(self) -> None:
        if not any(mark.status in ("corrected", "confirmed", "not_visible") for mark in self._session().points):
            self.controller.localize()
            return
        self._ask(
            "This study has corrections. Localize all landmarks anew? Undo takes it back. To keep what is corrected or "
            "confirmed and find only the others, use Relocalize the rest.",
            self.controller.localize,
        )

    def comment(self, text: str) -> None:
        session = self.controller.session
        if session is not None and session.comment != text.strip():
            self._unsealed(lambda: session.set_comment(text.strip()))

    def take_opinion(self, number: int | None, whole: bool = False) -> None:
        """Take the selected landmark, or the whole chain, as one of several readers has it; go on to what is open.

        number: of the reader; None for the middle of what all have.
        """
        session, opened = self._session(), self.controller.opened
        opinions = opened.opinions if opened else ()
        taken = opinions if number is None else opinions[number : number + 1]
        if not taken or opened is None:
            return
        open_names = self.controller.undecided or session.names
        names = {*session.names, *opened.disputed} if whole else {self.selected or open_names[0]}
        whose = "the middle" if number is None else taken[0].person
        session.import_points(chosen(session.current, [one.landmarks for one in taken], names, whose), True)
        self.next_doubtful()

    def take_labels(self, found: LandmarkSet) -> None:
        """Take landmarks from a file; ask first where some are confirmed."""
        session = self._session()
        confirmed = any(mark.status == "confirmed" for mark in session.points)

        def take() -> None:
            self._unsealed(lambda: session.import_points(found, including_confirmed=True))

        if confirmed and not session.seal:
            self._ask("Some landmarks are confirmed. Take all from the file nevertheless? Undo takes it back.", take)
        else:
            take()

    def sign_off(self) -> None:
        """Ask first where the points make no sense."""
        odd = [*self.controller.implausible(), *self._set_aside()] if self.controller.is_decided else []
        if odd:
            self._ask(f"{'. '.join(odd)}. Sign off nevertheless?", self.controller.sign_off)
        else:
            self.controller.sign_off()

    def _set_aside(self) -> list[str]:
        opened = self.controller.opened
        is_fork = opened is not None and opened.others
        return ["This becomes the one version of the study; the others stay in its history"] if is_fork else []

    def ask_to_reopen(self, then: Callable[[], object] = lambda: None) -> None:
        """What is signed off is changed by nobody without meaning to."""
        session, account = self._session(), self.controller.account
        if account.role is not None:
            self._ask_for_reason(session.study, session.seal, account)
            return

        def reopen() -> None:
            self.controller.reopen()
            then()

        self._ask(
            f"{session.study} is signed off by {session.seal}. With the first change it leaves the training set until "
            "it is signed off again. Reopen it?",
            reopen,
        )

    def _ask_for_reason(self, study: str, signer: str, account: Account) -> None:
        """Where there are accounts, a lead reopens."""
        if not account.may("lead"):
            raise LandmarkError(f"{study} is signed off by {signer}. Ask a lead to reopen it")
        self._ask_text(f"{study} is signed off by {signer}. Reopen it? Say why.", self.controller.reopen)

    def exclude(self) -> None:
        self._ask_text(f"Leave {self._session().study} out? Say why: {', '.join(REASONS)}", self.controller.exclude)

    def _unsealed(self, action: Callable[[], object]) -> None:
        if self._session().seal:
            self.ask_to_reopen(action)
        else:
            action()

    # Views

    def scroll(self, by: int) -> None:
        assert self.controller.opened is not None
        last = len(self.controller.opened.stack) - 1
        self.scene.go_to_slice(min(max(self.scene.slice_index + by, 0), last))

    def _operate(self, operation: Callable[[Session, str], object]) -> None:
        session = self._session()
        operation(session, self.selected or session.names[0])

    def _session(self) -> Session:
        assert self.controller.session is not None
        return self.controller.session
