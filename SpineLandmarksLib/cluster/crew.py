"""The actors of a run and what each has in hand. One that dies is replaced, and others do what it had."""

from __future__ import annotations

import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from SpineLandmarksLib.batch.local import Settings
from SpineLandmarksLib.batch.names import Study
from SpineLandmarksLib.batch.results import Outcome, explain
from SpineLandmarksLib.cluster.actor import Facts, Files
from SpineLandmarksLib.errors import BackendError
from SpineLandmarksLib.formats.atomic import write_atomically

#: Studies that an actor has: one that it works on, and one so that it need not wait.
IN_HAND = 2
#: A study that was worked on each time when this many actors died is taken to be the cause.
MAX_DEATHS = 3
#: After this many actors in a row that died before they were ready, no more are hired.
MAX_VAIN = 3
#: After this long without any news, what is waited for is said.
QUIET_S = 30.0


@dataclass(frozen=True)
class Task:
    """What an actor was asked to do: a study, or, without one, to get ready."""

    actor: Any
    study: Study | None = None


class Crew:
    """Gives studies to actors and takes what they send, each study's once.

    ray: the module, connected to a cluster. hire: starts an `Actor` there. expected: version and bundle of the driver.
    """

    def __init__(self, ray: Any, hire: Callable[[], Any], expected: tuple[str, str]) -> None:
        self._ray, self._hire, self._expected = ray, hire, expected
        self._tasks: dict[Any, Task] = {}  # by the reference to the answer, oldest first
        self._ready: list[Any] = []
        self._waiting: deque[Study] = deque()
        self._deaths: Counter[Study] = Counter()
        self._vain = 0
        self._facts: Facts | None = None  # of the last actor that got ready

    def start(self, count: int) -> Facts:
        """Hire `count` actors and return when one of them is ready. BackendError when none can be."""
        for _ in range(count):
            self._begin()
        while self._facts is None:
            list(self._news())  # nobody has a study yet
        return self._facts

    def work(self, studies: Iterable[Study], settings: Settings) -> Generator[Outcome, None, None]:
        """One outcome for each study, in the order in which they are done. BackendError when nobody is left."""
        coming = iter(studies)
        while self._hand_out(coming, settings) or any(task.study for task in self._tasks.values()):
            yield from self._news()

    def _begin(self) -> None:
        actor = self._hire()
        self._tasks[actor.ready.remote()] = Task(actor)

    def _hand_out(self, coming: Iterator[Study], settings: Settings) -> bool:
        """Give studies to whoever has fewest, until all have enough; whether any study is left."""
        while True:
            if not self._waiting:
                self._waiting.extend(islice(coming, 1))
            if not self._waiting:
                return False
            load = Counter(task.actor for task in self._tasks.values() if task.study)
            actor = min(self._ready, key=lambda actor: load[actor], default=None)
            if actor is None or load[actor] >= IN_HAND:
                return True
            study = self._waiting.popleft()
            path = Path(os.path.abspath(study.path))
            self._tasks[actor.localize.remote(study, path, settings)] = Task(actor, study)

    def _news(self) -> Iterator[Outcome]:
        """Wait for one answer, or a death, and deal with it."""
        if not self._tasks:
            raise BackendError("No actor of the cluster is left; --resume goes on from here")
        done, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=QUIET_S)
        if not done and not self._ready:
            _say(f"waiting for the cluster to start one of {len(self._tasks)} actors")
        for reference in done:
            task = self._tasks[reference]
            try:
                answer = self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:  # raised by the actor, which lives
                answer = error.cause if isinstance(error.cause, Exception) else error
            except self._ray.exceptions.RayError as error:
                yield from self._bury(reference, error)
                continue
            del self._tasks[reference]
            if task.study:
                yield _outcome(task.study, answer)
            else:
                self._admit(task.actor, answer)

    def _admit(self, actor: Any, answer: Facts | Exception) -> None:
        """Give work to an actor that has loaded the same as the driver."""
        if isinstance(answer, Exception):
            self._refuse(explain(answer)["error"])
        elif (answer.version, answer.bundle_sha256) != self._expected:
            self._refuse(
                f"{answer.host}: expected SpineLandmarks {self._expected[0]} and the same bundle as here on every "
                f"machine; got {answer.version}, bundle {answer.bundle_sha256[:12]} (here {self._expected[1][:12]})"
            )
        else:
            self._facts, self._vain = answer, 0
            self._ready.append(actor)

    def _refuse(self, reason: str) -> None:
        """Go on without an actor that cannot begin."""
        if not self._tasks:
            raise BackendError(f"No actor of the cluster can begin: {reason}")
        _say(f"an actor of the cluster cannot begin: {reason}")

    def _bury(self, reference: Any, error: Exception) -> Iterator[Outcome]:
        """An actor has died, or its answer with the machine: replace it, and have its study done again."""
        task = self._tasks.pop(reference)
        if task.study and task.actor in self._ready:  # the first that is heard of it: of what was worked on
            self._deaths[task.study] += 1
            self._ready.remove(task.actor)
            self._ray.kill(task.actor)  # one that merely cannot be reached may not go on
            self._begin()
        if task.study is None:
            self._died_unready(error)
        elif self._deaths[task.study] < MAX_DEATHS:
            self._waiting.appendleft(task.study)
        else:
            yield Outcome(task.study, error={"error": f"{MAX_DEATHS} actors died of this study: {_line(error)}"})

    def _died_unready(self, error: Exception) -> None:
        self._vain += 1
        if self._vain < MAX_VAIN:
            self._begin()
        else:
            self._refuse(_line(error))


def _outcome(study: Study, answer: tuple[Outcome, Files] | Exception) -> Outcome:
    if isinstance(answer, Exception):
        return Outcome(study, error=explain(answer))
    outcome, files = answer
    return replace(outcome, study=study, write=partial(_write, files) if files else None)


def _write(files: Files, folder: Path) -> None:
    for name, content in files.items():
        with write_atomically(folder / name) as file:
            file.write(content)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _say(text: str) -> None:
    print(f"spine-landmarks: {text}", file=sys.stderr)
