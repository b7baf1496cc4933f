"""What is said to those who decide: model cards, the plan of change control, the notes of a release, the workflows."""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from SpineLandmarksLib import __version__
from SpineLandmarksLib.cli.main import parser
from SpineLandmarksLib.evaluation import non_inferiority

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
CARDS = sorted(ROOT.glob("Resources/Models/*/docs/README.md"))


def card_and_bundle(card: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The card's text, its metrics and the bundle's metadata."""
    metrics = json.loads((card.parent / "metrics.json").read_text("utf-8"))
    return (
        card.read_text("utf-8"),
        metrics,
        json.loads((card.parents[1] / "configs" / "metadata.json").read_text("utf-8")),
    )


def row_of(card: str, label: str) -> str:
    """The right half of a row of the card's figures, without intervals."""
    found = re.search(rf"(?m)^\| {label} \| (.*) \|$", card)
    assert found, f"the card has no row {label}"
    return re.sub(r"\([^)]*\)", "", found[1])


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parents[1].name)
def test_the_figures_of_a_model_card_are_those_of_its_metrics(card: Path) -> None:
    text, metrics, _ = card_and_bundle(card)
    overall = metrics["overall"]
    label = re.search(r"(?m)^\| (SDR at [\d./ ]+ mm) \|", text)
    assert label
    shown = [float(number) for number in re.findall(r"[\d.]+", row_of(text, label[1]))]
    limits = [float(number) for number in re.findall(r"[\d.]+", label[1])]
    sdr = {float(limit): 100 * rate["value"] for limit, rate in overall["sdr"].items()}
    assert shown == [pytest.approx(sdr[limit], abs=0.051) for limit in limits]
    mean, median = re.findall(r"[\d.]+", row_of(text, "mean / median radial error"))
    assert float(mean) == pytest.approx(overall["mre_mm"]["value"], abs=0.0051)
    assert float(median) == pytest.approx(overall["median_mm"]["value"], abs=0.0051)
    assert f"{metrics['n_points']} points" in text


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parents[1].name)
def test_a_model_card_tells_of_its_own_bundle(card: Path) -> None:
    text, metrics, metadata = card_and_bundle(card)
    name = card.parents[1].name
    assert metadata["name"] == name
    assert text.startswith(f"# Model card: {name}\n")
    told = [
        int(count) for count in re.findall(r"(?m)^\| .+ \| (\d+) \| .+ \|$", text.split("## How it was trained")[0])
    ]
    assert sum(told) == metadata["trained_on"]["slices"]
    assert metrics["bundle"].partition("@")[0] in text
    for must in ("Not a medical device", "## Limits and known failures", "## Intended use", "## Licence"):
        assert must in text


def test_the_readme_has_the_figures_of_the_default_s_card() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    metrics = json.loads((ROOT / "Resources/Models/lumbar11/docs/metrics.json").read_text("utf-8"))
    overall = metrics["overall"]
    for limit in ("8", "4"):
        rate, low, high = (100 * overall["sdr"][limit][key] for key in ("value", "low", "high"))
        assert f"| points within {limit} mm | {rate:.1f} % ({low:.0f}-{high:.0f}) |" in readme
    median, low, high = (overall["median_mm"][key] for key in ("value", "low", "high"))
    assert f"| median error | {median:.2f} mm ({low:.2f}-{high:.2f}) |" in readme
    right = round(metrics["n_images"] * overall["images_without_level_shift"]["value"])
    assert f"| images with every level right | {right} of {metrics['n_images']};" in readme


def options_that_name_another_computer(known: argparse.ArgumentParser, command: str = "") -> Iterator[tuple[str, str]]:
    """(command, option) of each that says an address."""
    for action in known._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from options_that_name_another_computer(below, command or name)
        elif re.search(r"URL|HOST|://|ADDRESS", str(action.metavar)) or "--host" in action.option_strings:
            yield command, action.option_strings[0]


def test_whatever_can_reach_another_computer_is_told() -> None:
    """A row names each command with its option; `--store` of a database is one row for all."""
    page = (DOCS / "trust" / "privacy.md").read_text("utf-8")
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    named = set(options_that_name_another_computer(parser()))
    assert {("predict", "--from"), ("node", "--send"), ("review", "--host")} <= named
    untold = [one for one in sorted(named) if not any(f"`{one[0]}" in row and one[1] in row for row in rows)]
    assert untold == []


def test_each_copyleft_package_that_a_user_can_get_is_spoken_of() -> None:
    page = (DOCS / "trust" / "third-party.md").read_text("utf-8")
    said, rows = page.split("<!-- third-party:begin -->")
    tools = {"test", "review-test", "docs", "bench"}
    got = [row.split(" | ") for row in rows.splitlines() if re.match(r"\| [\w.-]+ \|", row) and "---" not in row]
    copyleft = {row[0][2:] for row in got[1:] if re.search(r"GPL|MPL|GNU", row[2]) and row[3] not in tools}
    assert "pylibjpeg-libjpeg" in copyleft
    assert {name for name in copyleft if name not in said} == set()


def test_each_bundle_has_its_card_on_the_site_and_each_set_its_data_sheet() -> None:
    page = (DOCS / "trust" / "model-cards.md").read_text("utf-8")
    assert {card.parents[1].name for card in CARDS} == set(re.findall(r"(?m)^## (\S+)", page))
    sheets = (DOCS / "trust" / "data-sheets.md").read_text("utf-8")
    assert all(each in sheets for each in ("(`tianchi150`)", "## SPIDER (`spider`)", "## Phantoms"))


def test_the_plan_of_change_control_states_the_rule_of_the_code() -> None:
    plan = (DOCS / "trust" / "change-control.md").read_text("utf-8")
    margin = inspect.signature(non_inferiority.non_inferiority_test).parameters["margin"].default
    assert plan.count(f"{100 * margin:.0f} point**") == 2
    assert f"at least **{non_inferiority.MIN_PATIENTS}** locked patients" in plan
    assert f"within {non_inferiority.THRESHOLD_MM:g} mm" in plan
    assert f"{non_inferiority.REPLICATES} bootstrap draws" in plan
    files = re.findall(r"`((?:training|retraining|evaluation)/\S+|splits\.py)`", plan)
    assert len(files) > 3
    assert all((ROOT / "SpineLandmarksLib" / file).is_file() for file in files)


def test_every_hazard_names_what_holds_it() -> None:
    page = (DOCS / "trust" / "hazards.md").read_text("utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| **")]
    assert len(rows) > 10
    assert rows[0][0].startswith("| **every level wrong by one**")
    assert [row[0] for row in rows if len(row) != 5] == []
    files = [file for row in rows for file in re.findall(r"`(Testing/\S+\.py)`", row[3])]
    assert [file for file in files if not (ROOT / file).is_file()] == []
    assert [row[0] for row in rows if not re.search(r"`[^`]+`|\]\(", row[3])] == []


def test_the_citation_is_of_this_version() -> None:
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert (citation["cff-version"], citation["version"]) == ("1.2.0", __version__)


def test_a_release_takes_its_notes_from_the_changelog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS)
    import release_notes

    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "### " in release_notes.notes_of("Unreleased", changelog)
    with pytest.raises(SystemExit, match=r"section of 9\.9\.9 in CHANGELOG"):
        release_notes.notes_of("9.9.9", changelog)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="one Python is enough")
def test_the_workflows_run_what_is_there() -> None:
    yaml = pytest.importorskip("yaml")
    commands = []
    for file in (ROOT / ".github" / "workflows").glob("*.yml"):
        jobs = yaml.safe_load(file.read_text("utf-8"))["jobs"].values()
        commands += [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    text = "\n".join(commands)
    makefile, nox = (ROOT / "Makefile").read_text("utf-8"), (ROOT / "noxfile.py").read_text("utf-8")
    assert all(f"\n{target}:" in makefile for words in re.findall(r"make ([\w ]+)", text) for target in words.split())
    named = re.findall(r'nox --session "?([\w -]+)', text)
    assert named
    sessions = {word.rstrip("-") for words in named for word in words.split()}
    assert {session for session in sessions if f"def {session}(" not in nox} == set()
    scripts = re.findall(r"python (\S+\.py)|bash (\S+)", text)
    assert all((ROOT / (one or other)).is_file() for one, other in scripts)
