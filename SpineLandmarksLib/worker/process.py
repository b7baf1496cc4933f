"""A worker process, seen from outside: three threads keep its pipes moving, so that no call here ever waits."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any

from SpineLandmarksLib.errors import BackendError
from SpineLandmarksLib.worker.protocol import MAX_LINE, PROTOCOL, Message, decode, encode, read_lines, write_all

Spawn = Callable[..., "subprocess.Popen[bytes]"]
#: Lines of stderr that are kept to explain a death.
LAST_LINES = 20
#: What a process that was told to end may take for it.
GRACE_S = 2.0
#: Event of the last message of a process, which is ours and not the worker's.
ENDED = "ended"


class WorkerProcess:
    """A running worker. No method waits. BackendError when it cannot be started."""

    def __init__(self, command: Sequence[str], spawn: Spawn = subprocess.Popen) -> None:
        self._messages: SimpleQueue[Message] = SimpleQueue()
        self._requests: SimpleQueue[bytes | None] = SimpleQueue()
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._has_ended = threading.Event()
        self._fault = ""
        try:
            self._process = spawn(list(command), **_pipes(), **own_group(), env=environment())
        except OSError as error:
            reason = error.strerror or error
            raise BackendError(f"Expected a worker that starts with {' '.join(command)}; got: {reason}") from error
        self.pid = self._process.pid
        readers = [self._start(self._read_messages), self._start(self._read_stderr)]
        self._start(self._write_requests)
        self._start(lambda: self._await_end(readers))

    def news(self) -> Iterator[Message]:
        """The messages that have come, in order; at the very end {"event": ENDED, "error", "stderr"}."""
        with contextlib.suppress(Empty):
            while True:
                yield self._messages.get_nowait()

    def send(self, message: Message) -> None:
        """Send in turn. What a dead worker is sent is lost, as ENDED says."""
        self._requests.put(encode(message))

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    def end(self) -> None:
        """Let it end, and kill it with all its children if it does not. Returns at once.

        The thread is no daemon: the interpreter waits for it, so that nothing is left behind.
        """
        self._requests.put(None)
        threading.Thread(target=self._kill_if_it_stays, name="worker end").start()

    def kill(self) -> None:
        """End it and its children now."""
        kill_tree(self._process)

    def _kill_if_it_stays(self) -> None:
        if not self._has_ended.wait(GRACE_S):
            self.kill()

    def _start(self, target: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=target, name=f"worker {self.pid}", daemon=True)
        thread.start()
        return thread

    def _write_requests(self) -> None:
        with contextlib.suppress(OSError), _descriptor(self._process.stdin) as descriptor:
            while (line := self._requests.get()) is not None:
                write_all(descriptor, line)

    def _read_messages(self) -> None:
        with _descriptor(self._process.stdout) as descriptor:
            for line in read_lines(descriptor, MAX_LINE):
                message = decode(line or b"")
                if message["event"] == "ready" and message.get("protocol") != PROTOCOL:
                    self._fault = f"Expected a worker of protocol {PROTOCOL}; got {message.get('protocol')}"
                    break
                self._messages.put(message)
        self.kill()  # a worker that nobody hears is of no use

    def _read_stderr(self) -> None:
        with _descriptor(self._process.stderr) as descriptor:
            for line in read_lines(descriptor, MAX_LINE):
                self._last_lines.append((line or b"").decode("utf-8", "replace").rstrip())

    def _await_end(self, readers: Sequence[threading.Thread]) -> None:
        status = self._process.wait()
        kill_tree(self._process)  # what it started goes with it
        for reader in readers:
            reader.join(1.0)  # some process that left the group may hold the pipe
        self._requests.put(None)
        self._has_ended.set()
        error = (
            self._fault
            or f"The worker process ended ({_reason(status, self._last_lines)}) before the job was done. Try again"
        )
        self._messages.put({"event": ENDED, "error": error, "stderr": list(self._last_lines)})


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and its group; on Windows, it and its children, unless it has ended: then nobody knows them."""
    if sys.platform == "win32":
        if process.poll() is None:
            command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
            flags = subprocess.CREATE_NO_WINDOW  # it would flash: Slicer has no console
            subprocess.run(command, capture_output=True, check=False, creationflags=flags)
    else:
        process.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says that of a group of zombies
            os.killpg(process.pid, signal.SIGKILL)


def environment() -> dict[str, str]:
    """Ours, with this library first on the path: Slicer has it in none that a new process would know."""
    folders = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))}


def _reason(status: int, said: Iterable[str]) -> str:
    """Words for an exit status: minus the signal for a process that was killed, or 128 and the signal from a shell.

    The launcher that starts Python in Slicer tells of a killed child only in what it says.
    """
    with contextlib.suppress(ValueError):
        return signal.Signals(-status if status < 0 else status - 128).name
    killed = any("exit abnormally" in line for line in said)
    return f"status {status}{', killed by the system, mostly because memory ran out' * killed}"


def _pipes() -> dict[str, Any]:
    return {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "bufsize": 0}


def own_group() -> dict[str, Any]:
    """A group of its own, which Ctrl-C in our terminal does not reach and which can be killed as a whole."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


@contextlib.contextmanager
def _descriptor(pipe: IO[bytes] | None) -> Iterator[int]:
    """Yield the pipe's file descriptor, and close the pipe at the end."""
    assert pipe is not None
    with pipe:
        yield pipe.fileno()
