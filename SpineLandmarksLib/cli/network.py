"""Where the servers listen: their arguments, and what is refused before anything is served."""

from __future__ import annotations

import argparse
from pathlib import Path

from SpineLandmarksLib.errors import AccessError


def add_network(p: argparse.ArgumentParser, port: int, port_help: str) -> None:
    """port: where none is given."""
    group = p.add_argument_group("network")
    group.add_argument("--host", default="127.0.0.1", metavar="NAME", help="listen there (default: this computer only)")
    group.add_argument("--port", type=int, default=port, metavar="N", help=port_help)
    group.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain, PEM")
    group.add_argument("--tls-key", type=Path, metavar="FILE", help="its key, PEM")
    group.add_argument("--without-tls", action="store_true", help="let other computers in without it, behind a proxy")


def check_network(options: argparse.Namespace) -> None:
    """Raise AccessError for what cannot be served, or not safely."""
    from SpineLandmarksLib.web.access import check_exposure

    check_exposure(options.host, options.tls_cert, options.tls_key, options.without_tls)
    if not 0 <= options.port < 2**16:
        raise AccessError(f"Expected a port in 0..65535; got {options.port}")
