"""`spine-landmarks review`: checks, data set, worker, server, and the address to open.

The arguments of `spine-landmarks review`. Nothing heavy is imported before it runs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from SpineLandmarksLib.arguments import ORDERS, positive
from SpineLandmarksLib.cli.network import add_network, check_network
from SpineLandmarksLib.errors import DatasetError

if TYPE_CHECKING:
    from SpineLandmarksLib.web.access import Access

Parsers = argparse._SubParsersAction
#: The same at each start, so that pages come back after one.
TEAM_PORT = 8765


def add_review(commands: Parsers[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("review", help="look at studies and correct their landmarks in the browser")
    p.add_argument("dataset", nargs="?", type=Path, metavar="DATASET", help="data-set folder (see dataset init)")
    p.add_argument("--demo", action="store_true", help="generated studies in a temporary folder, to try it")
    p.add_argument("--annotator", default="", metavar="NAME", help="who corrects; the page asks when not given")
    p.add_argument("--locked", action="store_true", help="review the locked hold-out, which is left out otherwise")
    p.add_argument("--order", choices=ORDERS, default=ORDERS[0], help=f"of the studies (default {ORDERS[0]})")
    p.add_argument("--store", metavar="postgresql://...", help="a database instead of a file in the folder")
    p.add_argument("--bundle", default="current", metavar="NAME_OR_DIR", help="model that localizes (default current)")
    p.add_argument("--by-hand", action="store_true", help="run no model on a new study before somebody asks for it")
    p.add_argument("--no-browser", action="store_true", help="only say the address")
    p.add_argument("--max-upload", type=positive, default=1024, metavar="MIB", help="of a study (default 1024)")
    add_network(p, 0, "default: one that is free")
    p.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="NAME",
        help="by which others reach this computer (default: its host name)",
    )
    team = p.add_argument_group("team")
    team.add_argument("--team", action="store_true", help="one address for all accounts of the data set")
    team.add_argument("--proxy-header", default="", metavar="NAME", help="where a proxy says who it is: no passwords")
    team.add_argument("--member", action="store_true", help=argparse.SUPPRESS)  # of a team: its front starts it
    p.set_defaults(run=review)


def review(options: argparse.Namespace) -> int:
    """Serve until interrupted. Raises SpineLandmarksError before anything is served."""
    from SpineLandmarksLib.retraining.registry import current_bundle
    from SpineLandmarksLib.store.folder import open_dataset
    from SpineLandmarksLib.worker.client import SERVE, WorkerClient
    from SpineLandmarksLib.worker.localization import LocalizationService

    _check(options)
    if options.team:
        return _serve_team(options)
    print("Starting; the address comes in some seconds", flush=True)
    with _folder(options) as folder:
        store = open_dataset(folder, options.store)
        try:
            if not options.by_hand:
                require_same_landmarks(current_bundle(folder, options.bundle), store.schema)
            localization = LocalizationService(
                lambda: WorkerClient((*SERVE, "--bundle", str(current_bundle(folder, options.bundle))))
            )
            from SpineLandmarksLib.web.reviewer import Reviewer  # seconds: the data set has been checked by now

            certificate = (options.tls_cert, options.tls_key) if options.tls_cert else None
            access = _access(options)
            order, by_doubt = _order(options, folder), options.order == "doubt" and not options.locked
            how = (options.locked, options.demo, options.store, order, not options.by_hand, by_doubt)
            reviewer = Reviewer(store, localization, access, *how)
            if options.member:
                reviewer.join_team(order)
            if options.annotator or options.demo:
                reviewer.controller.begin(options.annotator or "Demo")
            reviewer.run(
                options.port,
                certificate,
                options.max_upload * 2**20,
                lambda port: _tell(access.addresses(port), options.no_browser),
            )
        finally:
            store.close()
    return 0


def _check(options: argparse.Namespace) -> None:
    check_network(options)
    if options.demo == (options.dataset is not None):
        raise DatasetError("Expected a data set or --demo; got both or neither. Try: spine-landmarks review --demo")


def _order(options: argparse.Namespace, folder: Path) -> Future[list[str]] | None:
    """What has to be computed of it. A hold-out in an order by a model would be no sample; a front tells its own."""
    from SpineLandmarksLib.web.demo import as_made
    from SpineLandmarksLib.web.ordering import ask_for_order

    if options.demo:
        return as_made()
    if options.order != "gain" or options.locked:
        return None
    return Future() if options.member else ask_for_order(folder, options.store, options.bundle)


def _access(options: argparse.Namespace) -> Access:
    from SpineLandmarksLib.web.access import Access

    is_tls = options.tls_cert is not None
    return Access(options.host, is_tls, is_behind_proxy=options.without_tls, names=tuple(options.name))


def _serve_team(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.retraining.process import without_secret
    from SpineLandmarksLib.store.accounts import accounts
    from SpineLandmarksLib.store.folder import open_dataset
    from SpineLandmarksLib.web.front import TeamFront, run_team
    from SpineLandmarksLib.web.ordering import ask_for_order

    if options.dataset is None or options.annotator or options.locked:
        raise DatasetError("Expected a data set, and no --annotator nor --locked, for a team")
    certificate = (options.tls_cert, options.tls_key) if options.tls_cert else None
    access = _access(options)
    address, secret = without_secret(options.store)
    command = [sys.executable, "-m", "SpineLandmarksLib", "review", str(options.dataset), "--member", "--no-browser"]
    command += ["--bundle", options.bundle, "--order", options.order, "--max-upload", str(options.max_upload)]
    command += ["--by-hand"] * options.by_hand + (["--store", address] if address else [])
    with open_dataset(options.dataset, options.store) as store:
        if not accounts(store):
            raise DatasetError(
                "Expected accounts for a team; there are none. Make the first, an administrator's: "
                f"spine-landmarks dataset account {options.dataset} NAME"
            )
        order = ask_for_order(options.dataset, options.store, options.bundle) if options.order == "gain" else None
        front = TeamFront(store, access, command, options.proxy_header, secret, order)

        def tell(port: int) -> None:
            hosts = access.addresses(port)
            told = "".join(f"Open {host.partition('?')[0]}\n" for host in hosts)
            print(f"{told}Everybody with an account logs in there, until this program ends (Ctrl-C).", flush=True)

        run_team(front, options.port or TEAM_PORT, certificate, tell)
    return 0


def require_same_landmarks(
    bundle: str | Path, schema: Sequence[str], without: str = "review without a model: --by-hand"
) -> None:
    """Raise DatasetError for a model of other landmarks than the data set has. without: how to do without a model."""
    from SpineLandmarksLib.bundle import bundles_named, load_bundle

    model = load_bundle(bundles_named(bundle)[0], ())
    if set(model.landmarks) != set(schema):
        raise DatasetError(
            f"Expected a model of {', '.join(schema)}; {model.label} has {', '.join(model.landmarks)}. Name one with "
            f"--bundle, or {without}"
        )


@contextmanager
def _folder(options: argparse.Namespace) -> Iterator[Path]:
    from SpineLandmarksLib.web.demo import Demo

    if not options.demo:
        yield options.dataset
        return
    with contextlib.closing(Demo()) as demo:
        yield demo.folder


def _tell(addresses: list[str], only: bool) -> None:
    address, *others = addresses
    elsewhere = "".join(f"\nFrom other computers: {other}" for other in others)
    print(
        f"Open {address}{elsewhere}\nThe key in it is good until this program ends (Ctrl-C). Every correction is saved "
        "at once.",
        flush=True,
    )
    has_screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if has_screen and not only:  # without one, a browser for terminals would take this one over
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
