"""The order of expected gain, computed in a process of its own while people already work."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from SpineLandmarksLib.errors import BackendError
from SpineLandmarksLib.retraining.process import without_secret
from SpineLandmarksLib.worker.client import environment


def ask_for_order(folder: Path, store: str | None, bundle: str) -> Future[list[str]]:
    """Keys of the studies that wait, those first that are expected to teach the model most; see `review.queue`."""
    store, secret = without_secret(store)
    code = f"from {__name__} import print_order; print_order({str(folder)!r}, {store!r}, {bundle!r})"
    thread = ThreadPoolExecutor(1, "order")
    future = thread.submit(_run, (sys.executable, "-c", code), secret)
    thread.shutdown(wait=False)
    return future


def _run(command: tuple[str, ...], secret: dict[str, str]) -> list[str]:
    done = subprocess.run(
        command, env=environment() | secret, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise BackendError(f"The order of expected gain could not be found; the random one stays: {lines[-1]}")
    return [str(key) for key in json.loads(done.stdout)]


def print_order(folder: str, store: str | None, bundle: str) -> None:
    """Print them as JSON."""
    from SpineLandmarksLib.predict import Localizer
    from SpineLandmarksLib.retraining.queue import by_gain, waiting_studies
    from SpineLandmarksLib.retraining.registry import current_bundle
    from SpineLandmarksLib.store.folder import open_dataset

    opened = open_dataset(Path(folder), store, read_only=True)
    waiting = waiting_studies(opened)
    localizer = Localizer.open(current_bundle(Path(folder), bundle))
    print(json.dumps([place.key for place in by_gain(opened, waiting, localizer, len(waiting))]))
