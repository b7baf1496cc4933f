"""Who may talk to the browser reviewer, and what is refused before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from SpineLandmarksLib.arguments import is_loopback
from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.errors import AccessError
from SpineLandmarksLib.web.access import Access, check_exposure

HERE = {"Host": "127.0.0.1:8080"}


@pytest.fixture
def access() -> Access:
    return Access()


def test_each_start_has_a_key_of_its_own_that_is_not_printed_by_accident(access: Access) -> None:
    assert access.key != Access().key
    assert len(access.key) >= 43  # 256 bits
    assert access.key not in repr(access)


def test_the_address_lets_in_and_then_the_cookie_does(access: Access) -> None:
    assert access.addresses(8080) == [f"http://127.0.0.1:8080/?secret={access.key}"]
    assert access.decide(HERE, {"secret": access.key}, {}).is_new
    decision = access.decide(HERE, {}, {"spine-landmarks-8080": access.key})
    assert (decision.reason, decision.is_new) == ("", False)


@pytest.mark.parametrize("query", [{}, {"secret": ""}, {"secret": "wslink-secret"}, {"secret": "é"}])
def test_without_the_key_nobody_comes_in(access: Access, query: dict[str, str]) -> None:
    assert "key of this start" in access.decide(HERE, query, {}).reason


def test_the_cookie_of_another_port_does_not_let_in(access: Access) -> None:
    assert access.decide(HERE, {}, {"spine-landmarks-8081": access.key}).reason


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:8080", "http://127.0.0.1:8081", ""]
)
def test_another_page_is_refused_even_with_the_key(access: Access, origin: str) -> None:
    assert "another page" in access.decide({**HERE, "Origin": origin}, {"secret": access.key}, {}).reason


@pytest.mark.parametrize("host", ["evil.example:8080", "", "127.0.0.1.evil.example", "[::1", "127.0.0.1@evil.example"])
def test_a_name_that_was_bent_to_this_computer_is_refused(access: Access, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert "own name" in access.decide(headers, {"secret": access.key}, {}).reason


def test_its_own_page_may_ask(access: Access) -> None:
    for host in ("127.0.0.1:8080", "localhost:8080", "[::1]:8080"):
        assert not access.decide({"Host": host, "Origin": f"http://{host}"}, {"secret": access.key}, {}).reason


def test_another_computer_needs_tls_or_a_word_for_doing_without(tmp_path: Path) -> None:
    pem = tmp_path / "a.pem"
    pem.touch()
    check_exposure("127.0.0.1", None, None, False)
    check_exposure("0.0.0.0", pem, pem, False)
    check_exposure("0.0.0.0", None, None, True)
    for host in ("0.0.0.0", "::", "192.0.2.7", "reviewer.example"):
        assert not is_loopback(host)
        with pytest.raises(AccessError, match="--without-tls"):
            check_exposure(host, None, None, False)
    with pytest.raises(AccessError, match="both"):
        check_exposure("127.0.0.1", pem, None, False)
    with pytest.raises(AccessError, match="there is none"):
        check_exposure("127.0.0.1", pem, tmp_path / "none.pem", False)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--demo", "--host", "0.0.0.0"], "--tls-cert"),
        ([], "--demo"),
        (["a", "--demo"], "both or neither"),
        (["--demo", "--port", "70000"], "0..65535"),
        (["nowhere"], "dataset init"),
    ],
)
def test_the_command_says_in_one_line_what_it_cannot_do(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["review", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert says in told


@pytest.mark.parametrize(
    ("access", "name", "is_own"),
    [
        (Access("0.0.0.0", is_tls=True), "Reading-Room:8443", True),
        (Access("0.0.0.0", is_tls=True), "reading-room.local", True),
        (Access("0.0.0.0", is_tls=True), "192.0.2.7:8443", True),  # an address cannot be bent
        (Access("::", is_tls=True), "[2001:db8::1]:8443", True),
        (Access("0.0.0.0", is_tls=True), "evil.example", False),
        (Access("0.0.0.0", is_tls=True), "", False),
        (Access("0.0.0.0", is_tls=True, names=("Spines.example.org",)), "spines.example.org", True),
        (Access("0.0.0.0", is_behind_proxy=True), "spines.example.org", True),  # only the proxy knows
        (Access("0.0.0.0", is_behind_proxy=True, names=("spines.example.org",)), "evil.example", False),
        (Access(names=("spines.example.org",)), "spines.example.org", True),
        (Access(), "192.0.2.7", False),
    ],
)
def test_only_a_name_of_this_computer_is_answered(
    access: Access, name: str, is_own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "reading-room")
    assert (access.refuses({"Host": name}) == "") == is_own


def test_a_proxy_that_adds_tls_may_ask_and_nobody_else() -> None:
    behind = Access("0.0.0.0", is_behind_proxy=True)
    headers = {"Host": "reviewer.example", "Origin": "https://reviewer.example"}
    assert not behind.decide(headers, {"secret": behind.key}, {}).reason
    assert behind.decide({**headers, "Origin": "https://evil.example"}, {"secret": behind.key}, {}).reason


def test_who_lets_others_in_is_told_an_address_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "reading-room")
    here, there = Access("0.0.0.0", is_tls=True).addresses(8443)
    assert here.startswith("https://localhost:8443/?secret=")
    assert there.startswith("https://reading-room:8443/?secret=")
    named = Access("0.0.0.0", is_tls=True, names=("spines.example.org",)).addresses(8443)
    assert [address.partition("/?")[0] for address in named] == [
        "https://localhost:8443",
        "https://spines.example.org:8443",
    ]
