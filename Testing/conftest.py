"""A PostgreSQL of the tests' own, where Debian's is installed; one for all that ask."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class Server:
    """A PostgreSQL with a cluster of its own, on loopback, stopped by its process id."""

    def __init__(self, programs: Path) -> None:
        # initdb refuses root; a folder of pytest's cannot be entered by another user.
        self.user = "postgres" if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="spine-landmarks-pg-"))
        if self.user:
            shutil.chown(self.folder, self.user)
        self.programs, self.databases = programs, 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        made = self._run(
            "initdb",
            "-D",
            str(self.folder / "data"),
            "-U",
            "tester",
            "-A",
            "trust",
            "--no-sync",
            "--no-locale",
            "-E",
            "UTF8",
        )
        assert made.wait() == 0, made.stdout.read()
        made.stdout.close()
        self.start()

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.programs / program, *arguments],
            user=self.user,
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def start(self) -> None:
        log = (self.folder / "log").open("w")
        command = [
            self.programs / "postgres",
            "-D",
            self.folder / "data",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-k",
            self.folder,
            "-c",
            "fsync=off",
        ]
        self.process = subprocess.Popen(command, user=self.user, cwd=self.folder, stdout=log, stderr=log)
        log.close()
        for _ in range(1200):
            if (self.folder / f".s.PGSQL.{self.port}").exists() and self._accepts():
                return
            time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text())

    def _accepts(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
            self.process.wait(timeout=60)

    def url(self, database: str) -> str:
        return f"postgresql://tester@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        import psycopg

        self.databases += 1
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE d{self.databases}")
        return self.url(f"d{self.databases}")


@pytest.fixture(scope="session")
def a_server() -> Iterator[Server]:
    found = [shutil.which("initdb"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)]
    programs = [Path(os.path.realpath(path)).parent for path in found if path]
    if not programs:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    server = Server(programs[0])
    yield server
    server.stop()
    shutil.rmtree(server.folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Opens the one store of the test, as often as it is called; each call is another session."""
    url = request.getfixturevalue("a_server").new_database() if request.param == "postgresql" else None
    from SpineLandmarksLib.store.folder import open_store

    opened: list[Any] = []

    def open_it() -> Any:
        opened.append(open_store(tmp_path, url, "dataset-1"))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()
