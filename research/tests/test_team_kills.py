"""A share of the campaign: some kills, and what it would say of a store that has lost something."""

from __future__ import annotations

import random
from pathlib import Path

from research.team_kills import campaign, faults, make_dataset
from SpineLandmarksLib.store.folder import open_dataset


def test_readers_and_leads_who_are_killed_lose_nothing(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "team", None)
    problems, told = campaign(dataset, None, 2, random.Random(1))
    assert problems == []
    assert told["assigned"] > 0


def test_what_is_lost_is_found(tmp_path: Path) -> None:
    with open_dataset(make_dataset(tmp_path / "team", None)) as store:
        assert len(list(faults(store, [["saved", "0" * 16], ["signed", "1" * 16], ["assigned", "s1"]]))) == 3
