"""`spine-landmarks node`: series in by C-STORE, reports and captures out to a PACS."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import closing
from pathlib import Path

from SpineLandmarksLib.arguments import add_model, model_arguments, positive


def add_node(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("node", help="a DICOM node: series in, reports and captures out to a PACS")
    p.add_argument("--aet", required=True, metavar="NAME", help="AE title of this node")
    p.add_argument("--port", required=True, type=int, metavar="N", help="that it listens on")
    p.add_argument("--send", required=True, metavar="AET@HOST:PORT", help="where results go")
    p.add_argument("--queue", required=True, type=Path, metavar="DIR", help="folder that keeps what is not done")
    p.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="to listen on (default: this computer alone)")
    p.add_argument("--allow", action="append", default=[], metavar="AET", help="title that may send; repeat for more")
    p.add_argument("--quiet", type=float, default=30.0, metavar="S", help="seconds without news of a study (30)")
    p.add_argument("--max-studies", type=positive, default=1000, metavar="N", help="that may wait (default 1000)")
    p.add_argument("--max-images", type=positive, default=5000, metavar="N", help="of one study (default 5000)")
    p.add_argument("--max-mb", type=positive, default=256, metavar="N", help="of one image or file (default 256)")
    p.add_argument("--keep", type=positive, default=3600, metavar="S", help="images after their result (default 3600)")
    p.add_argument("--max-kept", type=positive, default=100, metavar="N", help="studies: so, and failed (default 100)")
    add_model(p)
    p.set_defaults(run=run_node)


def run_node(options: argparse.Namespace) -> int:
    import pynetdicom  # noqa: F401  # what is missing is told before anything is made

    from SpineLandmarksLib.formats.dicom_plane import require_highdicom
    from SpineLandmarksLib.pacs.node import Node, NodeSettings
    from SpineLandmarksLib.pacs.queue import QueueLimits, StudyQueue
    from SpineLandmarksLib.pacs.sender import Peer
    from SpineLandmarksLib.worker.client import SERVE, WorkerClient

    require_highdicom()
    peer = Peer.parse(options.send)
    settings = NodeSettings(options.aet, options.port, peer, options.host, tuple(options.allow), options.quiet)
    limits = QueueLimits(
        options.max_mb * 2**20, options.max_images, options.max_studies, options.max_kept, options.keep
    )
    with closing(StudyQueue(options.queue, limits)) as queue:
        client = WorkerClient((*SERVE, *model_arguments(options)))
        with closing(Node(settings, queue, client, _say)) as node:
            client.warm()
            print(f"Listening as {options.aet} on {options.host}:{node.port}; results go to {options.send}", flush=True)
            node.run()
    return 0


def _say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", file=sys.stderr, flush=True)
