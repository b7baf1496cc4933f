"""A measurement: a number with what it means, how sure it is, and what is usual; or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass

COLUMNS = (
    *("name", "value", "unit", "definition", "source"),
    *("low95", "high95", "usual_low", "usual_high", "usual_source", "grade", "reason"),
)


@dataclass(frozen=True)
class UsualRange:
    """What literature found in people: low to high, of whom and by whom. No limit of health or disease."""

    low: float
    high: float
    source: str


@dataclass(frozen=True)
class Measurement:
    """value: None where a landmark that it needs has no position, or cannot be relied on: `reason` says which.

    unit: mm, deg, % or 1. interval95: that holds the true value in 95 of 100 cases, from the radii of the points; None
    where a point has none, as those that people place. usual: from literature, None where it has none that fits.
    grade: on a named scale, with its limits. points: names of the landmarks that it is taken from.
    """

    name: str
    value: float | None
    unit: str
    definition: str
    source: str
    interval95: tuple[float, float] | None = None
    usual: UsualRange | None = None
    grade: str = ""
    reason: str = ""
    points: tuple[str, ...] = ()

    def row(self) -> tuple[str, ...]:
        """The cells of `COLUMNS`; an unknown value is an empty cell."""
        low, high = self.interval95 or (None, None)
        usual = (self.usual.low, self.usual.high, self.usual.source) if self.usual else (None, None, "")
        numbers = [_cell(number) for number in (low, high, *usual[:2])]
        return (
            *(self.name, _cell(self.value), self.unit, self.definition, self.source),
            *(*numbers, usual[2], self.grade, self.reason),
        )

    def as_json(self) -> dict[str, object]:
        """Names of `COLUMNS`, numbers as numbers, null where unknown."""
        low, high = self.interval95 or (None, None)
        return {
            "name": self.name,
            "value": _rounded(self.value),
            "unit": self.unit,
            "low95": _rounded(low),
            "high95": _rounded(high),
            "usual_low": self.usual and self.usual.low,
            "usual_high": self.usual and self.usual.high,
            "usual_source": self.usual and self.usual.source,
            "grade": self.grade or None,
            "reason": self.reason or None,
            "points": list(self.points),
            "definition": self.definition,
            "source": self.source,
        }

    @property
    def words(self) -> str:
        """The value with its interval, or why there is none, for a screen.

        >>> Measurement("Sacral slope", 38.04, "deg", "", "", (34.5, 41.6)).words
        '38.0° (34.5 to 41.6)'
        """
        if self.value is None:
            return self.reason or "unknown"
        unit = {"deg": "°", "1": ""}.get(self.unit, f" {self.unit}")
        interval = "" if self.interval95 is None else f" ({self.interval95[0]:.1f} to {self.interval95[1]:.1f})"
        digits = 2 if self.unit == "1" else 1
        return f"{self.value + 0.0:.{digits}f}{unit}{interval if self.unit != '1' else _fine(self.interval95)}"


def _fine(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})"


def _cell(number: float | None) -> str:
    return "" if number is None else f"{number + 0.0:.2f}"


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number + 0.0, 3)
