"""Many studies: files are written whole, one failure does not stop the rest, and an interrupted run can be resumed.

A run ends with `summary.json` and `summary.csv`: a row for each study, done in this run, in an earlier one, or not.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpineLandmarksLib import __version__
from SpineLandmarksLib.arguments import DICOM_NAMES
from SpineLandmarksLib.batch.ledger import FILE_NAME, Entry, Ledger, fingerprint, settings_of
from SpineLandmarksLib.batch.local import BatchSettings, Engine, LocalEngine
from SpineLandmarksLib.batch.results import (
    FAILED,
    SUMMARY,
    BatchItem,
    Outcome,
    drop_stale,
    explain,
    found_in,
    in_lines,
    named,
    prepare_output,
    put_aside,
    result_files,
)
from SpineLandmarksLib.bundle import identity
from SpineLandmarksLib.errors import SpineLandmarksError
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.predict import Localizer

if TYPE_CHECKING:
    from SpineLandmarksLib.batch.progress import ProgressBar

#: status: `done`, `kept` (done in an earlier run and not changed since) or `failed`. confidence: of the least sure.
COLUMNS = tuple(
    "study input status slice_index landmarks least_sure confidence needs_review warnings runtime_s error".split()
)


def predict_all(
    inputs: Sequence[Path],
    engine: Engine | Localizer,
    output: Path,
    formats: Sequence[str],
    spacing_mm: float | tuple[float, float] | None = None,
    slice_index: int | None = None,
    *,
    study: str | None = None,
    every_series: bool = False,
    tree: bool = False,
    resume: bool = False,
    progress: bool = False,
    deliver: Callable[[list[Path]], object] | None = None,
    known_as: str = "",
) -> int:
    """Predict each input into `output`. Returns 0, 1 when some of several failed, or 2 when the only one did.

    study, every_series: as of `read_study`. tree: inputs are searched for studies. resume: studies that an earlier
    run finished are kept, unless they, the bundle or the options have changed. progress: tell how far it is, on stderr;
    on a terminal it is told anyway. deliver: takes the report and the capture of each study that is done, also by an
    earlier run; what it raises is a failure of the study, whose files stay. known_as: what results call the one input.
    Raises OutputError when nothing can be written, InputError when a tree has no studies.
    """
    prepare_output(output)
    found = found_in(inputs, spacing_mm is not None, output) if tree else named(inputs, known_as)
    studies = list({study.stem: study for study in found}.values())  # an input that was given twice
    engine = LocalEngine(engine) if isinstance(engine, Localizer) else engine
    settings = BatchSettings(tuple(formats), spacing_mm, slice_index, study, every_series)
    run = Run(engine, output, settings, studies, tree or len(inputs) > 1)
    with contextlib.closing(run):
        run.go(resume, progress, deliver)
    return 0 if not run.failed else 2 if len(studies) == 1 else 1


class Run:
    """One run of the command over its studies."""

    def __init__(
        self, engine: Engine, output: Path, settings: BatchSettings, studies: list[BatchItem], is_many: bool
    ) -> None:
        self.engine, self.output, self.settings, self.studies = engine, output, settings, studies
        self.is_many = is_many
        self.failed: list[dict[str, str]] = []
        self.rows: dict[str, Entry] = {}
        self.described = {
            "program": __version__,
            "bundle": engine.bundle.label,
            "bundle_sha256": identity(engine.bundle),
            "backend": engine.backend,
            **asdict(settings),
        }
        has_ledger = is_many or (output / FILE_NAME).exists()
        self.ledger = Ledger(output, settings_of(self.described)) if has_ledger else None
        self._before: dict[BatchItem, str | None] = {}
        self._progress: ProgressBar | None = None

    def close(self) -> None:
        if self.ledger:
            self.ledger.close()

    def go(self, resume: bool, progress: bool, deliver: Callable[[list[Path]], object] | None = None) -> None:
        """Do all studies, and say at the end, or where it is interrupted, how it went."""
        if len(self.studies) > 1 and (progress or sys.stderr.isatty()):
            from SpineLandmarksLib.batch.progress import ProgressBar

            self._progress = ProgressBar(sys.stderr, len(self.studies))
        try:
            with contextlib.closing(self.engine.outcomes(self._to_do(resume), self.settings)) as outcomes:
                for outcome in outcomes:
                    self._record(outcome)
                    del outcome  # it holds a stack
            if deliver:
                self._deliver(deliver)
        finally:  # also when the user interrupts
            self._report()

    def _to_do(self, resume: bool) -> Iterator[BatchItem]:
        """The studies in turn, without those that are finished."""
        for study in self.studies:
            entry = self._finished(study) if resume else None
            if entry is not None:
                self.rows[study.stem] = {**entry, "status": "kept"}
                self._count(is_work=False)
                continue
            self._before[study] = fingerprint(study.path)  # before it is read: what changes meanwhile counts as changed
            yield study

    def _finished(self, study: BatchItem) -> Entry | None:
        entry = self.ledger.done(study) if self.ledger else None
        names = result_files(study.stem, self.settings.formats)
        return entry if entry and all((self.output / name).is_file() for name in names) else None

    def _record(self, outcome: Outcome) -> None:
        """Write the files of a study, or put away those of an earlier run, and then say so in the ledger."""
        study = outcome.study
        if self.ledger:
            self.ledger.begin(study)
        if outcome.write:
            outcome = self._written(outcome, outcome.write)
        if outcome.error:
            with contextlib.suppress(OSError):  # the failure is told in any case
                put_aside(self.output, study.stem)
            self.failed.append({"input": study.label, **outcome.error})
        status = {"status": "failed", "error": outcome.error["error"]} if outcome.error else {"status": "done"}
        row = {"study": study.stem, "input": study.label, **status, **outcome.row}
        self.rows[study.stem] = row
        if self.ledger:
            self.ledger.end(study, row, self._before[study])
        self._tell(outcome)

    def _deliver(self, deliver: Callable[[list[Path]], object]) -> None:
        for study in self.studies:
            if self.rows.get(study.stem, {}).get("status") not in ("done", "kept"):
                continue
            try:
                deliver([self.output / f"{study.stem}.{name}" for name in DICOM_NAMES.values()])
            except SpineLandmarksError as error:
                self.failed.append({"input": study.label, "error": str(error)})
                print(f"spine-landmarks: {study.label}: {error}", file=sys.stderr)

    def _written(self, outcome: Outcome, write: Callable[[Path], object]) -> Outcome:
        try:
            write(self.output)
            drop_stale(self.output, outcome.study.stem, self.settings.formats)
        except Exception as error:
            return Outcome(outcome.study, error=explain(error))
        return replace(outcome, write=None)

    def _tell(self, outcome: Outcome) -> None:
        if self._progress:
            self._progress.clear()
        if outcome.error:
            print(f"spine-landmarks: {outcome.study.label}: {outcome.error['error']}", file=sys.stderr)
        else:
            print(in_lines(outcome.headline, self.output / outcome.study.stem, outcome.remarks))
        self._count(is_work=True, is_failure=outcome.error is not None)

    def _count(self, is_work: bool, is_failure: bool = False) -> None:
        if self._progress:
            self._progress.count(is_work, is_failure)

    def _report(self) -> None:
        """`failed.json`, the summary and a last line."""
        if self._progress:
            self._progress.close()
        if self.failed:
            write_text_atomically(self.output / f"{FAILED}.json", json.dumps(self.failed, indent=2) + "\n")
        if self.is_many:
            rows = [self.rows[study.stem] for study in self.studies if study.stem in self.rows]
            write_summary(self.output, rows, len(self.studies), self.described)
            print(self._last_line())

    def _last_line(self) -> str:
        kept = sum(row["status"] == "kept" for row in self.rows.values())
        parts = [f"{len(self.rows) - len(self.failed)} of {len(self.studies)} studies localized"]
        parts += [f"{kept} of them by an earlier run"] if kept else []
        parts += [f"failures in {self.output / FAILED}.json"] if self.failed else []
        parts += ["--resume goes on from here"] if len(self.rows) < len(self.studies) else []
        return "; ".join(parts)


def write_summary(output: Path, rows: list[dict[str, Any]], studies: int, settings: dict[str, Any]) -> None:
    """Write both files. studies: how many there were, of which those without a row were not reached.

    Raises OutputError.
    """
    counts = {status: sum(row["status"] == status for row in rows) for status in ("done", "kept", "failed")}
    content = {
        "studies": studies,
        **counts,
        "not_reached": studies - len(rows),
        "needs_review": sum(bool(row.get("needs_review")) for row in rows),
        "settings": settings,
        "rows": [{column: row.get(column) for column in COLUMNS} for row in rows],
    }
    write_text_atomically(output / f"{SUMMARY}.json", json.dumps(content, indent=1) + "\n")
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_atomically(output / f"{SUMMARY}.csv", table.getvalue())
