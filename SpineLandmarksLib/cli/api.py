"""`spine-landmarks api`: landmarks over HTTP. Nothing heavy is imported before it runs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from SpineLandmarksLib.arguments import add_model, model_arguments, positive
from SpineLandmarksLib.cli.network import add_network, check_network
from SpineLandmarksLib.errors import AccessError

TOKEN = "SPINE_LANDMARKS_API_TOKEN"
#: A token of fewer characters can be guessed.
MIN_TOKEN = 16
#: Requests that are answered at a time; others are told to come again.
MAX_CONNECTIONS = 200


def add_api(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("api", help="localize studies that other programs send over HTTP")
    p.add_argument("--studies", type=Path, metavar="DIR", help="folder whose studies may be named instead of sent")
    p.add_argument(
        "--from", dest="source", metavar="URL", help="DICOMweb server whose studies may be named (docs/pacs.md)"
    )
    p.add_argument("--user", default="", metavar="NAME", help="there, whose password is asked for")
    p.add_argument("--max-upload", type=positive, default=1024, metavar="MIB", help="of a study (default 1024)")
    p.add_argument("--max-jobs", type=positive, default=100, metavar="N", help="in line (default 100)")
    p.add_argument("--keep", type=positive, default=1000, metavar="N", help="results (default 1000), for a day")
    p.add_argument("--jobs", type=Path, metavar="DIR", help="folder for jobs that outlast a restart (default: none do)")
    p.add_argument("--job-timeout", type=positive, default=600, metavar="S", help="of one study (default 600)")
    p.add_argument("--token-file", type=Path, metavar="FILE", help=f"whose first line is the token (default ${TOKEN})")
    add_model(p)
    add_network(p, 8080, "default 8080; 0 for one that is free")
    p.set_defaults(run=run_api)


def run_api(options: argparse.Namespace) -> int:
    """Serve until interrupted. Raises SpineLandmarksError before anything is served."""
    import asyncio
    import secrets

    from SpineLandmarksLib.api.job_folder import kept_folder
    from SpineLandmarksLib.imaging.unzip import scratch

    check_network(options)
    if options.studies is not None and not options.studies.is_dir():
        raise AccessError(f"Expected a folder of studies; there is no {options.studies}")
    token = _token(options.token_file)
    with scratch() if options.jobs is None else kept_folder(options.jobs) as folder:
        asyncio.run(_serve(options, folder, token or secrets.token_urlsafe(32), token is None))
    return 0


def _token(file: Path | None) -> str | None:
    """From the file or the environment; None where neither gives one. Never from the command line, which others see."""
    if file is not None:
        lines = file.read_text(encoding="utf-8").splitlines()
        token = lines[0].strip() if lines else ""
    else:
        token = os.environ.get(TOKEN, "").strip()
        if not token:
            return None
    if len(token) < MIN_TOKEN:
        raise AccessError(f"Expected a token of at least {MIN_TOKEN} characters; got {len(token)}")
    return token


async def _serve(options: argparse.Namespace, folder: Path, token: str, is_new: bool) -> None:
    import uvicorn

    from SpineLandmarksLib.api.jobs import JobLimits, JobLine
    from SpineLandmarksLib.api.server import AnnouncingServer, ApiSettings, make_app
    from SpineLandmarksLib.bundle import bundles_named, load_bundle
    from SpineLandmarksLib.worker.client import SERVE, WorkerClient

    for bundle in bundles_named(options.bundle):
        load_bundle(bundle)  # told now, not by the first job
    pacs = None
    if options.source is not None:
        from SpineLandmarksLib.pacs.dicomweb import DicomWeb

        pacs = DicomWeb(options.source, options.user)  # asks for the password, and refuses an address that is none
    settings = ApiSettings(token, options.studies, pacs, options.max_upload * 2**20)
    limits = JobLimits(waiting=options.max_jobs, kept=options.keep, job_s=options.job_timeout)
    line = JobLine(lambda: WorkerClient((*SERVE, *model_arguments(options))), limits, folder)
    app = make_app(line, settings)
    config = uvicorn.Config(
        app,
        host=options.host,
        port=options.port,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
        access_log=False,  # it would have the names of studies
        log_level="warning",
        limit_concurrency=MAX_CONNECTIONS,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    server = AnnouncingServer(config)
    server.text = f"\nToken of this start: {token}" if is_new else ""
    await server.serve()
