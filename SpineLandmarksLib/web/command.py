"""`spine-landmarks review`: checks, data set, worker, server, and the address to open."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from SpineLandmarksLib.errors import AccessError, DatasetError
from SpineLandmarksLib.review.folder import open_dataset
from SpineLandmarksLib.review.models import current_bundle
from SpineLandmarksLib.web.access import Access, check_exposure
from SpineLandmarksLib.web.demo import Demo, as_made
from SpineLandmarksLib.web.localizing import Localizing
from SpineLandmarksLib.web.ordering import ask_for_order
from SpineLandmarksLib.worker.client import SERVE, WorkerClient


def review(options: argparse.Namespace) -> int:
    """Serve until interrupted. Raises SpineLandmarksError before anything is served."""
    check_exposure(options.host, options.tls_cert, options.tls_key, options.without_tls)
    if options.demo == (options.dataset is not None):
        raise DatasetError("Expected a data set or --demo; got both or neither. Try: spine-landmarks review --demo")
    if not 0 <= options.port < 2**16:
        raise AccessError(f"Expected a port in 0..65535; got {options.port}")
    with _folder(options) as folder:
        store = open_dataset(folder, options.store)
        try:
            localizing = Localizing(
                lambda: WorkerClient((*SERVE, "--bundle", str(current_bundle(folder, options.bundle))))
            )
            from SpineLandmarksLib.web.reviewer import Reviewer  # seconds: the data set has been checked by now

            certificate = (options.tls_cert, options.tls_key) if options.tls_cert else None
            access = Access(options.host, certificate is not None)
            by_gain = options.order == "gain" and not options.locked  # an order by a model makes a hold-out no sample
            order = ask_for_order(folder, options.store, options.bundle) if by_gain else None
            order = as_made() if options.demo else order
            reviewer = Reviewer(store, localizing, access, options.locked, options.demo, options.store, order)
            if options.annotator or options.demo:
                reviewer.desk.begin(options.annotator or "Demo")
            reviewer.run(
                options.port,
                certificate,
                options.max_upload * 2**20,
                lambda port: _tell(access.address(port), options.no_browser),
            )
        finally:
            store.close()
    return 0


@contextmanager
def _folder(options: argparse.Namespace) -> Iterator[Path]:
    if not options.demo:
        yield options.dataset
        return
    with contextlib.closing(Demo()) as demo:
        yield demo.folder


def _tell(address: str, only: bool) -> None:
    print(
        f"Open {address}\nThe key in it is good until this program ends (Ctrl-C). Every correction is saved at once.",
        flush=True,
    )
    has_screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if has_screen and not only:  # without one, a browser for terminals would take this one over
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
