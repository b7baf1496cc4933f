"""What each source of training data buys: a recipe on all of them, and without one or a few, judged on the locked
hold-out of every source.

A source is worth what its absence costs on the hold-outs of the *others*: on its own any source helps. Levels that the
networks see are told by the points within 8 mm, half of what lies between neighbouring landmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from research.experiments.budget import shortened
from research.experiments.experiment import Experiment, Part
from research.experiments.rows import ExperimentRow, Line, Predictor, judged, predictor_of
from research.markdown import estimate, markdown, mm, percent
from SpineLandmarksLib.annotated_slices import load_annotations
from SpineLandmarksLib.errors import OutputError
from SpineLandmarksLib.evaluation.metrics import summarize
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.splits import load_extra, locked_patients, refuse_repeated, refuse_shared, with_extra

Source = tuple[Path, float | None]
ALL = "all sources"


@dataclass(frozen=True)
class Judged:
    """A row on the hold-out of one source. seen: whether the row has learned from other patients of that source."""

    line: Line
    source: str
    patients: int
    seen: bool


def sources_rows(
    sources: Sequence[Source], without: Sequence[Sequence[str]], recipe: str, steps: int
) -> list[ExperimentRow]:
    """All sources, then each group of them left out. OutputError for a name that is no source, and for all of them."""
    names = [folder.name for folder, _ in sources]
    unknown = sorted({name for group in without for name in group} - set(names))
    if unknown:
        raise OutputError(f"Expected to leave out sources of {', '.join(names)}; got {', '.join(unknown)}")
    rows = []
    for group in [(), *without]:
        kept = [source for source in sources if source[0].name not in group]
        title = f"without {' and '.join(group)}" if group else ALL
        key = f"without-{'-'.join(group)}" if group else "all"
        if not kept:
            raise OutputError("Expected a source that is left to learn from; got all of them left out")
        rows.append(ExperimentRow(key, title, "chain", _entering(key, kept, recipe, steps)))
    return rows


def _entering(
    key: str, kept: Sequence[Source], recipe_name: str, steps: int
) -> Callable[[Experiment, Part], Predictor]:
    def enter(experiment: Experiment, part: Part) -> Predictor:
        recipe = shortened(experiment.recipe_of(recipe_name), steps)
        learn, weight = with_extra([], _with_a_rest(kept), experiment.schema)
        detector, training = experiment.trained(key, Part("every-source", learn, [], weight=weight), recipe)
        return predictor_of(detector, training, recipe, "chain", learn, experiment.schema)

    return enter


def _with_a_rest(kept: Sequence[Source]) -> list[Source]:
    """Where every source has a share of the draws, the one of the largest takes what the others leave."""
    if any(share is None for _, share in kept):
        return list(kept)
    rest, _ = max(kept, key=lambda source: source[1] or 0.0)
    return [(folder, None if folder == rest else share) for folder, share in kept]


def run_sources(
    experiment: Experiment, rows: Sequence[ExperimentRow], sources: Sequence[Source], separate_patients: bool
) -> list[Judged]:
    """Each row on the locked hold-out of each source that has one.

    Raises DatasetError for a patient that judges and is learned from elsewhere, unless each source numbers its own.
    """
    schema = experiment.schema
    refuse_repeated([folder for folder, _ in sources])
    if not separate_patients:
        refuse_shared(load_extra(sources, schema), {})
    judges = {folder: _locked_rows(folder, schema) for folder, _ in sources}
    if not any(judges.values()):
        raise OutputError("Expected a locked hold-out in a source to judge on; got none. See: python -m research.data")
    found = []
    for row in rows:
        for folder, judge in judges.items():
            if not judge:
                continue
            line = judged(replace(experiment, data=folder), row, Part(folder.name, [], judge))
            left_out = row.title.removeprefix("without ").split(" and ") if row.title != ALL else []
            patients = len({each.group for each in judge})
            found.append(Judged(line, folder.name, patients, folder.name not in left_out))
    return found


def _locked_rows(folder: Path, schema: Sequence[str]) -> list[Annotation]:
    """None where a source has no hold-out, or locks patients that judge in another."""
    locked = locked_patients(folder)
    return [row for row in load_annotations([folder], schema) if row.group in locked]


def sources_table(rows: Sequence[Judged]) -> str:
    """A line for each row and hold-out: the share within 8 and 4 mm, the median, and images wholly right."""
    head = ["learned from", "judged on", "patients", "SDR@8, %", "SDR@4, %", "median, mm", "images wholly right, %"]
    body = []
    for source in dict.fromkeys(each.source for each in rows):
        for each in (each for each in rows if each.source == source):
            overall = summarize(each.line.predictions)["overall"]
            cells = [estimate(overall["sdr"][t], percent) for t in ("8", "4")]
            cells += [estimate(overall["median_mm"], mm), estimate(overall["images_within_8_mm"], percent)]
            body.append(
                [each.line.row.title, source if each.seen else f"{source}, never seen", str(each.patients), *cells]
            )
    return markdown(head, body)
