"""`summary.json` and `summary.csv`: a row for each study, localized in this run, in an earlier one, or not."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from SpineLandmarksLib.batch.names import SUMMARY
from SpineLandmarksLib.formats.atomic import write_text_atomically

#: status: `done`, `kept` (done in an earlier run and not changed since) or `failed`. confidence: of the least sure.
COLUMNS = (
    "study",
    "input",
    "status",
    "slice_index",
    "landmarks",
    "least_sure",
    "confidence",
    "needs_review",
    "warnings",
    "runtime_s",
    "error",
)


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
