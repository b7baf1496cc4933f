"""The store: nothing that was acknowledged is lost, nothing is overwritten, and every fault is told in plain words.

Each test of behaviour runs on SQLite and, where Debian's PostgreSQL is installed, on a server of its own on loopback.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import event, insert

from SpineLandmarksLib.annotation.revision import Revision
from SpineLandmarksLib.errors import FormatError, StoreError
from SpineLandmarksLib.formats.atomic import sha256_of
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.store import database
from SpineLandmarksLib.store.audit import events_of
from SpineLandmarksLib.store.checks import check_files, check_store
from SpineLandmarksLib.store.database import VERSION
from SpineLandmarksLib.store.export import export, import_record
from SpineLandmarksLib.store.folder import STORE_FILE, open_store
from SpineLandmarksLib.store.readings import assign_readers
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.store.study_record import StudyRecord

ROOT = Path(__file__).resolve().parents[2]
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
Opener = Callable[[], Store]


def add_study(store: Store, key: str = "case-1", grey: int = 7) -> StudyRecord:
    image = store.folder / "images" / f"{key}.png"
    image.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((40, 60), grey, dtype=np.uint8)).save(image)
    study = StudyRecord(
        key, f"patient-of-{key}", f"images/{key}.png", sha256_of(image), (60, 40), spacing_mm=(2.0, 3.0)
    )
    store.add_study(study)
    return study


def revision(
    study: StudyRecord, author: str = "Ann", parent: str | None = None, seconds: float = 0.0, **fields
) -> Revision:
    """L3 at column 10, row 20; the rest not visible. With 2 x 3 mm pixels of a picture that is A -20, S -60."""
    points = [
        Landmark(name, "confirmed", (0.0, -20.0, -60.0), (10.0, 20.0))
        if name == "L3"
        else Landmark(name, "not_visible")
        for name in LUMBAR11
    ]
    return Revision(
        study.key,
        author,
        NOON,
        LandmarkSet(tuple(points), input="case", slice_index=0, **fields),
        study.reference,
        parent,
        seconds,
    )


@pytest.fixture
def a_store(opener: Opener) -> Store:
    return opener()


@pytest.fixture
def a_study(a_store: Store) -> StudyRecord:
    return add_study(a_store)


# Revisions


def test_what_was_saved_is_read_back_as_it_was_and_in_order(
    a_store: Store, a_study: StudyRecord, opener: Opener
) -> None:
    first = revision(a_study, seconds=12.5)
    second = replace(revision(a_study, "Bo", first.id), comment="L3 moved")
    for one in (first, second):
        assert a_store.save(one).id == one.id
    assert opener().history("case-1") == [first, second]
    assert opener().head("case-1") == second
    assert opener().studies() == [a_study]


def test_a_save_that_is_repeated_adds_nothing(a_store: Store, a_study: StudyRecord) -> None:
    one = revision(a_study)
    assert not a_store.save(one).repeated
    assert a_store.save(one).repeated
    assert len(a_store.history("case-1")) == 1


def test_saving_on_a_stale_parent_keeps_both_and_says_so(a_store: Store, a_study: StudyRecord) -> None:
    first = revision(a_study)
    ann, bo = revision(a_study, "Ann", first.id, 1), revision(a_study, "Bo", first.id, 2)
    a_store.save(first)
    assert a_store.save(ann).fork == ()
    late = a_store.save(bo)
    assert late.fork == (ann.id,)
    assert "Both versions are kept" in late.notes[0]
    assert a_store.forks() == {"case-1": [ann, bo]}
    with pytest.raises(StoreError, match=rf"case-1; it has 2: {ann.id} by Ann, {bo.id} by Bo\. Choose one"):
        a_store.head("case-1")


def test_a_fork_is_merged_by_choosing_and_nothing_is_forgotten(a_store: Store, a_study: StudyRecord) -> None:
    ends = [revision(a_study, author) for author in ("Ann", "Bo")]
    for end in ends:
        a_store.save(end)
    with pytest.raises(StoreError, match="Expected one of the ends"):
        a_store.choose("case-1", "0" * 16, "Chief")
    assert a_store.choose("case-1", ends[1].id, "Chief") == [ends[0].id]
    assert a_store.head("case-1") == ends[1]
    assert a_store.history("case-1") == ends
    again = a_store.save(revision(a_study, "Ann", ends[0].id))  # Ann goes on from what was set aside
    assert again.fork == (ends[1].id,)


def test_a_prediction_stands_only_until_a_person_has_saved(a_store: Store, a_study: StudyRecord) -> None:
    old, new = (revision(a_study, f"lumbar11@{v}", bundle=f"lumbar11@{v}") for v in (1, 2))
    a_store.save(old)
    a_store.save(new)
    assert a_store.head("case-1") == new
    mine = revision(a_study, "Ann", new.id, bundle="lumbar11@2")
    assert a_store.save(mine).fork == ()
    assert a_store.save(replace(old, time=NOON + timedelta(days=1))).fork == ()
    assert a_store.head("case-1") == mine


def test_a_study_that_is_not_there_is_refused_and_the_work_kept(a_store: Store, a_study: StudyRecord) -> None:
    stray = revision(replace(a_study, key="case-2"))
    with pytest.raises(StoreError, match=r"got 'case-2'.*dataset add.*Nothing is lost"):
        a_store.save(stray)
    add_study(a_store, "case-2", 8)
    assert [finding.text.endswith("waits to be saved") for finding in check_store(a_store)] == [True]


def test_the_same_image_or_name_is_not_taken_twice(a_store: Store, a_study: StudyRecord) -> None:
    with pytest.raises(StoreError, match="same one as study case-1"):
        a_store.add_study(replace(a_study, key="case-2"))
    with pytest.raises(StoreError, match="another one called case-1"):
        a_store.add_study(replace(a_study, image_sha256="0" * 64))


# Sign-offs and assignments


def test_only_the_latest_state_with_every_landmark_decided_is_signed_off(a_store: Store, a_study: StudyRecord) -> None:
    first = revision(a_study)
    open_points = tuple(replace(mark, status="predicted") if mark.name == "L3" else mark for mark in first.landmarks)
    second = replace(first, parent=first.id, landmarks=replace(first.landmarks, landmarks=open_points))
    a_store.save(first)
    a_store.save(second)
    with pytest.raises(StoreError, match="still as predicted: L3"):
        a_store.sign_off(second.id, "Chief")
    with pytest.raises(StoreError, match=f"the latest: {second.id}; got {first.id}"):
        a_store.sign_off(first.id, "Chief")
    third = replace(first, parent=second.id)
    a_store.save(third)
    a_store.sign_off(third.id, "Chief")
    a_store.sign_off(third.id, "Deputy")  # the first one stands
    assert a_store.signed_off() == [third]
    assert a_store.sign_offs()[third.id].author == "Chief"
    a_store.save(replace(first, parent=third.id))
    assert a_store.signed_off() == []  # what came after was not signed


def test_no_two_annotators_get_the_same_study(opener: Opener) -> None:
    keys = [add_study(opener(), f"case-{n}", n).key for n in range(6)]
    stores = [opener() for _ in range(3)]
    got: list[str | None] = []
    barrier = threading.Barrier(3)

    def work(store: Store, name: str) -> None:
        barrier.wait()
        got.extend(store.take([k for k in keys if k not in got], name) for _ in range(2))

    threads = [threading.Thread(target=work, args=(s, n)) for s, n in zip(stores, "ABC", strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    holders = stores[0].assignments()
    assert stores[0].take(keys, "D") in set(keys) - set(holders) | {None}
    assert all(sum(key in {k for k, v in holders.items() if v == n} for n in "ABC") <= 1 for key in keys)
    assert len({(k, v) for k, v in holders.items()}) == len(holders) >= 3


def test_a_study_whose_annotator_went_away_is_free_again(a_store: Store, a_study: StudyRecord) -> None:
    assert a_store.take(["case-1"], "Ann") == "case-1"
    assert a_store.take(["case-1"], "Ann") == "case-1"
    assert a_store.take(["case-1"], "Bo") is None
    assert a_store.take(["case-1"], "Bo", idle=timedelta(seconds=-5)) == "case-1"
    a_store.release("case-1")
    assert a_store.assignments() == {}
    a_store.assign("case-1", "Cy")
    assert a_store.assignments() == {"case-1": "Cy"}


# Plain files


def test_an_export_holds_everything_and_is_read_back_into_an_empty_store(
    a_store: Store, a_study: StudyRecord, tmp_path: Path
) -> None:
    ends = [revision(a_study, author) for author in ("Ann", "Bo")]
    for end in ends:
        a_store.save(end)
    a_store.choose("case-1", ends[0].id, "Chief")
    a_store.sign_off(ends[0].id, "Chief")
    assert export(a_store, tmp_path / "out", a_store.signed_off()) == 1
    row = json.loads((tmp_path / "out" / "landmarks.json").read_text())[0]
    assert (row["patient"], row["image"]) == ("patient-of-case-1", "images/case-1.png")
    assert row["landmarks_px"] == {"L3": [10.0, 20.0]}
    markup = json.loads((tmp_path / "out" / "markups" / "case-1.mrk.json").read_text())["markups"][0]
    assert markup["controlPoints"][LUMBAR11.index("L3")]["position"] == [0.0, 20.0, -60.0]  # LPS

    (tmp_path / "other").mkdir()
    other = open_store(tmp_path / "other")
    record = tmp_path / "out" / "records" / "case-1.json"
    assert import_record(other, record) == ("case-1", 2)
    assert import_record(other, record) == ("case-1", 0)
    assert (other.studies(), other.history("case-1"), other.signed_off()) == ([a_study], ends, [ends[0]])
    assert check_store(other) + check_files(other) == []
    other.close()


def test_two_data_sets_with_the_same_study_under_two_names_are_not_mixed(
    a_store: Store, a_study: StudyRecord, tmp_path: Path
) -> None:
    export(a_store, tmp_path / "out", [])
    (tmp_path / "other").mkdir()
    other = open_store(tmp_path / "other")
    other.add_study(replace(a_study, key="spine-9"))
    with pytest.raises(StoreError, match="its image is that of study spine-9 here"):
        import_record(other, tmp_path / "out" / "records" / "case-1.json")
    other.close()


# Files that moved or changed


def test_an_image_that_moved_or_changed_is_told_with_the_next_step(a_store: Store, a_study: StudyRecord) -> None:
    assert check_files(a_store) == []
    image = a_store.folder / a_study.image
    image.write_bytes(image.read_bytes() + b"more")
    (changed,) = check_files(a_store)
    assert "case-1: the image images/case-1.png has changed since it was annotated. Restore it" in changed.text
    image.unlink()
    (missing,) = check_files(a_store)
    assert "is not there. Put it back; its landmarks are kept" in missing.text


def test_a_save_on_another_image_is_kept_and_the_person_told(a_store: Store, a_study: StudyRecord) -> None:
    other = replace(revision(a_study), image=replace(a_study.reference, sha256="0" * 64))
    saved = a_store.save(other)
    assert "has changed since it was added. The points are kept" in saved.notes[0]
    assert a_store.history("case-1") == [other]


# Versions


V1 = """
CREATE TABLE properties (name VARCHAR(50) NOT NULL PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE studies ("key" VARCHAR(100) NOT NULL PRIMARY KEY, patient TEXT NOT NULL,
  image_sha256 VARCHAR(64) NOT NULL, content TEXT NOT NULL);
CREATE TABLE revisions (number INTEGER NOT NULL PRIMARY KEY, id VARCHAR(16) NOT NULL UNIQUE,
  study VARCHAR(100) NOT NULL REFERENCES studies ("key"), parent VARCHAR(16), author TEXT NOT NULL,
  time VARCHAR(40) NOT NULL, source_model TEXT, seconds_spent FLOAT NOT NULL, content TEXT NOT NULL);
CREATE TABLE assignments (study VARCHAR(100) NOT NULL PRIMARY KEY REFERENCES studies ("key"),
  annotator TEXT NOT NULL, time VARCHAR(40) NOT NULL);
CREATE TABLE sign_offs (revision VARCHAR(16) NOT NULL PRIMARY KEY REFERENCES revisions (id), author TEXT NOT NULL,
  time VARCHAR(40) NOT NULL);
INSERT INTO properties VALUES ('version', '1'), ('dataset', 'dataset-1');
"""


@pytest.fixture
def a_store_of_version_1(tmp_path: Path) -> tuple[Path, list[Revision]]:
    """Written as version 1 wrote it: one study with two revisions, the second on a stale parent."""
    study = StudyRecord("case-1", "p1", "images/case-1.png", "0" * 64, (60, 40))
    ends = [revision(study, author) for author in ("Ann", "Bo")]
    connection = sqlite3.connect(tmp_path / STORE_FILE)
    connection.executescript(V1)
    connection.execute(
        "INSERT INTO studies VALUES (?, ?, ?, ?)", ("case-1", "p1", "0" * 64, json.dumps(study.as_json()))
    )
    for one in ends:
        connection.execute(
            "INSERT INTO revisions VALUES (NULL, ?, 'case-1', NULL, ?, ?, NULL, 0, ?)",
            (one.id, one.author, one.time.isoformat(), json.dumps(one.as_json())),
        )
    connection.commit()
    connection.close()
    return tmp_path, ends


def test_a_store_of_version_1_is_brought_up_to_date_with_all_it_holds(
    a_store_of_version_1: tuple[Path, list[Revision]],
) -> None:
    folder, ends = a_store_of_version_1
    with pytest.raises(StoreError, match=f"is of version 1 and must be brought to {VERSION}"):
        open_store(folder, read_only=True)
    store = open_store(folder, dataset="dataset-1")
    assert store.history("case-1") == ends
    store.choose("case-1", ends[1].id, "Chief")  # what version 1 could not do
    assert store.head("case-1") == ends[1]
    store.close()
    again = open_store(folder)
    assert again.head("case-1") == ends[1]
    again.close()


#: The tables that version 2 made, by what each database calls a number that counts by itself.
V2 = """
CREATE TABLE properties (name VARCHAR(50) NOT NULL, value TEXT NOT NULL, PRIMARY KEY (name));
CREATE TABLE studies (key VARCHAR(100) NOT NULL, patient TEXT NOT NULL, image_sha256 VARCHAR(64) NOT NULL,
  content TEXT NOT NULL, PRIMARY KEY (key));
CREATE TABLE assignments (study VARCHAR(100) NOT NULL, annotator TEXT NOT NULL, time VARCHAR(40) NOT NULL,
  PRIMARY KEY (study), FOREIGN KEY(study) REFERENCES studies (key));
CREATE TABLE revisions (number {counted} NOT NULL, id VARCHAR(16) NOT NULL, study VARCHAR(100) NOT NULL,
  parent VARCHAR(16), author TEXT NOT NULL, time VARCHAR(40) NOT NULL, source_model TEXT,
  seconds_spent FLOAT NOT NULL, content TEXT NOT NULL, PRIMARY KEY (number), UNIQUE (id),
  FOREIGN KEY(study) REFERENCES studies (key));
CREATE TABLE choices (dropped VARCHAR(16) NOT NULL, kept VARCHAR(16) NOT NULL, author TEXT NOT NULL,
  time VARCHAR(40) NOT NULL, PRIMARY KEY (dropped), FOREIGN KEY(dropped) REFERENCES revisions (id),
  FOREIGN KEY(kept) REFERENCES revisions (id));
CREATE TABLE sign_offs (revision VARCHAR(16) NOT NULL, author TEXT NOT NULL, time VARCHAR(40) NOT NULL,
  PRIMARY KEY (revision), FOREIGN KEY(revision) REFERENCES revisions (id));
INSERT INTO properties VALUES ('version', '2'), ('dataset', 'dataset-1');
"""


def test_a_store_of_version_2_goes_on_with_readings_and_events(opener: Opener, a_store: Store) -> None:
    study = add_study(a_store)
    ends = [revision(study, author) for author in ("Ann", "Bo")]
    for one in ends:
        a_store.save(one)
    a_store.choose("case-1", ends[0].id, "Chief")
    a_store.sign_off(ends[0].id, "Chief")
    names = ("properties", "studies", "revisions", "choices", "sign_offs")
    serial = "INTEGER" if a_store.engine.dialect.name == "sqlite" else "SERIAL"
    with a_store.transaction() as connection:  # what was stored, in tables as they were
        rows = {name: connection.exec_driver_sql(f"SELECT * FROM {name}").mappings().all() for name in names}
        for table in reversed(database.TABLES.sorted_tables):
            table.drop(connection)
        for statement in V2.format(counted=serial).split(";")[:-1]:
            connection.exec_driver_sql(statement)
        for name in names[1:]:
            kept = [{column: row[column] for column in row if column != "number"} for row in rows[name]]
            connection.execute(insert(database.TABLES.tables[name]), kept)
    again = opener()
    assert again.history("case-1") == ends
    assert again.signed_off() == [ends[0]]
    assert check_store(again) == [], "what was signed before there was a log is no fault"
    again.save(revision(study, "Ann", ends[0].id))
    assign_readers(again, "case-1", ["Ann", "Bo"], "Chief")
    assert [(row["person"], row["action"]) for row in events_of(again)] == [("Chief", "signed"), ("Chief", "assigned")]


def test_a_store_of_a_newer_version_is_refused_and_untouched(opener: Opener, tmp_path: Path) -> None:
    store = opener()
    with store.transaction() as connection:
        connection.exec_driver_sql("UPDATE properties SET value = '99' WHERE name = 'version'")
    with pytest.raises(StoreError, match=r"has version 99, written by a newer SpineLandmarks\. Update SpineLandmarks"):
        opener()
    with store.transaction() as connection:
        assert connection.exec_driver_sql("SELECT value FROM properties WHERE name = 'version'").scalar() == "99"


def test_a_database_of_another_data_set_is_refused(a_store: Store) -> None:
    address = a_store.engine.url.render_as_string().replace("+psycopg", "")
    url = None if a_store.engine.dialect.name == "sqlite" else address
    with pytest.raises(StoreError, match=r"of this data set \(dataset-2\).*belongs to another one \(dataset-1\)"):
        open_store(a_store.folder, url, "dataset-2")


# Faults


def test_a_file_that_is_no_store_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / STORE_FILE).write_bytes(b"not a database, and longer than a header would be" * 40)
    with pytest.raises(StoreError, match=r"it is no store, or damaged\. Keep the file, and import the latest export"):
        open_store(tmp_path)
    assert (tmp_path / STORE_FILE).read_bytes().startswith(b"not a database")


def test_a_full_disk_is_told_and_the_correction_is_taken_in_later(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    study = add_study(store)
    one = revision(study)

    @event.listens_for(store.engine, "begin")
    def fill(connection) -> None:  # SQLite then answers as on a full disk
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    crowd = replace(one, comment="x" * 100_000)
    with pytest.raises(StoreError, match=r"the disk is full\. Free some space.*Nothing is lost: the correction lies"):
        store.save(crowd)
    store.close()
    again = open_store(tmp_path)
    assert again.history("case-1") == [crowd]
    assert list((tmp_path / "unsaved").iterdir()) == []
    assert check_store(again) == []
    again.close()


READ_ONLY = """
import os, sys
from pathlib import Path
from Testing.lib.test_store import *
folder = Path(sys.argv[1])
open_store(folder).close()  # everything is imported while root still may
folder.chmod(0o555)
if os.geteuid() == 0:
    os.setuid(65534)
store = open_store(folder, read_only=True)
study = store.study("case-1")
print(len(store.history(study.key)))
store.close()
try:
    open_store(folder)
except StoreError as error:
    print(error)
"""


def test_a_folder_that_may_only_be_read_shows_what_it_holds_and_refuses_to_write() -> None:
    folder = Path(tempfile.mkdtemp(prefix="spine-landmarks-"))  # pytest's own folders are closed to other users
    store = open_store(folder)
    store.save(revision(add_study(store)))
    store.close()
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY, str(folder)], cwd=ROOT, text=True, capture_output=True, check=False
    )
    folder.chmod(0o755)
    shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr
    shown, refused = done.stdout.splitlines()
    assert shown == "1"
    assert "it can only be read. Ask for the right to write in this folder, or work on a copy of it" in refused


def test_a_database_that_goes_away_in_mid_session_loses_nothing(a_server: Any, tmp_path: Path) -> None:
    url = a_server.new_database()
    store = open_store(tmp_path, url)
    study = add_study(store)
    first, second = revision(study), revision(study, seconds=2)
    store.save(first)
    a_server.stop()
    with pytest.raises(StoreError, match=r"the database cannot be reached.*Nothing is lost: the correction lies in"):
        store.save(replace(second, parent=first.id))
    a_server.start()
    third = replace(second, parent=first.id, comment="after")
    store.save(third)  # the session goes on with the same store
    store.close()
    again = open_store(tmp_path, url)  # and what was set aside is read in
    assert again.history("case-1") == [first, third, replace(second, parent=first.id)]
    again.close()


def test_an_address_that_is_no_postgresql_is_refused_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Expected postgresql://user@host/database") as refused:
        open_store(tmp_path, "mysql://ann:secret@host/spines")
    assert "secret" not in str(refused.value)


# Kills and crowds


def bench(what: str, folder: Path, *options: str) -> dict[str, object]:
    command = [sys.executable, str(ROOT / "research" / "bench" / "store.py"), what, str(folder), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_every_acknowledged_save_outlives_kill_9_of_its_writer(tmp_path: Path) -> None:
    found = bench("kill", tmp_path / "store", "--saves", "120", "--kills", "12")
    assert found["acknowledged"] >= 60
    assert (found["lost"], found["errors"], found["complaints"]) == (0, [], [])
    # A writer may be killed between its commit and telling of it.
    assert found["acknowledged"] <= found["kept"] <= found["acknowledged"] + 12


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_two_writers_at_once_lose_nothing_and_see_no_lock(
    database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server = request.getfixturevalue("a_server") if database == "postgresql" else None
    options = ["--store", server.new_database()] if server else []
    found = bench("writers", tmp_path / "store", "--seconds", "1", "--least", "15", *options)
    assert found["acknowledged"] == found["kept"] >= 30
    assert (found["lost"], found["errors"], found["complaints"]) == (0, [], [])


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("ras_from_ijk", [[10**400] * 4] * 4, "too large"),
        ("ras_from_ijk", [[0.0] * 4] * 4, "positive voxel spacing"),
        ("ras_from_ijk", 3, "expected a list"),
        ("slice_index", 1.5, "a whole number in 'slice_index'"),
        ("slices", "many", "a whole number in 'slices'"),
        ("image", "../../outside.png", "an image inside the data set"),
        ("image", "/outside.png", "an image inside the data set"),
        ("image", None, "image"),
        ("patient", 7, "a text in 'patient'"),
    ],
)
def test_a_study_record_that_is_damaged_is_refused(a_study: StudyRecord, field: str, value: object, rule: str) -> None:
    content = json.loads(json.dumps({**a_study.as_json(), field: value}))
    with pytest.raises(FormatError, match=rule):
        StudyRecord.from_json(content)
    assert StudyRecord.from_json(json.loads(json.dumps(a_study.as_json()))) == a_study
