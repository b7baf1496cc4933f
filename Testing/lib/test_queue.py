"""The order of review: what the model doubts, what is unlike the rest, some at random, and never the hold-out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import update

from SpineLandmarksLib.annotation.revision import Revision, utc_now
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.phantom.phantom import Phantom
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.retraining.queue import MAX_DISAGREEMENT_MM, Waiting, appearance_vector, assess, at_random, order
from SpineLandmarksLib.splits import locked_patients
from SpineLandmarksLib.store import database as t
from SpineLandmarksLib.store.doubt import StudyDoubts, most_doubtful_first
from SpineLandmarksLib.store.folder import open_dataset
from SpineLandmarksLib.web.studies import listing

NAMED = tuple(enumerate(LUMBAR11))


def look(angle_deg: float) -> NDArray[np.float64]:
    return np.array([np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))])


@pytest.fixture
def three_studies() -> list[Waiting]:
    """a is doubtful, b is in disagreement and unlike what was seen, c is neither. Ranks 0, 0.5 and 1:

    a: doubt 1, disagreement 0.5, novelty 0    b: 0.5, 1, 1    c: 0, 0, 0.5
    """
    return [Waiting("a", 3.0, 2.0, look(10)), Waiting("b", 1.0, 5.0, look(90)), Waiting("c", 0.5, 1.0, look(30))]


def test_the_study_with_the_greatest_gain_comes_first_and_says_why(three_studies: list[Waiting]) -> None:
    places = order(three_studies, [look(0)], random_share=0.0)
    assert [place.key for place in places] == ["b", "a", "c"]
    assert [place.reason for place in places][1] == "doubt"


def test_the_order_does_not_depend_on_the_order_of_the_input(three_studies: list[Waiting]) -> None:
    for seed in range(5):
        assert order(three_studies, [look(0)], seed) == order(three_studies[::-1], [look(0)], seed)


def test_two_alike_pictures_are_not_taken_one_after_the_other() -> None:
    """All are in the same doubt; a and b look alike, c is less unlike what was seen than both."""
    waiting = [Waiting("a", 1.0, 1.0, look(90)), Waiting("b", 1.0, 1.0, look(89)), Waiting("c", 1.0, 1.0, look(40))]
    places = order(waiting, [look(0)], random_share=0.0)
    assert [place.key for place in places] == ["a", "c", "b"]
    assert places[0].reason == "new kind of picture"


def test_a_share_is_drawn_at_random_and_says_so() -> None:
    waiting = [Waiting(f"{number:03d}", float(number), 0.0, look(number / 10)) for number in range(400)]
    drawn = sum(place.reason == "drawn at random" for place in order(waiting, []))
    assert 55 <= drawn <= 105  # 80 expected, with a standard deviation of 8
    assert sorted(place.key for place in order(waiting, [])) == [one.key for one in waiting]
    assert len(order(waiting, [], count=7)) == 7
    assert order([], []) == []


def test_a_random_order_depends_on_names_and_seed_alone() -> None:
    keys = [f"study{number}" for number in range(20)]
    first = [place.key for place in at_random(keys, 3)]
    assert first == [place.key for place in at_random(keys[::-1], 3)]
    assert first != [place.key for place in at_random(keys, 4)]
    assert sorted(first) == sorted(keys)


def test_an_appearance_knows_neither_contrast_nor_brightness(a_phantom: Phantom, truth_xy: NDArray[np.float64]) -> None:
    image = a_phantom.voxels[3].astype(np.float32)
    one, other = appearance_vector(image, truth_xy), appearance_vector(5 * image + 100, truth_xy)
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert np.linalg.norm(one) == pytest.approx(1)
    assert np.linalg.norm(one - appearance_vector(image[::-1], truth_xy)) > 0.3
    assert not appearance_vector(np.full_like(image, 7.0), truth_xy).any()
    assert np.isfinite(appearance_vector(image, np.full((11, 2), np.nan))).all()


def test_a_model_that_is_sure_and_of_one_mind_leaves_nothing_to_ask(
    a_localizer: Localizer, a_phantom: Phantom, an_oracle
) -> None:
    (reading,) = a_localizer.read_slices(a_phantom.voxels[3:4], (3.1, 3.1))
    sure = assess("sure", a_phantom.voxels[3], reading, a_localizer)
    assert sure.disagreement < 1e-6
    an_oracle.log_mass = np.full((9, 11), -20.0)  # as if nothing were there
    (reading,) = a_localizer.read_slices(a_phantom.voxels[3:4], (3.1, 3.1))
    lost = assess("lost", a_phantom.voxels[3], reading, a_localizer)
    assert lost.doubt > sure.doubt
    assert 0 <= lost.disagreement <= MAX_DISAGREEMENT_MM


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    def command(*arguments: object) -> list[str]:
        capsys.readouterr()
        assert main(["dataset", *map(str, arguments)]) == 0
        return capsys.readouterr().out.splitlines()

    return command


@pytest.fixture
def a_waiting_dataset(a_phantom_dataset: Path, tmp_path: Path, run) -> Path:
    """Four pictures that nobody has annotated."""
    folder = tmp_path / "data"
    run("init", folder)
    run("add", folder, a_phantom_dataset / "images", "--bundle", "none", "--spacing", "1")
    return folder


def test_the_queue_command_orders_what_waits(a_waiting_dataset: Path, a_small_bundle: Bundle, run) -> None:
    store = open_dataset(a_waiting_dataset)
    keys = {study.key for study in store.studies()}
    taken = sorted(keys)[0]
    store.assign(taken, "Bo")
    store.close()
    *lines, last = run("queue", a_waiting_dataset)
    assert {line.split()[1] for line in lines} == keys
    assert last == "4 studies wait"
    assert all(line.endswith("drawn at random") for line in lines), "no model has seen one"
    with open_dataset(a_waiting_dataset) as store:
        on_screen = [row.key for row in listing(store, "Ann").rows if row.state == "waiting"]
    for chosen in ("doubt", "random"):
        *lines, last = run("queue", a_waiting_dataset, "--for", "Ann", "--order", chosen)
        assert [line.split()[1] for line in lines] == on_screen, "as both screens have them"
    told = dict(zip(sorted(keys), (0.9, 0.5, 0.99), strict=False))  # and the last one is new
    store = open_dataset(a_waiting_dataset)
    for key, sure in told.items():
        marks = tuple(Landmark(name, "predicted", pixel_xy=(9.0, 9.0 + row), confidence=sure) for row, name in NAMED)
        found = LandmarkSet(marks, slice_index=0, bundle="model@1")
        store.save(Revision(key, "model@1", utc_now(), found, store.study(key).reference))
    *lines, last = run("queue", a_waiting_dataset)
    first, second, third, new = sorted(keys)
    assert [line.split()[1] for line in lines] == [second, first, third, new]
    assert lines[0].endswith("doubt 5.50")
    assert [row.key for row in listing(store, "Ann", most_doubtful_first(StudyDoubts().read(store))).rows][:2] == [
        second,
        third,
    ]
    store.close()
    *lines, last = run("queue", a_waiting_dataset, "--order", "gain", "--bundle", a_small_bundle.folder, "--for", "Ann")
    assert {line.split()[1] for line in lines} == keys - {taken}
    assert len(run("queue", a_waiting_dataset, "--count", "2", "--order", "random")) == 3
    with open_dataset(a_waiting_dataset) as store:
        with store.transaction() as connection:
            connection.execute(update(t.revisions).where(t.revisions.c.study == second).values(content="{"))
        assert most_doubtful_first(StudyDoubts().read(store))[-1] == second, "damage keeps nobody from the rest"


def test_the_hold_out_has_a_queue_of_its_own_in_random_order(a_waiting_dataset: Path, run) -> None:
    run("split", a_waiting_dataset, "--holdout", "1")
    locked = locked_patients(a_waiting_dataset)
    store = open_dataset(a_waiting_dataset)
    (held,) = (study.key for study in store.studies() if study.patient in locked)
    store.close()
    assert run("queue", a_waiting_dataset)[-1] == "3 studies wait"
    line, last = run("queue", a_waiting_dataset, "--locked", "--order", "gain", "--bundle", "no such bundle")
    assert (line.split()[1], line.endswith("drawn at random"), last) == (held, True, "1 studies wait")


def test_what_was_annotated_waits_no_longer(a_phantom_dataset: Path, tmp_path: Path, run) -> None:
    folder = shutil.copytree(a_phantom_dataset, tmp_path / "adopted")
    run("init", folder, "--author", "Ann")
    assert run("queue", folder) == ["0 studies wait"]
