"""Two readers and a lead in browsers of their own, behind one address: given, read, disputed, decided, exported.

The whole of it on SQLite; on PostgreSQL, what a page has from it that another process wrote (each rule of the readings
is tested on both in `Testing/lib`).
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from SpineLandmarksLib.formats.landmarks_json import read_landmarks_json
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.store.accounts import set_account
from SpineLandmarksLib.store.audit import log_rows
from SpineLandmarksLib.store.folder import open_dataset
from SpineLandmarksLib.store.readings import sign_study
from SpineLandmarksLib.store.store import Store

ROLES = {"Ada": "administrator", "Lea": "lead", "Ann": "reader", "Bob": "reader"}
PASSWORD = "as long as it has to be"


class Person:
    """Somebody before a browser of their own."""

    def __init__(self, browser: Any, address: str, name: str, shots: Path) -> None:
        self.name, self.address, self.shots = name, address, shots
        self.context = browser.new_context(viewport={"width": 1500, "height": 900}, ignore_https_errors=True)
        self.page = self.context.new_page()

    def log_in(self) -> None:
        self.page.goto(self.address)
        self.page.locator("input[name=name]").fill(self.name)
        self.page.locator("input[name=password]").fill(PASSWORD)
        self.page.locator("button").click()
        self.page.wait_for_selector(".study")

    def shoot(self, name: str) -> None:
        self.page.screenshot(path=self.shots / f"team-{name}-{self.name}.png")

    def await_study(self, key: str, seconds: float = 180) -> None:
        self.wait(lambda: self.page.locator(".title").first.inner_text() == key, f"{key} to open", seconds)
        self.page.wait_for_selector(".views img")

    def words(self, key: str) -> str:
        return str(self.page.locator(".study", has_text=key).locator(".words").inner_text())

    def status(self, name: str) -> str:
        row = self.page.locator("table.landmarks tbody tr").nth(LUMBAR11.index(name))
        return str(row.locator("td").nth(1).inner_text().strip())

    def select(self, name: str) -> None:
        self.page.locator("table.landmarks tbody tr").nth(LUMBAR11.index(name)).click()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def wait(self, is_so: Callable[[], object], what: str, seconds: float = 180) -> None:
        limit = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > limit:
                self.shoot("failed")
                raise AssertionError(f"{self.name} waited in vain for {what}")
            time.sleep(0.1)


class Team:
    """A data set with accounts, its address, and the people. more: for the server's command."""

    def __init__(
        self, folder: Path, url: str | None, start: Callable[..., Any], browser: Any, shots: Path, *more: str
    ) -> None:
        self.folder, self.url, self._start, self._more = folder, url, start, more
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        with self.open() as store:
            set_account(store, "Ada", "administrator", None, "Ada")
            for name, role in list(ROLES.items())[1:]:
                set_account(store, name, role, PASSWORD, "Ada")
        self.start()
        self.people = {n: Person(browser, self.server.address, n, shots) for n in ("Lea", "Ann", "Bob")}

    def start(self) -> None:
        store = ("--store", self.url) if self.url else ()
        self.server = self._start(str(self.folder), "--team", "--port", str(self.port), *store, *self._more)

    def open(self) -> Store:
        return open_dataset(self.folder, self.url)

    def command(self, *arguments: str) -> str:
        store = ("--store", self.url) if self.url else ()
        command = (sys.executable, "-m", "SpineLandmarksLib", "dataset", arguments[0], str(self.folder), *arguments[1:])
        done = subprocess.run((*command, *store), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def close(self) -> None:
        for person in self.people.values():
            person.context.close()
        self.server.close()


def a_certificate(folder: Path) -> tuple[str, ...]:
    """Arguments for one that no browser knows."""
    made = trustme.CA().issue_cert("localhost", "127.0.0.1")
    made.cert_chain_pems[0].write_to_path(folder / "chain.pem")
    made.private_key_pem.write_to_path(folder / "key.pem")
    return "--tls-cert", str(folder / "chain.pem"), "--tls-key", str(folder / "key.pem")


@pytest.fixture(scope="module")
def team(
    make_dataset: Callable[..., Path], start_reviewer: Callable[..., Any], browser: Any, shots: Path
) -> Iterator[Team]:
    made = Team(make_dataset(slices=("case-1", "case-2")), None, start_reviewer, browser, shots)
    yield made
    made.close()


def test_nobody_comes_in_without_a_password(team: Team) -> None:
    page = team.people["Ann"].page
    page.goto(team.server.address)
    for name, password in (("Ann", "a wrong password"), ("Nobody", PASSWORD), ("Ada", "")):
        page.locator("input[name=name]").fill(name)
        page.locator("input[name=password]").fill(password or "x")
        page.locator("button").click()
        page.locator(".wrong", has_text="do not belong together").wait_for()
    assert page.request.get(f"{team.server.address}/index.html", max_redirects=0).status == 302
    assert page.request.post(f"{team.server.address}/paraview/").status == 403


def test_a_lead_gives_a_study_to_two_readers(team: Team) -> None:
    lea = team.people["Lea"]
    lea.log_in()
    lea.page.locator(".study", has_text="case-1").click()
    lea.await_study("case-1")
    lea.page.locator(".assign").click()
    readers = lea.page.locator(".readers input")
    for name in ("Ann", "Bob"):
        readers.fill(name)
        readers.press("Enter")
    readers.press("Tab")  # which closes the list of names
    lea.shoot("assign")
    lea.page.locator(".give").click()
    lea.wait(lambda: "being read by Ann, Bob" in lea.words("case-1"), "the word in the list")
    lea.shoot("assigned")


def test_two_readers_read_it_blind(team: Team) -> None:
    ann, bob, lea = (team.people[name] for name in ("Ann", "Bob", "Lea"))
    for reader in (ann, bob):
        reader.log_in()
        reader.await_study("case-1")
        assert reader.page.locator(".assign").count() == 0, "which is the lead's"
        assert {reader.status(name) for name in LUMBAR11} == {"predicted"}
    ann.press("Shift+C", "Shift+S")
    ann.wait(lambda: ann.words("case-1") == "signed off by Ann", "the sign-off")
    bob.select("L2")
    bob.press(*["Shift+ArrowDown"] * 4)
    bob.wait(lambda: bob.status("L2") == "corrected", "L2")
    assert bob.status("L3") == "predicted", "nothing of Ann's confirmation is seen"
    lea.page.locator(".study", has_text="case-1").click()
    lea.page.locator(".notification.error", has_text="being read by others").wait_for()
    bob.press("Shift+C")
    bob.wait(lambda: bob.status("L2") == "confirmed", "all confirmed")
    bob.press("Shift+S")
    bob.page.locator(".question").wait_for()  # two neighbours are oddly far apart
    bob.press("Enter")
    bob.wait(lambda: bob.words("case-1") == "signed off by Bob", "the sign-off")


def test_the_lead_sees_both_and_decides(team: Team) -> None:
    lea = team.people["Lea"]
    lea.wait(lambda: "to decide" in lea.words("case-1"), "the dispute")
    lea.page.locator(".study", has_text="case-1").click()
    lea.await_study("case-1")
    lea.page.locator(".opinion", has_text="Ann").wait_for()
    lea.page.locator(".notification.warning", has_text=re.compile(r"L2: 1[12]\.\d mm apart")).wait_for()
    assert lea.status("L2") in ("out of view", "not placed")
    assert lea.status("L3") == "confirmed"
    lea.shoot("dispute")
    lea.press("A")
    lea.wait(lambda: lea.status("L2") == "confirmed", "Ann's point")
    lea.press("Shift+S")
    lea.wait(lambda: lea.words("case-1") == "signed off by Lea", "the decision")
    lea.shoot("decided")


def test_what_was_decided_is_exported_with_its_parents(team: Team) -> None:
    team.command("export")
    (row,) = read_landmarks_json(team.folder)
    with team.open() as store:
        (made,) = store.signed_off()
        history = {one.id: one for one in store.history("case-1")}
        authors = [history[one].author for one in made.merged]
        said = [(one["person"], one["action"]) for one in log_rows(store, "case-1")]
        opened = {person for person, action in said if action == "opened"}
    assert (made.author, authors) == ("Lea", ["Ann", "Bob"])
    assert row.points_xy["L2"] == pytest.approx(history[made.merged[0]].landmarks["L2"].pixel_xy, abs=0.01)
    assert opened == {"Lea", "Ann", "Bob"}
    assert [one for one in said if one[1] in ("assigned", "signed", "disputed", "decided")] == [
        ("Lea", "assigned"),
        ("Ann", "signed"),
        ("Bob", "signed"),
        ("Ann and Bob", "disputed"),
        ("Lea", "decided"),
    ]
    assert "0 errors" in team.command("check")


def test_only_a_lead_reopens_and_says_why(team: Team) -> None:
    ann, lea = team.people["Ann"], team.people["Lea"]
    ann.page.locator(".study", has_text="case-1").click()
    ann.await_study("case-1")
    ann.select("L3")
    ann.press("C")
    ann.page.locator(".notification.error", has_text="Ask a lead").wait_for()
    lea.page.locator(".study", has_text="case-1").click()
    lea.await_study("case-1")
    lea.select("L3")
    lea.press("C")
    lea.page.locator(".reason input").fill("L3 once more")
    lea.shoot("reason")
    lea.press("Enter")
    lea.wait(lambda: "signed off" not in lea.words("case-1"), "the study to be open")
    with team.open() as store:
        assert [row["detail"] for row in log_rows(store) if row["action"] == "reopened"] == ["L3 once more"]


def test_work_is_told_and_a_bad_study_left_out(team: Team) -> None:
    lea = team.people["Lea"]
    lea.page.get_by_text("Work", exact=True).click()
    lea.page.locator(".work-table td", has_text="Bob").wait_for()
    lea.shoot("work")
    lea.page.locator(".work-table").get_by_text("Close").click()
    lea.page.locator(".study", has_text="case-2").click()
    lea.await_study("case-2")
    lea.page.locator(".do-exclude").click()
    lea.page.locator(".reason input").fill("wrong region")
    lea.press("Enter")
    lea.wait(lambda: lea.words("case-2") == "left out: wrong region", "the word in the list")


def test_pages_come_back_after_the_server_was_killed(team: Team) -> None:
    ann = team.people["Ann"]
    for name in ("Lea", "Bob"):  # whose processes would start again as well
        team.people[name].context.close()
    ann.page.evaluate("window.isOld = true")
    team.server.process.kill()
    team.server.process.wait()
    ann.page.locator(".lost").wait_for()
    team.start()
    ann.page.wait_for_function("!window.isOld && document.querySelector('.study')")
    assert "Ann" in ann.page.locator(".person .who").inner_text()
    ann.page.locator(".logout").click()
    ann.page.locator("input[name=password]").wait_for()


def test_over_tls_on_postgresql_a_page_tells_what_another_process_has_written(
    a_server: Any,
    make_dataset: Callable[..., Path],
    start_reviewer: Callable[..., Any],
    browser: Any,
    shots: Path,
    tmp_path: Path,
) -> None:
    url = a_server.new_database()
    folder = make_dataset(slices=("case-1", "case-2"), url=url)
    team = Team(folder, url, start_reviewer, browser, shots, "--host", "0.0.0.0", *a_certificate(tmp_path))
    assert team.server.address.startswith("https://localhost:")
    team.command("assign", "case-1", "--readers", "Ann,Bob", "--by", "Lea")
    ann = team.people["Ann"]
    ann.log_in()
    ann.await_study("case-1")
    assert {one["secure"] for one in ann.context.cookies()} == {True}
    ann.press("Shift+C", "Shift+S")
    ann.wait(lambda: ann.words("case-1") == "signed off by Ann", "the sign-off")
    with team.open() as store:
        (hers,) = (one for one in store.history("case-1") if one.author == "Ann")
        his = replace(hers, author="Bob", parent=hers.parent)
        store.save(his)
        sign_study(store, his.id, "Bob")
    ann.wait(lambda: ann.words("case-1") == "signed off by Ann and Bob", "what both agree on")
    team.command("export")
    assert len(read_landmarks_json(team.folder)) == 1
    assert "0 errors" in team.command("check")
    team.close()
