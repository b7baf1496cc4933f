"""Actors that die, and what becomes of their studies, on a stand-in for Ray whose every death is chosen by the test."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from SpineLandmarksLib.batch import ray_engine as crew_module
from SpineLandmarksLib.batch.local import Settings
from SpineLandmarksLib.batch.names import Study
from SpineLandmarksLib.batch.ray_engine import IN_HAND, MAX_DEATHS, MAX_VAIN, Crew, Facts
from SpineLandmarksLib.batch.results import Outcome
from SpineLandmarksLib.errors import BackendError, InputError

SETTINGS = Settings(("json",))
EXPECTED = ("1.0", "abc")
FACTS = Facts(*EXPECTED, backend="light", host="here")


class RayError(Exception):
    """As Ray's: the actor or its machine is gone."""


class RayTaskError(RayError):
    """As Ray's: the actor raised `cause`."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause


class Call:
    """What an actor was asked for; the reference to its answer."""

    def __init__(self, actor: StandIn, work: Callable[[], Any]) -> None:
        self.actor, self.work = actor, work
        self.answer: Any = None

    def settle(self) -> None:
        """Answer; an actor that dies takes along whatever it has not answered."""
        try:
            self.answer = self.work()
        except RayTaskError as error:
            self.answer = error
        except RayError as error:
            self.actor.death = error
            return
        self.actor.calls.remove(self)


class StandIn:
    """An actor. It answers in order, as Ray's do."""

    def __init__(self, ready: Callable[[], Facts], localize: Callable[[Study], Any]) -> None:
        self.calls: list[Call] = []
        self.death: Exception | None = None
        self.ready = SimpleNamespace(remote=lambda: self._call(ready))
        self.localize = SimpleNamespace(remote=lambda study, path, settings: self._call(lambda: localize(study)))

    def _call(self, work: Callable[[], Any]) -> Call:
        self.calls.append(call := Call(self, work))
        return call


class Cluster:
    """A stand-in for the module `ray`. ready and localize: what actors do; they raise RayError to die."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, localize: Callable[[Study], Any], ready: Callable[[], Facts] = lambda: FACTS) -> None:
        self.ready, self.localize = ready, localize
        self.hired: list[StandIn] = []
        self.choose: Callable[[list[Any]], Any] = lambda options: options[0]

    def hire(self) -> StandIn:
        self.hired.append(StandIn(self.ready, self.localize))
        return self.hired[-1]

    def wait(self, calls: list[Call], num_returns: int, timeout: float) -> tuple[list[Call], list[Call]]:
        busy = [actor for actor in self.hired if actor.calls and not actor.death]
        if busy:
            self.choose(busy).calls[0].settle()
        over = [call for call in calls if call.actor.death or call not in call.actor.calls]  # in order, as with Ray
        return over[:1], over[1:]

    def get(self, call: Call) -> Any:
        if call in call.actor.calls:
            raise call.actor.death or AssertionError("there is no answer yet")
        if isinstance(call.answer, Exception):
            raise call.answer
        return call.answer

    def kill(self, actor: StandIn) -> None:
        actor.death = actor.death or RayError("killed")


def studies(count: int) -> list[Study]:
    return [Study(Path(f"{number}.nii"), str(number)) for number in range(count)]


def done(study: Study) -> tuple[Outcome, dict[str, bytes]]:
    return Outcome(study, headline=f"{study.stem} "), {f"{study.stem}.json": study.stem.encode()}


def run(cluster: Cluster, given: list[Study], workers: int = 2) -> dict[str, Outcome]:
    """The outcomes by stem; fails when a study has two."""
    crew = Crew(cluster, cluster.hire, EXPECTED)
    crew.start(workers)
    outcomes = list(crew.work(given, SETTINGS))
    assert len({outcome.study for outcome in outcomes}) == len(outcomes)
    return {outcome.study.stem: outcome for outcome in outcomes}


@given(st.integers(0, 12), st.integers(1, 4), st.randoms(use_true_random=False), st.floats(0, 0.5))
def test_every_study_has_one_outcome_whoever_dies_and_whenever(
    count: int, workers: int, chance: random.Random, share: float
) -> None:
    def localize(study: Study) -> Any:
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

    def localize(study: Study) -> Any:
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
    assert len(cluster.hired) == 2 + MAX_DEATHS


def test_an_answer_that_is_lost_with_its_machine_is_made_again() -> None:
    cluster = Cluster(done)
    get, lost = cluster.get, []

    def forgetful(call: Call) -> Any:
        answer = get(call)
        if not isinstance(answer, Facts) and not lost:
            lost.append(call)
            raise RayError("ObjectLostError")
        return answer

    cluster.get = forgetful  # type: ignore[method-assign]
    assert len(run(cluster, studies(5))) == 5
    assert isinstance(lost[0].actor.death, RayError), "it may not go on with what others are given"


def test_what_an_actor_raises_is_the_failure_of_that_study_alone() -> None:
    def localize(study: Study) -> Any:
        if study.stem == "2":
            raise RayTaskError(MemoryError())
        return done(study)

    cluster = Cluster(localize)
    outcomes = run(cluster, studies(4))
    assert [outcomes[str(number)].error for number in (0, 1, 3)] == [None] * 3
    assert "memory" in str(outcomes["2"].error)
    assert len(cluster.hired) == 2


def test_no_more_studies_are_taken_than_are_in_hand() -> None:
    taken: list[int] = []

    def coming() -> Iterator[Study]:
        for number, study in enumerate(studies(20)):
            taken.append(number)
            yield study

    cluster = Cluster(done)
    crew = Crew(cluster, cluster.hire, EXPECTED)
    crew.start(2)
    for number, _ in enumerate(crew.work(coming(), SETTINGS)):
        assert len(taken) <= number + 1 + 2 * IN_HAND + 1, "one more is looked at, to know whether there is one"


def test_an_actor_that_loaded_something_else_gets_no_work(capsys: pytest.CaptureFixture[str]) -> None:
    facts = iter([FACTS, Facts("0.9", "def", "light", "old-host")])
    cluster = Cluster(done, lambda: next(facts))
    cluster.choose = random.Random(0).choice
    assert len(run(cluster, studies(9))) == 9
    assert "old-host: expected SpineLandmarks 1.0 and the same bundle" in capsys.readouterr().err


def test_no_actor_that_can_begin_is_an_error_with_the_reason() -> None:
    def ready() -> Facts:
        raise RayTaskError(InputError("no such bundle"))

    with pytest.raises(BackendError, match="No actor of the cluster can begin: no such bundle"):
        run(Cluster(done, ready), studies(1))


def test_actors_that_die_before_they_are_ready_are_hired_again_and_not_for_ever() -> None:
    lives: list[bool] = []

    def ready() -> Facts:
        lives.append(len(lives) == 1)
        if lives[-1]:
            return FACTS
        raise RayError("boom")

    def localize(study: Study) -> Any:
        raise RayError("struck")

    cluster = Cluster(localize, ready)
    with pytest.raises(BackendError, match=r"can begin: boom|is left"):
        run(cluster, studies(3), workers=1)
    assert len(lives) == 2 + MAX_VAIN


def test_who_waits_for_a_cluster_that_is_busy_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(done)
    wait, silent = cluster.wait, iter([True, True, False])

    def quiet(calls: list[Call], num_returns: int, timeout: float) -> Any:
        assert timeout == crew_module.QUIET_S
        return ([], calls) if next(silent, False) else wait(calls, num_returns, timeout)

    monkeypatch.setattr(cluster, "wait", quiet)
    assert len(run(cluster, studies(2))) == 2
    assert capsys.readouterr().err.count("waiting for the cluster to start one of 2 actors") == 2
