"""The one address of a team: whose log-in counts, and what a proxy may say."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from SpineLandmarksLib.errors import AccessError, BackendError
from SpineLandmarksLib.store.accounts import password_marks, remove_account, set_account
from SpineLandmarksLib.store.folder import open_dataset
from SpineLandmarksLib.web.access import Access
from SpineLandmarksLib.web.front import FAILURES_S, LOGIN_S, MAX_FAILURES, LoginKey, TeamFront, Throttle


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_log_in_outlives_a_restart_and_ends(tmp_path: Path) -> None:
    clock = Clock()
    cookie, marks = LoginKey(tmp_path, clock).login("Ann Ö.", "a1"), {"Ann Ö.": "a1"}
    again = LoginKey(tmp_path, clock)
    assert again.name(cookie, marks) == "Ann Ö."
    clock.now += LOGIN_S
    assert again.name(cookie, marks) is None
    assert (tmp_path / "team.key").stat().st_mode & 0o77 == 0


def test_a_log_in_that_was_made_elsewhere_or_changed_is_none(tmp_path: Path) -> None:
    mine, other = LoginKey(tmp_path), LoginKey(Path(tmp_path, "other").mkdir() or tmp_path / "other")
    cookie, marks = mine.login("Ann", "a1"), {"Ann": "a1", "Bob": "b1"}
    assert mine.name(cookie, marks) == "Ann"
    name, end, mark, signature = cookie.split(".")
    later, bob = f"{name}.{int(end) + 9}.{mark}.{signature}", f"{b'Bob'.hex()}.{end}.b1.{signature}"
    for forged in ("", "x", "..", other.login("Ann", "a1"), later, bob, f"{name}.{end}.{signature}"):
        assert mine.name(forged, marks) is None


def test_another_password_ends_the_log_ins_with_the_one_before(
    tmp_path: Path, make_dataset: Callable[..., Path]
) -> None:
    key = LoginKey(tmp_path)
    with open_dataset(make_dataset(slices=("case-1",))) as store:
        set_account(store, "Ada", "administrator", "first password", "Ada")
        set_account(store, "Ann", "reader", "first password", "Ada")
        cookies = {name: key.login(name, mark) for name, mark in password_marks(store).items()}
        set_account(store, "Ann", "lead", None, "Ada")
        assert key.name(cookies["Ann"], password_marks(store)) == "Ann", "another role is no reason"
        set_account(store, "Ann", "lead", "second password", "Ada")
        assert key.name(cookies["Ann"], password_marks(store)) is None
        assert key.name(cookies["Ada"], password_marks(store)) == "Ada"
        remove_account(store, "Ann", "Ada")
        assert key.name(cookies["Ann"], password_marks(store)) is None


def test_a_key_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "team.key").write_text("abc")
    with pytest.raises(AccessError, match="cut short"):
        LoginKey(tmp_path)


def test_guessing_is_slowed_down_for_one_name_and_no_other() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    for _ in range(MAX_FAILURES):
        assert not throttle.is_closed("Ann")
        throttle.note("Ann")
    assert throttle.is_closed("Ann")
    assert not throttle.is_closed("Bob")
    clock.now += 61
    assert not throttle.is_closed("Ann")


def test_names_that_are_tried_once_are_not_kept_and_log_ins_do_not_count() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    for number in range(100):
        assert not throttle.is_closed(f"nobody {number}")
        throttle.note(f"nobody {number}")
        clock.now += 1
    assert len(throttle._tries) <= FAILURES_S + 1
    for _ in range(2 * MAX_FAILURES):
        throttle.note("Ann")
        throttle.forget("Ann")
    assert not throttle.is_closed("Ann")


def test_an_order_is_computed_once_and_told_to_each_reviewer(make_dataset: Callable[..., Path]) -> None:
    class Pipe(list[bytes]):
        write = list.append

    async def talk(order: Future[list[str]], end: Callable[[], None]) -> list[Pipe]:
        front, pipes = TeamFront(store, Access(), ("true",), order=order), [Pipe(), Pipe()]
        telling = [asyncio.ensure_future(front._tell_order(pipe)) for pipe in pipes]
        await asyncio.sleep(0)
        assert pipes == [[], []], "it is not known yet"
        end()
        await asyncio.gather(*telling)
        return pipes

    with open_dataset(make_dataset()) as store:
        order: Future[list[str]] = Future()
        assert asyncio.run(talk(order, lambda: order.set_result(["b", "a"]))) == [[b'["b", "a"]\n']] * 2
        failed: Future[list[str]] = Future()
        assert asyncio.run(talk(failed, lambda: failed.set_exception(BackendError("no model")))) == [[b"[]\n"]] * 2


def test_a_reviewer_takes_the_order_from_its_front_and_ends_with_it() -> None:
    code = (
        "from concurrent.futures import Future; from SpineLandmarksLib.web.front import end_with_parent; import time; "
        "order = Future(); end_with_parent(order); print(order.result(180), flush=True); time.sleep(180)"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen((sys.executable, "-c", code), text=True, **pipes) as member:
        assert member.stdin is not None
        assert member.stdout is not None
        member.stdin.write('["b", "a"]\n')
        member.stdin.flush()
        assert member.stdout.readline() == "['b', 'a']\n"
        member.stdin.close()
        assert member.wait(180) == -signal.SIGTERM


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "spines.example.org"])
def test_a_header_that_others_could_send_is_refused(host: str) -> None:
    store: Any = None  # it is refused before
    with pytest.raises(AccessError, match="proxy on this computer"):
        TeamFront(store, Access(host, is_behind_proxy=True), ("true",), "X-Remote-User")


@pytest.mark.parametrize(
    ("access", "headers", "is_refused"),
    [
        (Access(), {"Host": "spines.example.org"}, True),
        (Access(is_behind_proxy=True), {"Host": "spines.example.org"}, False),
        (Access(is_behind_proxy=True), {"Host": "a.org", "Origin": "https://a.org"}, False),
        (Access(is_behind_proxy=True), {"Host": "a.org", "Origin": "https://b.org"}, True),
        (Access(), {"Host": "localhost:1", "Origin": "https://localhost:1"}, True),
        (Access(), {"Host": "localhost:1", "Origin": "null"}, True),
    ],
)
def test_only_pages_of_its_own_may_ask(access: Access, headers: dict[str, str], is_refused: bool) -> None:
    assert bool(access.refuses(headers)) == is_refused


def test_who_the_proxy_names_is_let_in_with_an_account_only(
    make_dataset: Callable[..., Path], start_reviewer: Callable[..., Any]
) -> None:
    folder = make_dataset(slices=("case-1",))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    with open_dataset(folder) as store:
        set_account(store, "Ada", "administrator", None, "Ada")
        set_account(store, "Ann", "reader", None, "Ada")
        server = start_reviewer(
            str(folder), "--team", "--port", port, "--without-tls", "--proxy-header", "X-Remote-User"
        )

        def ask(path: str, **headers: str) -> tuple[int, str]:
            request = urllib.request.Request(f"{server.address}{path.lstrip('/')}", headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=180) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        named = {"X-Remote-User": "Ann", "Host": "spines.example.org"}
        assert ask("/")[0] == 403
        assert ask("/", **{**named, "X-Remote-User": "Eve"})[0] == 403
        status, text = ask("/", **named)
        assert status == 200
        assert "Starting your reviewer" in text
        assert ask("/", **named, Origin="https://evil.example")[0] == 403
        assert ask("/login", **named)[0] == 403, "there are no passwords"
        with socket.create_connection(("127.0.0.1", int(port)), 60) as twice:
            twice.sendall(b"GET / HTTP/1.1\r\nHost: a.org\r\nX-Remote-User: Ann\r\nX-Remote-User: Ada\r\n\r\n")
            assert b"Location: /login" in twice.recv(4096), "one of two names came from outside"
        remove_account(store, "Ann", "Ada")

        limit = time.monotonic() + 180
        while ask("/", **named)[0] != 403:
            assert time.monotonic() < limit
    server.close()
