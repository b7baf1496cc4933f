"""How doubtful the model is of each study, for a list that is sorted by it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import select

from SpineLandmarksLib.store import database as t
from SpineLandmarksLib.store.store import PART, Store

#: What a landmark counts that the model did not find, or says nothing of.
UNKNOWN = 0.5


class StudyDoubts:
    """Remembers what was read, so that each prediction is read once."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}

    def read(self, store: Store) -> dict[str, float]:
        """Expected number of landmarks on a wrong level, by study: the sum of 1 - confidence in the last prediction.

        Of predictions alone, so that it tells nobody what others read, or which study is gold.
        """
        c = t.revisions.c
        with store.snapshot() as connection:
            query = select(c.study, c.id).where(c.author == c.source_model).order_by(c.number)
            last = {row.study: row.id for row in connection.execute(query)}
            new = [one for one in last.values() if one not in self._known]
            for start in range(0, len(new), PART):
                which = c.id.in_(new[start : start + PART])
                for revision, content in connection.execute(select(c.id, c.content).where(which)):
                    self._known[revision] = _doubt(content)
        return {study: self._known[revision] for study, revision in last.items()}


def most_doubtful_first(doubts: Mapping[str, float]) -> list[str]:
    """Names of the studies that a model has seen, in the order of review; on new sources it puts several times as many
    level errors right a minute as a random one does (`python -m research.simulation.level_errors`).
    """
    return sorted(doubts, key=lambda key: (-doubts[key], key))


def _doubt(content: str) -> float:
    """By the text alone, which takes a tenth of the time for thousands. One that is damaged is told when it is opened,
    and keeps nobody from the others.
    """
    try:
        said = [mark["confidence"] for mark in json.loads(content)["result"]["landmarks"]]
        return float(sum(UNKNOWN if one is None else 1 - one for one in said))
    except (ValueError, KeyError, TypeError):
        return 0.0
