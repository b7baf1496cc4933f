"""Actors that die, and what becomes of their studies, on a stand-in for Ray whose every death is chosen by the test."""

from __future__ import annotations

import platform
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from SpineLandmarksLib import __version__
from SpineLandmarksLib.batch import ray_engine
from SpineLandmarksLib.batch.local import BatchSettings
from SpineLandmarksLib.batch.ray_engine import MAX_DEATHS, Actor, ActorPool
from SpineLandmarksLib.batch.results import BatchItem, Outcome
from SpineLandmarksLib.bundle import Bundle, identity
from SpineLandmarksLib.errors import BackendError, InputError

SETTINGS = BatchSettings(("json",))


class RayError(Exception):
    """As Ray's: the actor or its machine is gone; Ray restarts the actor."""


class ActorUnavailableError(RayError):
    """As Ray's: nobody knows yet whether the actor lives."""


class RayTaskError(RayError):
    """As Ray's: the actor raised `cause`."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause


class Call:
    """What an actor was asked for; the reference to its answer. retries: how often Ray tries again after a death."""

    def __init__(self, actor: StandIn, work: Callable[[], Any], retries: int = 0) -> None:
        self.actor, self.work, self.retries = actor, work, retries
        self.answer: Any = None

    def settle(self) -> None:
        """Answer; an actor that dies takes along whatever it has not answered, and is restarted."""
        try:
            self.answer = self.work()
        except RayTaskError as error:
            self.answer = error
        except RayError as error:
            self.actor.restarts += 1
            self.answer = error
            if self.retries:
                self.retries -= 1
                return
        self.actor.calls.remove(self)


class StandIn:
    """An actor. It answers in order, as Ray's do."""

    def __init__(self, ready: Callable[[], str], localize: Callable[[BatchItem], Any]) -> None:
        self.calls: list[Call] = []
        self.restarts = 0
        self.ready = SimpleNamespace(
            options=lambda max_task_retries: SimpleNamespace(remote=lambda: self._call(ready, max_task_retries))
        )
        self.localize = SimpleNamespace(remote=lambda study, path, settings: self._call(lambda: localize(study)))

    def _call(self, work: Callable[[], Any], retries: int = 0) -> Call:
        assert not self.calls, "one thing at a time, so that a death has one cause"
        self.calls.append(call := Call(self, work, retries))
        return call


class Cluster:
    """A stand-in for the module `ray`. ready and localize: what actors do; they raise RayError to die."""

    exceptions = SimpleNamespace(
        RayError=RayError, RayTaskError=RayTaskError, ActorUnavailableError=ActorUnavailableError
    )

    def __init__(self, localize: Callable[[BatchItem], Any], ready: Callable[[], str] = lambda: "light") -> None:
        self.ready, self.localize = ready, localize
        self.actors: list[StandIn] = []
        self.choose: Callable[[list[Any]], Any] = lambda options: options[0]

    def pool(self, workers: int) -> ActorPool:
        self.actors = [StandIn(self.ready, self.localize) for _ in range(workers)]
        return ActorPool(self, self.actors)

    @property
    def restarts(self) -> int:
        return sum(actor.restarts for actor in self.actors)

    def wait(self, calls: list[Call], num_returns: int, timeout: float) -> tuple[list[Call], list[Call]]:
        over: list[Call] = []
        while not over:
            self.choose([call for call in calls if call in call.actor.calls]).settle()
            over = [call for call in calls if call not in call.actor.calls]
        return over[:1], over[1:]

    def get(self, call: Call) -> Any:
        assert call not in call.actor.calls, "there is no answer yet"
        if isinstance(call.answer, Exception):
            raise call.answer
        return call.answer


def studies(count: int) -> list[BatchItem]:
    return [BatchItem(Path(f"{number}.nii"), str(number)) for number in range(count)]


def done(study: BatchItem) -> tuple[Outcome, dict[str, bytes]]:
    return Outcome(study, headline=f"{study.stem} "), {f"{study.stem}.json": study.stem.encode()}


def run(cluster: Cluster, given: list[BatchItem], workers: int = 2) -> dict[str, Outcome]:
    """The outcomes by stem; fails when a study has two."""
    pool = cluster.pool(workers)
    assert pool.start() == "light"
    outcomes = list(pool.work(given, SETTINGS))
    assert len({outcome.study for outcome in outcomes}) == len(outcomes)
    return {outcome.study.stem: outcome for outcome in outcomes}


@given(st.integers(0, 12), st.integers(1, 4), st.randoms(use_true_random=False), st.floats(0, 0.5))
def test_every_study_has_one_outcome_whoever_dies_and_whenever(
    count: int, workers: int, chance: random.Random, share: float
) -> None:
    def localize(study: BatchItem) -> Any:
        if chance.random() < share:
            raise RayError("out of luck")
        return done(study)

    cluster = Cluster(localize)
    cluster.choose = chance.choice
    outcomes = run(cluster, studies(count), workers)
    assert sorted(outcomes) == sorted(study.stem for study in studies(count))
    for outcome in outcomes.values():
        assert (outcome.write is None) == (outcome.error is not None)


def test_files_come_over_as_they_were(tmp_path: Path) -> None:
    outcome = run(Cluster(done), studies(1))["0"]
    assert outcome.headline == "0 "
    assert outcome.write
    outcome.write(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"0.json": b"0"}


def test_a_study_that_kills_whoever_takes_it_is_given_up_and_no_other_is_blamed() -> None:
    taken = []

    def localize(study: BatchItem) -> Any:
        taken.append(study.stem)
        if study.stem == "1":
            raise RayError("The actor died because\nof no memory")
        return done(study)

    cluster = Cluster(localize)
    outcomes = run(cluster, studies(6))
    assert {stem for stem, outcome in outcomes.items() if outcome.error} == {"1"}
    assert outcomes["1"].error == {
        "error": f"{MAX_DEATHS} actors died of this study: The actor died because of no memory"
    }
    assert taken.count("1") == MAX_DEATHS
    assert cluster.restarts == MAX_DEATHS


def test_an_answer_that_is_lost_with_its_machine_is_made_again() -> None:
    cluster = Cluster(done)
    get, lost = cluster.get, []

    def forgetful(call: Call) -> Any:
        answer = get(call)
        if answer != "light" and not lost:
            lost.append(call)
            raise RayError("ObjectLostError")
        return answer

    cluster.get = forgetful  # type: ignore[method-assign]
    assert len(run(cluster, studies(5))) == 5
    assert lost


def test_what_an_actor_raises_is_the_failure_of_that_study_alone() -> None:
    def localize(study: BatchItem) -> Any:
        if study.stem == "2":
            raise RayTaskError(MemoryError())
        return done(study)

    cluster = Cluster(localize)
    outcomes = run(cluster, studies(4))
    assert [outcomes[str(number)].error for number in (0, 1, 3)] == [None] * 3
    assert "memory" in str(outcomes["2"].error)
    assert cluster.restarts == 0


def test_no_more_studies_are_taken_than_are_in_hand() -> None:
    taken: list[int] = []

    def coming() -> Iterator[BatchItem]:
        for number, study in enumerate(studies(20)):
            taken.append(number)
            yield study

    cluster = Cluster(done)
    pool = cluster.pool(2)
    pool.start()
    for number, _ in enumerate(pool.work(coming(), SETTINGS)):
        assert len(taken) <= number + 1 + 2 + 1, "one more is looked at, to know whether there is one"


def test_an_actor_that_cannot_load_the_model_gets_no_work(capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter(["light"])

    def ready() -> str:
        if answer := next(answers, None):
            return answer
        raise RayTaskError(BackendError("old-host: another version"))

    cluster = Cluster(done, ready)
    cluster.choose = random.Random(0).choice
    assert len(run(cluster, studies(9))) == 9
    assert "cannot begin: old-host: another version" in capsys.readouterr().err


@pytest.mark.parametrize("other", ["version", "bundle"])
def test_an_actor_loads_nothing_but_what_the_driver_has(
    other: str, a_small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, asked = (__version__, identity(a_small_bundle)), (str(a_small_bundle.folder), "auto", "auto")
    assert Actor(*asked, expected).ready()
    wrong = ("0.0.1", expected[1]) if other == "version" else (expected[0], "0123456789abcdef")
    with pytest.raises(BackendError, match=f"{platform.node()}: expected .*{wrong[0]}.*{wrong[1][:12]}"):
        Actor(*asked, wrong).ready()


def test_no_actor_that_can_begin_is_an_error_with_the_reason() -> None:
    def ready() -> str:
        raise RayTaskError(InputError("no such bundle"))

    with pytest.raises(BackendError, match="No actor of the cluster can begin: no such bundle"):
        run(Cluster(done, ready), studies(1))


def test_actors_that_die_before_they_are_ready_are_started_again_and_not_for_ever() -> None:
    lives: list[bool] = []

    def ready() -> str:
        lives.append(len(lives) == 1)
        if lives[-1]:
            return "light"
        raise RayError("boom")

    def localize(study: BatchItem) -> Any:
        raise RayError("struck")

    cluster = Cluster(localize, ready)
    with pytest.raises(BackendError, match=r"can begin: boom|is left"):
        run(cluster, studies(3), workers=1)
    assert len(lives) == 2 + MAX_DEATHS


def test_an_actor_whose_machine_has_just_gone_is_asked_again(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[int] = []

    def ready() -> str:
        asked.append(len(asked))
        if len(asked) < 3:
            raise ActorUnavailableError("unavailable")
        return "light"

    assert len(run(Cluster(done, ready), studies(3), workers=1)) == 3
    assert len(asked) == 3
    assert "cannot begin" not in capsys.readouterr().err


def test_who_waits_for_a_cluster_that_is_busy_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(done)
    wait, silent = cluster.wait, iter([True, True, False])

    def quiet(calls: list[Call], num_returns: int, timeout: float) -> Any:
        assert timeout == ray_engine.QUIET_S
        return ([], calls) if next(silent, False) else wait(calls, num_returns, timeout)

    monkeypatch.setattr(cluster, "wait", quiet)
    assert len(run(cluster, studies(2))) == 2
    assert capsys.readouterr().err.count("waiting for the cluster to start one of 2 actors") == 2
