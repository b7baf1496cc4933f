"""`spine-landmarks serve`: reads requests on stdin, keeps the model warm, writes messages on stdout (docs/worker.md).

Three threads: one reads requests, so that cancelling and pinging go on during work; one writes messages; the main one
works, one job at a time. The process ends when stdin does, when its parent does, and when nobody can read its messages.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial

from SpineLandmarksLib import __version__
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.worker.outbox import Outbox
from SpineLandmarksLib.worker.protocol import MAX_LINE, PROTOCOL, Message
from SpineLandmarksLib.worker.stdio import on_orphaned, read_lines, write_all
from SpineLandmarksLib.worker.work import Worker

#: What a step that cannot be interrupted (reading a file, one batch) may still take once the worker is to end.
GRACE_S = 5.0


def serve(requests: int, messages: int, open_localizer: Callable[[], Localizer], settings: Message) -> int:
    """Work until there are no more requests. requests, messages: file descriptors. settings: told by `describe`."""
    worker = Worker(open_localizer, settings)

    def end() -> None:
        worker.end()
        timer = threading.Timer(GRACE_S, os._exit, (1,))
        timer.daemon = True
        timer.start()

    outbox = Outbox(partial(write_all, messages), on_broken=end)
    worker.say = outbox.put
    outbox.put({"event": "ready", "protocol": PROTOCOL, "version": __version__, "pid": os.getpid()})

    def listen() -> None:
        for line in read_lines(requests, MAX_LINE):
            outbox.wait_for_room()
            if not worker.receive(line):
                break
        end()

    threading.Thread(target=listen, name="requests", daemon=True).start()
    on_orphaned(end)
    worker.run()
    outbox.close()
    return 0
