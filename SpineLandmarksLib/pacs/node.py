"""A DICOM node: series come in by C-STORE, are localized once their study is quiet, and the results go to a PACS.

An instance is acknowledged when it is on the disk. A study is localized by the worker, which may die. What it is called
in the log is a hash: neither names nor UIDs are written there.
"""

from __future__ import annotations

import hashlib
import math
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from SpineLandmarksLib.arguments import DICOM_NAMES
from SpineLandmarksLib.errors import InputError, OutputError, SpineLandmarksError
from SpineLandmarksLib.formats.dicom_replacing import ReportReference, mark_capture, mark_report
from SpineLandmarksLib.pacs.queue import StudyQueue, StudyResult
from SpineLandmarksLib.pacs.sender import FIRST_PAUSE_S, LONGEST_PAUSE_S, Peer, Sender
from SpineLandmarksLib.worker.client import WorkerClient
from SpineLandmarksLib.worker.protocol import FINAL

if TYPE_CHECKING:
    from pynetdicom import AE
    from pynetdicom.events import Event

#: Status of C-STORE (PS3.4 B.2.3): kept, no room, not understood.
KEPT, NO_ROOM, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000
#: Connections that are served at once; more are turned away.
MAX_ASSOCIATIONS = 16
#: A study that the worker died of this often has no result.
MAX_DEATHS = 3
#: Kinds of the worker's errors (docs/worker.md) that another try may mend once a person has looked.
NOT_OF_THE_STUDY = ("backend", "bundle", "output")
#: Seconds after which a worker that is still at one study is ended.
LONGEST_JOB_S = 600.0
#: Seconds between looks at the worker's messages while it works, and for what is kept too long.
_LOOK_S, PRUNE_S = 0.05, 60.0
_AET = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
_UID = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)*")


@dataclass(frozen=True)
class NodeSettings:
    """aet, host, port: where the node listens. peer: that results go to. allowed: titles that may send; empty: all.

    quiet_s: so long nothing of a study must have come before it is localized.
    Raises InputError: titles, port or time that are none, and an address that others reach without a list of who may
    send.
    """

    aet: str
    port: int
    peer: Peer
    host: str = "127.0.0.1"
    allowed: tuple[str, ...] = ()
    quiet_s: float = 30.0

    def __post_init__(self) -> None:
        for title in (self.aet, *self.allowed):
            if not _AET.fullmatch(title):
                raise InputError(f"Expected an AE title of 1 to 16 printable characters; got {title!r}")
        if not 0 <= self.port < 2**16 or not 0 <= self.quiet_s < math.inf:
            raise InputError(f"Expected a port in 0..65535 and 0 s or more; got {self.port} and {self.quiet_s:g} s")
        if self.host not in ("127.0.0.1", "::1", "localhost") and not self.allowed:
            raise InputError(
                f"Expected titles that may send (--allow) for an address that others reach; got {self.host}"
            )


class Node:
    """A node that runs. client: the worker. say: takes a line of the log."""

    def __init__(
        self, settings: NodeSettings, queue: StudyQueue, client: WorkerClient, say: Callable[[str], None]
    ) -> None:
        self.settings, self._queue, self._client, self._say = settings, queue, client, say
        self._last_came: dict[str, float] = {}
        self._prune_at = 0.0
        self._news, self._is_ending = threading.Condition(), False
        self._deaths: Counter[str] = Counter()
        self._sender = Sender(queue, settings.aet, settings.peer, say)
        try:
            self._ae = self._listen()
        except OSError as error:
            self._sender.close()
            raise InputError(f"Expected a free address; {settings.host}:{settings.port}: {error.strerror}") from error

    @property
    def port(self) -> int:
        return int(self._ae._servers[0].server_address[1])

    def run(self) -> None:
        """Work until `end`."""
        for killed in self._queue.studies("work"):
            self._localize(killed)
        while (study_uid := self._next_quiet()) is not None:
            if self._queue.take(study_uid):
                self._localize(study_uid)
            else:
                self._say(f"study {tag(study_uid)} came again; its result is there")

    def end(self) -> None:
        """Let `run` return soon; what is not done is done after the next start."""
        with self._news:
            self._is_ending = True
            self._news.notify_all()

    def close(self) -> None:
        self.end()
        self._ae.shutdown()
        self._sender.close()
        self._client.close()

    def _listen(self) -> AE:
        from pydicom.uid import AllTransferSyntaxes
        from pynetdicom import AE, evt
        from pynetdicom.sop_class import (
            EnhancedMRImageStorage,
            LegacyConvertedEnhancedMRImageStorage,
            MRImageStorage,
            Verification,
        )

        ae = AE(ae_title=self.settings.aet)
        ae.maximum_associations = MAX_ASSOCIATIONS
        ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = 10, 30, 30
        ae.require_called_aet, ae.require_calling_aet = True, list(self.settings.allowed)
        ae.add_supported_context(Verification)
        for kind in (MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage):
            ae.add_supported_context(kind, AllTransferSyntaxes)
        sizes = _Sizes(self._queue.limits.instance_bytes)
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_CONN_OPEN, _turn_away),
            (evt.EVT_DATA_RECV, sizes.on_data),
            (evt.EVT_DIMSE_RECV, sizes.on_whole),
            (evt.EVT_REJECTED, lambda _: self._say("a sender was turned away")),
        ]
        ae.start_server((self.settings.host, self.settings.port), block=False, evt_handlers=handlers)
        return ae

    def _on_store(self, event: Event) -> int:
        """Keep an instance; the status that the sender is told."""
        try:
            instance_uid, study_uid = str(event.request.AffectedSOPInstanceUID), str(event.dataset.StudyInstanceUID)
        except Exception:  # whatever pydicom raises on damaged bytes
            return NOT_UNDERSTOOD
        if not (_UID.fullmatch(instance_uid) and _UID.fullmatch(study_uid)):
            return NOT_UNDERSTOOD
        try:
            self._queue.add(study_uid, instance_uid, event.encoded_dataset())
        except OutputError as error:
            self._say(f"an instance of study {tag(study_uid)} was not kept: {error}".replace(study_uid, tag(study_uid)))
            return NO_ROOM
        with self._news:
            self._last_came[study_uid] = time.monotonic()
            self._news.notify_all()
        return KEPT

    def _next_quiet(self) -> str | None:
        """Wait for a study that is quiet; None at the end."""
        with self._news:
            while not self._is_ending:
                now = time.monotonic()
                self._prune(now)
                waiting = self._queue.studies("incoming")
                self._last_came = {uid: self._last_came.get(uid, now) for uid in waiting}
                if not waiting:
                    self._news.wait(PRUNE_S)
                    continue
                first = min(waiting, key=self._last_came.__getitem__)
                left = self._last_came[first] + self.settings.quiet_s - now
                if left <= 0:
                    del self._last_came[first]
                    return first
                self._news.wait(min(left, PRUNE_S))
        return None

    def _prune(self, now: float) -> None:
        if now < self._prune_at:
            return
        self._prune_at = now + PRUNE_S
        try:
            for study_uid in self._queue.prune():
                self._say(f"study {tag(study_uid)}, which had no result, is no longer kept: there are newer ones")
        except OSError as error:
            self._say(f"what is old could not be dropped from {self._queue.folder}: {error.strerror}")

    def _localize(self, study_uid: str) -> None:
        """Turn a study in work into a result, or put it aside; it stays in work where the node ends before."""
        out, pause_s = self._queue.folder / "work" / f".{study_uid}", FIRST_PAUSE_S
        while not self._is_ending and not self._try(study_uid, out):
            with self._news:
                self._news.wait_for(lambda: self._is_ending, pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _try(self, study_uid: str, out: Path) -> bool:
        """Whether a study is settled; if not, for a reason that is not the study's, it is tried again."""
        try:
            return self._try_once(study_uid, out)
        except (OutputError, OSError):
            self._say(f"study {tag(study_uid)} waits: its result could not be written to {self._queue.folder}")
            return False

    def _try_once(self, study_uid: str, out: Path) -> bool:
        shutil.rmtree(out, ignore_errors=True)
        self._queue.gather(study_uid)
        answer = self._ask(study_uid, out)
        if answer is None:
            return True
        if answer["event"] == "lost":
            self._deaths[study_uid] += 1
            if self._deaths[study_uid] < MAX_DEATHS:
                self._say(f"study {tag(study_uid)}: its worker died; again")
                return False
            answer = {"event": "failed", "error": f"{MAX_DEATHS} workers died of it"}
        if answer.get("kind") in NOT_OF_THE_STUDY:
            self._say(f"study {tag(study_uid)} waits: the worker says that the {answer['kind']} is at fault")
            return False
        self._settle(study_uid, answer, out)
        return True

    def _ask(self, study_uid: str, out: Path) -> Mapping[str, Any] | None:
        """The worker's last word on a study; None where the node ends before."""
        try:
            job = self._client.submit(
                self._queue.folder / "work" / study_uid, output=out, formats=list(DICOM_NAMES.values())
            )
        except SpineLandmarksError as error:
            return {"event": "failed", "kind": "backend", "error": str(error)}
        started = time.monotonic()
        while not self._is_ending:
            for message in self._client.poll():
                if message.get("id") == job and message["event"] in FINAL:
                    return message
            if time.monotonic() - started > LONGEST_JOB_S:
                self._client.close()
                return {"event": "lost"}
            with self._news:
                self._news.wait_for(lambda: self._is_ending, _LOOK_S)
        return None

    def _settle(self, study_uid: str, answer: Mapping[str, Any], out: Path) -> None:
        del self._deaths[study_uid]
        if self._queue.has_changed(study_uid):
            self._say(f"study {tag(study_uid)} changed while it was read; it waits to be quiet again")
        elif answer["event"] == "done":
            self._finish(study_uid, _renamed(out))
        else:
            self._queue.fail(study_uid, str(answer.get("error", "cancelled")))
            self._say(f"study {tag(study_uid)} has no result; the reason is in {self._queue.folder / 'failed'}")
        shutil.rmtree(out, ignore_errors=True)

    def _finish(self, study_uid: str, files: list[Path]) -> None:
        """Hand a result over to the sender; one that comes after another of its study says so."""
        report, capture = files
        made, before = ReportReference.of(report), self._queue.last_result(study_uid)
        if before and before.made_as == made.instance_uid:
            self._queue.finish(study_uid, (), before)
            self._say(f"study {tag(study_uid)} has more images, which change nothing in its result")
        elif before:
            self._finish_later(study_uid, report, capture, before)
        else:
            self._queue.finish(study_uid, files, StudyResult(1, made, made.instance_uid))
            self._say(f"study {tag(study_uid)} is localized")
        self._sender.wake()

    def _finish_later(self, study_uid: str, report: Path, capture: Path, before: StudyResult) -> None:
        number, made_as = before.number + 1, ReportReference.of(report).instance_uid
        new, gone = self._queue.came_since(study_uid)
        if gone:
            note = f"Result {number} of this study, of later images alone; earlier ones that have gone: {gone}"
        else:
            note = f"Result {number} of this study replaces result {before.number}; images that have come since: {new}"
        mark_report(report, number, note, None if gone else before.report)
        mark_capture(capture, number, note)
        self._queue.finish(study_uid, (report, capture), StudyResult(number, ReportReference.of(report), made_as))
        self._say(f"study {tag(study_uid)} is localized again: {note}")


class _Sizes:
    """Bytes of the message that each connection is in; one that grows too long is broken off while it comes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit + 2**20  # with what stands around an instance
        self._bytes: WeakKeyDictionary[Any, int] = WeakKeyDictionary()  # a connection goes when it has ended

    def on_data(self, event: Event) -> None:
        self._bytes[event.assoc] = self._bytes.get(event.assoc, 0) + len(event.data)
        if self._bytes[event.assoc] > self._limit:
            self.on_whole(event)
            event.assoc.abort()

    def on_whole(self, event: Event) -> None:
        self._bytes.pop(event.assoc, None)


def _turn_away(event: Event) -> None:
    """Close a connection that is one too many before it has said anything: each costs a thread.

    The thread is told that nothing came. It would wait for 10 s, in which it counts: whoever tries again, and is
    turned away again, would keep everybody out.
    """
    if len(event.assoc.ae.active_associations) > 2 * MAX_ASSOCIATIONS:
        with suppress(OSError):
            event.assoc.dul.socket.close()
        event.assoc.dul.to_user_queue.put(None)


def _renamed(out: Path) -> list[Path]:
    """Report and capture under names that no study shows in."""
    named = []
    for word, ending in (("report", DICOM_NAMES["sr"]), ("capture", DICOM_NAMES["sc"])):
        (file,) = out.glob(f"*.{ending}")
        named.append(file.rename(out / f"{word}.dcm"))
    return named


def tag(study_uid: str) -> str:
    """What a study is called in the log.

    >>> tag("1.2.3")
    'c47f5b18'
    """
    return hashlib.sha256(study_uid.encode()).hexdigest()[:8]
