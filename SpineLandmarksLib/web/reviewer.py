"""The reviewer as a running program: the controller, the views and the page, and the server that they share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from trame.app import get_server
from wslink.websocket import LinkProtocol

from SpineLandmarksLib.annotation.import_file import MisreadError
from SpineLandmarksLib.annotation.report import report_of
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.errors import AccessError, InputError, LandmarkError, SpineLandmarksError
from SpineLandmarksLib.formats import AS_STATED, Reading
from SpineLandmarksLib.formats.csv_table import as_csv
from SpineLandmarksLib.imaging.dicom_source import image_planes
from SpineLandmarksLib.retraining.process import Retraining
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.store.work import TeamWork, Workload
from SpineLandmarksLib.web import page, server
from SpineLandmarksLib.web.access import Access
from SpineLandmarksLib.web.actions import Actions
from SpineLandmarksLib.web.controller import Notification, ReviewController
from SpineLandmarksLib.web.front import end_with_parent
from SpineLandmarksLib.web.labels import read_labels
from SpineLandmarksLib.web.learning import Learning
from SpineLandmarksLib.web.open_study import OpenStudy
from SpineLandmarksLib.web.scene import Scene
from SpineLandmarksLib.web.uploads import ingest_upload
from SpineLandmarksLib.web.view_state import view_state
from SpineLandmarksLib.worker.localization import LocalizationService

#: Between two looks at what is done elsewhere.
POLL_S = 0.05
#: Messages that are shown at once; the older ones go.
MAX_NOTIFICATIONS = 3
#: A message that asks for nothing goes by itself.
INFO_S = 8.0


class Reviewer:
    """store: of the data set. access: who may come in. is_demo: what an empty list says. database: where the store is,
    when not where the folder says. order: of review. localizes: what nobody has looked at yet, when it opens.
    """

    def __init__(
        self,
        store: Store,
        localization: LocalizationService,
        access: Access,
        locked: bool = False,
        is_demo: bool = False,
        database: str | None = None,
        order: Future[list[str]] | None = None,
        localizes: bool = True,
        by_doubt: bool = False,
    ) -> None:
        self.server = get_server("spine-landmarks", client_type="vue3")
        self.state = self.server.state
        self._notifications: list[tuple[int, float, Notification]] = []
        self._count = 0
        self._on_yes: Callable[[], object] | None = None
        self._on_text: Callable[[str], object] | None = None
        self._is_member = False
        self._is_dirty = True
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_due = asyncio.Event()
        self._comment_shown = ""
        self._pushed: dict[str, Any] = {}
        self.access = access
        self.controller = ReviewController(
            store,
            localization,
            self._open,
            self.notify,
            self._found,
            locked,
            order=order,
            localizes=localizes,
            by_doubt=by_doubt,
            on_done=self._wake,
        )
        self.scene = Scene(self.server, self._touch, self._refused, self._touch, self._choose)
        self.actions = Actions(self.controller, self.scene, self._ask, self._ask_text)
        self.learning = Learning(Retraining(store.folder, database), localization)
        self.state.update({"is_demo": is_demo, "help": False, "slice_index": 0, "grey_window": [0, 1]})
        self.state.update(dict.fromkeys(("comment", "name_field", "upload_text", "find", "reason", "arbiter"), ""))
        self.state.update(
            {"assigning": False, "chosen_people": [], "work": [], "wants_text": False, "is_member": False}
        )
        self._push()
        both: dict[str, Callable[..., Any]] = {"begin": self._begin, "answer": self._answer}
        both |= {"open": self._open_key, "select": self._select, "assign": self._assign, "work": self._work}
        own: dict[str, Callable[..., Any]] = {"do": self.do, "comment": self._comment, "dismiss": self._dismiss}
        page.build(self.server, self.scene.layout, both | own)
        for name, handler in {
            **both,
            "key": self._key,
            "csv": self._csv,
            "labels": self._labels,
            "report": self._report,
        }.items():
            self.server.trigger(name)(handler)
        self.state.change("slice_index")(self._on_slice)
        self.state.change("grey_window")(self._on_window)
        self.server.add_protocol_to_configure(lambda root: root.registerLinkProtocol(_Leaving(self._left)))

    def join_team(self, order: Future[list[str]] | None) -> None:
        """Be one of several behind one front: a person logs out there, this process ends with it, and the order of the
        studies comes from it.
        """
        self._is_member = self.state.is_member = True
        end_with_parent(order)

    def run(
        self, port: int, certificate: tuple[Path, Path] | None, max_upload: int, on_ready: Callable[[int], None]
    ) -> None:
        """Serve until interrupted. port: 0 for one that is free. on_ready: called with the port."""
        cli = self.server.cli
        os.environ["TRAME_ARGS"] = "--server"  # trame would read our own command line as its
        cli.set_defaults(authKey=self.access.key)
        if certificate:
            cli.set_defaults(ssl=",".join(map(str, certificate)))

        def bind(wslink: Any) -> None:
            server.guard(wslink.app, self.access)
            for handler in wslink._ws_handlers:
                server.end_on_junk(handler)
            server.add_upload(
                wslink.app,
                self.controller.store.folder,
                max_upload,
                self._uploaded,
                self._upload_refused,
                self._uploading,
            )

        def ready(**_: Any) -> None:
            loop = self._loop = asyncio.get_running_loop()
            loop.set_exception_handler(_without_lost_connections)
            _end_with_the_terminal(loop)
            self._task = loop.create_task(self._watch())
            on_ready(self.server.port)
            self.controller.localization.warm()  # not before: the page comes first

        self.server.controller.on_server_bind.add(bind)
        self.server.controller.on_server_ready.add(ready)
        try:
            self.server.start(
                port=port,
                host=self.access.host,
                open_browser=False,
                show_connection_info=False,
                disable_logging=True,
                timeout=0,
            )
        finally:
            self._left()
            lost = self.controller.close()
            if lost:
                with contextlib.suppress(OSError):  # the terminal may be gone
                    print(f"spine-landmarks: {lost}", file=sys.stderr, flush=True)

    async def _watch(self) -> None:
        """Take what is done elsewhere, and show what has changed."""
        while True:
            try:
                changes = (self.controller.poll(), self.actions.poll(), self.learning.poll(), self._forget_old())
                if any(changes) or self._is_dirty:
                    with self.state:
                        self._push()
            except Exception as error:  # a fault of the program must not end the saving
                self.notify(Notification(f"This is a fault of the program; please report it: {error!r}", "error"))
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._is_due.wait(), POLL_S)
            self._is_due.clear()

    def _wake(self) -> None:
        """From any thread: look at once what is done."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the end: the loop is closed
                self._loop.call_soon_threadsafe(self._is_due.set)

    # What the page asks for

    def do(self, action: str) -> None:
        with self._explained():
            if action == "retrain":
                if not self.controller.account.may("lead"):
                    raise AccessError("Expected a lead to retrain the model. Ask one")
                self.learning.press(self.controller.annotator, self.controller.listing.done, self._ask)
            else:
                self.actions.do(action)

    def _key(self, name: str) -> None:
        with self._explained():
            if name == "?":
                self.state.help = not self.state.help
            elif name == "Escape" and self.state.help:  # the dialog may have come too late to see the key
                self.state.help = False
            elif not self._on_yes and self.controller.annotator:
                self.actions.key(name)

    def _select(self, name: str) -> None:
        with self._explained():
            self.actions.select(name)

    def _refused(self, text: str) -> None:
        """A drag that was put back."""
        if self.controller.session is not None and self.controller.session.seal:
            self.actions.ask_to_reopen()
        else:
            self.notify(Notification(text, "error"))

    def _choose(self, name: str) -> None:
        self.actions.choose(name)
        self._touch()

    def _open_key(self, key: str) -> None:
        self._save_comment()
        with self._explained():
            self.controller.open(key)

    def _begin(self, name: str) -> None:
        with self._explained():
            if self._is_member and self.controller.annotator:
                raise AccessError("Expected the name of the account. To work under another one, log out")
            self.controller.begin(name)

    def _labels(self, name: str, text: str) -> None:
        """Take landmarks from a file; where another reading fits, ask."""
        with self._explained():
            self._take_labels(str(name), str(text), AS_STATED)

    def _take_labels(self, name: str, text: str, reading: Reading) -> None:
        session = self.controller.session
        if session is None:
            raise LandmarkError("Expected an open study to put landmarks on; there is none")
        try:
            self.actions.take_labels(read_labels(name, text, session, reading))
        except MisreadError as error:
            other = error.reading
            if other is None:
                raise
            self._ask(f"{error}. Take them so?", lambda: self._take_labels(name, text, other))

    def _comment(self, text: str) -> None:
        with self._explained():
            self.actions.comment(text)

    def _assign(self, people: list[str], arbiter: str) -> None:
        with self._explained():
            self.state.assigning = False
            names = [str(name).strip() for part in people for name in str(part).split(",")]
            self.controller.assign([name for name in names if name], str(arbiter or "").strip())

    def _work(self) -> None:
        with self._explained():
            self.controller.ask_for_work(self._show_work)

    def _show_work(self, work: TeamWork) -> None:
        with self.state:
            rest = ["not signed off", work.remaining, "", "", ""]
            self.state.work = [*map(_work_row, (*work.people, work.every)), rest]

    def _answer(self, is_yes: bool, text: str = "") -> None:
        then, self._on_yes = self._on_yes, None
        on_text, self._on_text = self._on_text, None
        self.state.question = ""
        if then and on_text:
            then = partial(on_text, text)
        with self._explained():
            if is_yes and then:
                then()

    def _dismiss(self, number: int) -> None:
        self._notifications = [one for one in self._notifications if one[0] != number]
        self._touch()

    def _csv(self) -> str:
        session = self.controller.session
        if session is None:
            return ""
        return as_csv(session.current, study=session.study, annotator=session.author, comment=session.comment)

    def _report(self) -> Any:
        """The report as an attachment; None where there is none to be had, which is told."""
        opened, session = self.controller.opened, self.controller.session
        if opened is None or session is None:
            return None
        with self._explained():
            if opened.path is None:
                raise InputError("Expected the images as they were annotated, to report on; they are not there")
            content = report_of(session, image_planes(opened.path, opened.stack.series_uid))
            return self.server.protocol.addAttachment(content)
        return None

    def _on_slice(self, slice_index: int, **_: Any) -> None:
        if self.controller.opened and int(slice_index) != self.scene.slice_index:
            self.scene.go_to_slice(int(slice_index))

    def _on_window(self, grey_window: list[float], **_: Any) -> None:
        if self.controller.opened and list(grey_window) != self._pushed.get("grey_window"):
            low, high = sorted(map(float, grey_window))
            self.scene.set_window(low, max(high, low + 1e-6))

    # What the controller and the server tell

    def notify(self, notification: Notification) -> None:
        rest = [one for one in self._notifications if one[2] != notification]
        if notification.about:  # what was said of it is no longer true, or is said again
            rest = [one for one in rest if one[2].about != notification.about]
        if notification.text:
            self._count += 1
            rest = [*rest[-MAX_NOTIFICATIONS + 1 :], (self._count, time.monotonic(), notification)]
        if rest != self._notifications:
            self._notifications = rest
            self._touch()

    def _open(self, session: Session | None, opened: OpenStudy | None) -> None:
        if session is None or opened is None:
            return
        session.listen(lambda correction: self._touch())
        self._notifications = [
            one for one in self._notifications if one[2].kind == "info"
        ]  # the rest was about what is gone
        self.scene.show(session, opened)
        self.actions.choose(None)
        is_typed = opened.study.key == self._pushed.get("study_key") and self.state.comment != self._comment_shown
        self._comment_shown = session.comment
        self.state.comment = self.state.comment if is_typed else session.comment
        self._touch()

    def _found(self, slice_index: int) -> None:
        self.scene.go_to_slice(slice_index)
        self._touch()

    def _left(self) -> None:
        """A browser has gone, perhaps in the middle of something."""
        self.scene.end_drags()
        self._save_comment()
        self._touch()

    def _save_comment(self) -> None:
        with self._explained():
            if self.controller.session is not None and self.state.comment:
                self.actions.comment(self.state.comment)

    def _uploading(self, received: int) -> None:
        with self.state:
            self.state.upload_text = f"Receiving: {received / 2**20:.0f} MiB"

    def _uploaded(self, path: Path) -> None:
        with self.state:
            self.state.upload_text = ""
            self.notify(Notification("Reading the study"))
        self.controller.add(path, ingest_upload)

    def _upload_refused(self, text: str) -> None:
        with self.state:
            self.state.upload_text = ""
            self.notify(Notification(text, "error"))

    # Showing

    def _touch(self, *_: Any) -> None:
        self._is_dirty = True

    def _ask(self, question: str, on_yes: Callable[[], object]) -> None:
        self._on_yes, self._on_text = on_yes, None
        self.state.question, self.state.wants_text = question, False

    def _ask_text(self, question: str, on_text: Callable[[str], object]) -> None:
        """A question whose answer is a text."""
        self._ask(question, lambda: None)
        self._on_text = on_text
        self.state.wants_text, self.state.reason = True, ""

    @contextlib.contextmanager
    def _explained(self) -> Any:
        """What is refused is told, and nothing more happens."""
        try:
            yield
        except SpineLandmarksError as error:
            self.notify(Notification(str(error), "error"))
        self._touch()
        self._is_due.set()

    def _forget_old(self) -> bool:
        now = time.monotonic()
        kept = [one for one in self._notifications if one[2].kind != "info" or now - one[1] < INFO_S]
        is_less, self._notifications = len(kept) < len(self._notifications), kept
        return is_less

    def _push(self) -> None:
        """Send what differs from what the page has."""
        self._is_dirty = False
        values = {**view_state(self.controller, self.actions), **self._views_shown(), **self.learning.view_state()}
        values["notifications"] = [
            {"number": number, "text": each.text, "kind": each.kind} for number, _, each in self._notifications
        ]
        values["question"] = self.state.question if self._on_yes else ""
        changed = {name: value for name, value in values.items() if self._pushed.get(name, _NOTHING) != value}
        self._pushed.update(changed)
        self.state.update(changed)

    def _views_shown(self) -> dict[str, Any]:
        opened = self.controller.opened
        least, most = self.scene.grey
        return {
            "slice_count": len(opened.stack) if opened else 0,
            "slice_index": self.scene.slice_index,
            "grey_least": least,
            "grey_most": most,
            "grey_window": [max(self.scene.window[0], least), min(self.scene.window[1], most)],
            "mode": self.scene.mode if opened else "view",
            "opening": self.controller.is_opening,
        }


_NOTHING = object()


def _work_row(one: Workload) -> list[Any]:
    seconds = "" if one.seconds is None else f"{one.seconds:.0f}"
    return [one.person, one.signed, f"{one.a_day:.1f}", seconds, one.left or ""]


def _without_lost_connections(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A picture that was on its way to a tab that is closed is no fault."""
    if not isinstance(context.get("exception"), ConnectionError):
        loop.default_exception_handler(context)


def _end_with_the_terminal(loop: asyncio.AbstractEventLoop) -> None:
    """A terminal that is closed ends the program as Ctrl-C does, unless nohup said otherwise."""
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
        loop.add_signal_handler(hangup, os.kill, os.getpid(), signal.SIGTERM)


class _Leaving(LinkProtocol):  # type: ignore[misc]
    """Tells when a browser's connection ends."""

    def __init__(self, on_leave: Callable[[], None]) -> None:
        super().__init__()
        self._on_leave = on_leave

    def onClose(self, client_id: str) -> None:
        self._on_leave()
