"""What `python -m research.experiments` does: run the rows that are missing, then write every table again."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from research.experiments.ablation import ablation_rows, run_ablation
from research.experiments.curve import CURVE_ROWS, curve_plot, run_curve
from research.experiments.experiment import Experiment
from research.experiments.hands import PANELS, differences, hands_rows, outliers_table, run_hands, with_outliers
from research.experiments.papers import (
    STAGES,
    course_plot,
    course_table,
    papers_recipe,
    papers_rows,
    run_course,
    run_papers,
)
from research.experiments.results import read_result
from research.experiments.rows import Line, chosen
from research.experiments.seeds import MEAN_PLACE, run_folds, seed_rows
from research.experiments.sources import run_sources, sources_rows, sources_table
from research.experiments.table import figures_table, training_table
from research.markdown import write_section
from SpineLandmarksLib.backends import device_of
from SpineLandmarksLib.evaluation.metrics import summarize
from SpineLandmarksLib.formats.atomic import write_atomically, write_text_atomically

LEGEND = (
    "In brackets: 95 % intervals that resample patients. SDR@t: share of annotated points within t mm. Level "
    "shift: points nearer to another landmark than to their own. Wholly right: every point within 8 mm. Minutes: "
    "wall time of training all networks of a row, the mean over splits."
)


HANDS_LEGEND = (
    "In brackets: 95 % intervals that resample patients. Beyond t mm: share of annotated points further off than t mm. "
    "Minutes: wall time of training, unknown where it was interrupted."
)


def experiment_command(options: argparse.Namespace) -> int:
    folder = options.output / options.kind  # so that all experiments may share one --output
    experiment = Experiment(options.data, folder, options.minutes, device_of(options.device), options.split_seed)
    return KINDS[options.kind](experiment, options)


def seeds_command(experiment: Experiment, options: argparse.Namespace) -> int:
    rows = chosen(seed_rows(options.default_bundles), options.rows)
    experiment.require_same_settings(settings_of(options, folds=options.folds, default_bundles=options.default_bundles))
    lines = run_folds(experiment, rows, options.folds)
    about = (
        f"Out of fold on {len(experiment.annotated)} slices of {experiment.data.name}, {options.folds} folds by "
        f"patient, split seed {options.split_seed}; {options.minutes:g} minutes for each network and fold."
    )
    return publish(options, about, [(line.row.title, line) for line in lines])


def curve_command(experiment: Experiment, options: argparse.Namespace) -> int:
    rows = chosen(CURVE_ROWS, options.rows)
    experiment.require_same_settings(settings_of(options, holdout=options.holdout))
    points = run_curve(experiment, rows, options.holdout)
    named = [(f"{line.row.title}, {size}", line) for size, line in points]
    about = (
        f"{options.holdout} held-out patients of {experiment.data.name}, split seed {options.split_seed}; networks "
        f"trained on as many others as the row says, {options.minutes:g} minutes each."
    )
    drawn = [(size, line.row.title, summarize(line.predictions)["overall"]) for size, line in points]
    return publish(options, about, named, draw(options, "learning-curve.svg", curve_plot(drawn)))


def hands_command(experiment: Experiment, options: argparse.Namespace) -> int:
    rows = chosen(hands_rows(), options.rows)
    experiment.require_same_settings(settings_of(options, holdout=options.holdout))
    points = run_hands(experiment, rows, options.holdout, options.finished)
    lines = [(size, line, with_outliers(line.predictions)) for size, line in points]
    picture = curve_plot([(size, line.row.title, overall) for size, line, overall in lines], PANELS)
    budget = f"{options.minutes:g} minutes each" if options.minutes else "for the steps that the second table says"
    about = (
        f"{options.holdout} held-out patients of {experiment.data.name}, split seed {options.split_seed}; networks "
        f"trained on as many others as the row says, {budget}. Distances in {points[0][1].predictions.unit}. "
        f"{HANDS_LEGEND}"
    )
    named = [(f"{line.row.title}, {size}", line, overall) for size, line, overall in lines]
    parts = (
        about,
        draw(options, "hands.svg", picture),
        outliers_table([(title, overall, line.results) for title, line, overall in named]),
        differences(points),
        training_table([(title, line.row.decoder, line.results, line.row.note) for title, line, _ in named]),
    )
    return write_pages(options, {title: overall for title, _, overall in named}, about, parts)


def ablation_command(experiment: Experiment, options: argparse.Namespace) -> int:
    extra = {folder.name: share for folder, share in options.extra}
    rows = chosen(ablation_rows(options.recipe, options.extra, options.start_from), options.rows)
    start = str(options.start_from) if options.start_from else None
    experiment.require_same_settings(
        settings_of(options, recipe=options.recipe, holdout=options.holdout, extra=extra, start_from=start)
    )
    lines = run_ablation(experiment, rows, options.holdout)
    also = f" and {', '.join(extra)}" if extra else ""
    about = (
        f"Recipe {options.recipe}. {options.holdout} held-out patients of {experiment.data.name}, split seed "
        f"{options.split_seed}; networks trained on the others{also}, {options.minutes:g} minutes each."
    )
    return publish(options, about, [(line.row.title, line) for line in lines])


def papers_command(experiment: Experiment, options: argparse.Namespace) -> int:
    experiment = replace(experiment, stages=STAGES, recipe_of=papers_recipe)
    rows = chosen(papers_rows(), options.rows)
    experiment.require_same_settings(settings_of(options, holdout=options.holdout))
    if options.finished:
        part = experiment.holdout(options.holdout).name
        rows = [row for row in rows if read_result(experiment.folder / "results" / row.key, part)]
    named = [(line.row.title, line) for line in run_papers(experiment, rows, options.holdout)]
    stages = run_course(experiment, rows, options.holdout)
    about = (
        f"{options.holdout} held-out patients of {experiment.data.name}, split seed {options.split_seed}; networks "
        "trained on the others, from random weights unless the second table says more, for the steps that it says."
    )
    course = f"{draw(options, 'papers.svg', course_plot(stages))}\n\n{course_table(stages)}"
    return publish(options, about, named, course)


def sources_command(experiment: Experiment, options: argparse.Namespace) -> int:
    sources = [(options.data, None), *options.extra]
    without = options.without or [(folder.name,) for folder, _ in sources]
    rows = chosen(sources_rows(sources, without, options.recipe, options.steps), options.rows)
    shares = {str(folder.resolve()): share for folder, share in sources}
    experiment.require_same_settings(settings_of(options, recipe=options.recipe, steps=options.steps, sources=shares))
    judged = run_sources(experiment, rows, sources, options.separate_patients)
    about = (
        f"Recipe {options.recipe} from random weights, {options.steps} steps each, judged on the locked hold-out of "
        f"every source. {LEGEND}"
    )
    figures = {
        f"{each.line.row.title}, on {each.source}": summarize(each.line.predictions)["overall"] for each in judged
    }
    lines = [each.line for each in judged if each.source == judged[0].source]
    trained = training_table([(line.row.title, line.row.decoder, line.results, line.row.note) for line in lines])
    return write_pages(options, figures, about, (about, sources_table(judged), trained))


def draw(options: argparse.Namespace, name: str, picture: bytes) -> str:
    """Write an SVG beside DIR/KIND.md and beside the document; returns how they show it."""
    for page in filter(None, (options.output / f"{options.kind}.md", options.document)):
        (page.parent / "images").mkdir(parents=True, exist_ok=True)
        with write_atomically(page.parent / "images" / name) as file:
            file.write(picture)
    return f"![Learning curves](images/{name})"


def settings_of(options: argparse.Namespace, **own: Any) -> dict[str, Any]:
    """What must not change between the runs of one folder."""
    common = {
        "kind": options.kind,
        "data": str(options.data.resolve()),
        "minutes": options.minutes,
        "split_seed": options.split_seed,
    }
    return {**common, **own}


def publish(options: argparse.Namespace, about: str, named: Sequence[tuple[str, Line]], picture: str = "") -> int:
    """Write the tables of finished rows, as `write_pages` does."""
    summaries = [(title, line, summarize(line.predictions)) for title, line in named]
    unit = summaries[0][2]["unit"]
    remarks = _remarks([(line, summary["overall"]) for _, line, summary in summaries])
    parts = (
        f"{about} Distances in {unit}. {LEGEND}",
        picture,
        figures_table([(title, summary["overall"], line.results) for title, line, summary in summaries]),
        training_table(
            [
                (title, line.row.decoder, line.results, remark)
                for (title, line, _), remark in zip(summaries, remarks, strict=True)
            ]
        ),
    )
    return write_pages(options, {title: summary["overall"] for title, _, summary in summaries}, about, parts)


def write_pages(options: argparse.Namespace, rows: dict[str, Any], about: str, parts: Sequence[str]) -> int:
    """Write DIR/KIND.json and DIR/KIND.md, and the section KIND of the document."""
    text = "\n\n".join(filter(None, parts))
    folder: Path = options.output
    figures = {"about": about, "rows": rows}
    write_text_atomically(folder / f"{options.kind}.json", json.dumps(figures, indent=1) + "\n")
    write_text_atomically(folder / f"{options.kind}.md", text + "\n")
    if options.document:
        write_section(options.document, options.kind, text)
    print(text)
    return 0


def _remarks(lines: Sequence[tuple[Line, Any]]) -> list[str]:
    """The note of each row, and whether it is no better than the mean place, where that row is among them."""
    floor = [overall["mre_mm"]["value"] for line, overall in lines if line.row.key == MEAN_PLACE]
    said = []
    for line, overall in lines:
        value = overall["mre_mm"]["value"]
        worse = bool(floor) and line.row.key != MEAN_PLACE and (value is None or value >= floor[0])
        said.append("; ".join(filter(None, (line.row.note, "no better than the mean place" if worse else ""))))
    return said


KINDS: dict[str, Callable[[Experiment, argparse.Namespace], int]] = {
    "seeds": seeds_command,
    "curve": curve_command,
    "ablation": ablation_command,
    "hands": hands_command,
    "papers": papers_command,
    "sources": sources_command,
}
