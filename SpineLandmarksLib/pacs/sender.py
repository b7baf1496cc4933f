"""Results to a PACS by C-STORE, again and again with longer pauses until it has them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpineLandmarksLib.errors import InputError
from SpineLandmarksLib.imaging.volume import one_line
from SpineLandmarksLib.pacs.queue import StudyQueue

if TYPE_CHECKING:
    from pynetdicom.association import Association

#: Pause after the first failure and the longest one, s.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 300.0
#: Seconds for a connection, and for an answer.
CONNECT_S, ANSWER_S = 10, 60
_PEER = re.compile(r"([^@\\]{1,16})@([^@:\s]+|\[[0-9a-fA-F:]+\]):([0-9]{1,5})")


@dataclass(frozen=True)
class Peer:
    """A DICOM node that is sent to."""

    aet: str
    host: str
    port: int

    @staticmethod
    def parse(text: str) -> Peer:
        """From AET@HOST:PORT. Raises InputError.

        >>> Peer.parse("PACS@pacs.example:104")
        Peer(aet='PACS', host='pacs.example', port=104)
        """
        found = _PEER.fullmatch(text)
        if not found or not 0 < int(found[3]) < 65536 or not found[1].strip():
            raise InputError(f"Expected a node to send to, as PACS@pacs.example:104; got {text!r}")
        return Peer(found[1], found[2].strip("[]"), int(found[3]))


class Sender:
    """A thread that sends what the queue has for a peer. aet: our title. say: takes a line for people."""

    def __init__(self, queue: StudyQueue, aet: str, peer: Peer, say: Callable[[str], None]) -> None:
        self._queue, self._aet, self._peer, self._say = queue, aet, peer, say
        self._wake, self._is_ending = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="sender")
        self._thread.start()

    def wake(self) -> None:
        """There is something new to send. A pause after a failure goes on all the same."""
        self._wake.set()

    def close(self) -> None:
        """End after the file that is being sent."""
        self._is_ending = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        pause_s = 0.0
        while not self._is_ending:
            failed = self._try_all()
            pause_s = min(max(FIRST_PAUSE_S, 2 * pause_s), LONGEST_PAUSE_S) if failed else 0.0
            if failed:
                self._say(f"{failed}; {len(self._queue.studies('send'))} results wait, next try in {pause_s:.0f} s")
                self._pause(pause_s)
            else:
                self._wake.wait()
                self._wake.clear()

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._is_ending and (left := until - time.monotonic()) > 0:
            self._wake.wait(left)
            self._wake.clear()

    def _try_all(self) -> str:
        """`_send_all`; whatever is wrong with the disk, the thread lives on and tries again."""
        try:
            return self._send_all()
        except OSError as error:
            return f"{error.strerror or error} in the queue"

    def _send_all(self) -> str:
        """Everything that waits, over one association; why something is left, else empty."""
        waiting = [name for name in self._queue.studies("send") if not self._queue.settle(name)]
        if not waiting:
            return ""
        association = self._associate()
        if not association.is_established:
            return f"{self._peer.aet} at {self._peer.host}:{self._peer.port} lets nobody in"
        try:
            problems = [self._send(association, file) for name in waiting for file in self._queue.files_to_send(name)]
        finally:
            if association.is_established:
                association.release()
        return next(filter(None, problems), "")

    def _associate(self) -> Association:
        from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
        from pynetdicom import AE
        from pynetdicom.sop_class import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

        ae = AE(ae_title=self._aet)
        ae.connection_timeout, ae.acse_timeout = CONNECT_S, ANSWER_S
        ae.dimse_timeout, ae.network_timeout = ANSWER_S, ANSWER_S
        for kind in (Comprehensive3DSRStorage, SecondaryCaptureImageStorage):
            ae.add_requested_context(kind, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        return ae.associate(self._peer.host, self._peer.port, ae_title=self._peer.aet)

    def _send(self, association: Association, file: Path) -> str:
        """One file; why it was not taken, else empty."""
        if self._is_ending:
            return "ending"
        if not association.is_established:
            return f"{self._peer.aet} broke the connection off"
        try:
            status: Any = association.send_c_store(file)
        except ValueError as error:  # no context of its kind was accepted
            return f"{self._peer.aet} takes no such objects ({one_line(error, 120)})"
        except Exception as error:  # whatever pydicom raises on a damaged file; others go on
            return f"a {file.stem} could not be read ({type(error).__name__})"
        code = status.get("Status")
        if code is None:
            return f"{self._peer.aet} gave no answer"
        if code != 0x0000 and code >> 12 != 0xB:  # Bxxx: kept, with a warning
            return f"{self._peer.aet} refuses a {file.stem} ({code:#06x})"
        self._queue.mark_sent(file)
        return ""
