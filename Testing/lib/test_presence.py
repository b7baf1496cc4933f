"""One name, one reviewer: that another one runs under it is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from SpineLandmarksLib.store.folder import init_dataset, open_dataset
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.web import presence
from SpineLandmarksLib.web.presence import Presence

#: Claims a name of the data set in its first argument, says so, and waits to be killed.
OTHER = """
import sys, time
from pathlib import Path
from SpineLandmarksLib.store.folder import open_dataset
from SpineLandmarksLib.web.presence import Presence
one = Presence(open_dataset(Path(sys.argv[1])))
print(one.claim("Ann"), flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "WAIT_S", 0.05)


def test_a_name_is_in_use_until_it_is_let_go(opener: Callable[[], Store]) -> None:
    first, second, other = (Presence(opener()) for _ in range(3))
    assert first.claim("Ann")
    assert not second.claim("Ann")
    assert other.claim("Bob")
    first.close()
    again = Presence(opener())
    assert again.claim("Ann")
    for one in (second, other, again):
        one.close()


def test_who_says_a_name_again_or_another_one_holds_that_alone(opener: Callable[[], Store]) -> None:
    first, second = (Presence(opener()) for _ in range(2))
    assert [first.claim("Ann"), first.claim("Ann"), first.claim("Bob")] == [True, True, True]
    assert second.claim("Ann")
    for one in (first, second):
        one.close()


def test_a_name_is_free_when_the_process_that_had_it_was_killed(tmp_path: Path) -> None:
    init_dataset(tmp_path / "data").close()
    with subprocess.Popen((sys.executable, "-c", OTHER, str(tmp_path / "data")), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        with open_dataset(tmp_path / "data") as store:
            mine = Presence(store)
            assert not mine.claim("Ann")
            process.kill()
            process.wait()
            assert mine.claim("Ann")
            mine.close()


def test_where_it_cannot_be_known_nobody_is_kept_from_working(tmp_path: Path) -> None:
    with init_dataset(tmp_path / "data") as store:
        (tmp_path / "data" / "sessions").write_text("in the way")
        mine = Presence(store)
        assert mine.claim("Ann")
        mine.close()
