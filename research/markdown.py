"""Markdown that commands write: tables of estimates, and named sections of a document that are replaced in place.

Section "seeds" lies between <!-- seeds:begin --> and <!-- seeds:end -->, each on a line of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from SpineLandmarksLib.errors import OutputError
from SpineLandmarksLib.formats.atomic import write_text_atomically


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table, its pipes escaped."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def estimate(each: Mapping[str, float | None], show: Callable[[float], str]) -> str:
    """As text: "1.52 (1.40-1.66)"; a dash where nothing was found."""
    value, low, high = each["value"], each["low"], each["high"]
    if value is None:
        return "–"
    return show(value) if low is None or high is None else f"{show(value)} ({show(low)}–{show(high)})"


def mm(value: float) -> str:
    return f"{value:.2f}"


def percent(share: float) -> str:
    """One decimal; never 100.0 for less than all, nor 0.0 for more than none."""
    return f"{100 * share:.1f}" if share in (0.0, 1.0) else f"{min(max(100 * share, 0.1), 99.9):.1f}"


def write_section(path: Path, name: str, body: str) -> None:
    """Put `body` between the markers of section `name`; all other text stays as it is, byte for byte.

    A file without the section gets it at its end; a file that does not exist is made, with its folder.
    name: letters, digits, - and _. Raises OutputError when the markers are damaged or the file cannot be written.
    """
    try:
        text = path.read_bytes().decode("utf-8") if path.exists() else ""
        path.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f"Expected a Markdown file in UTF-8 at {path}; {error}") from error
    write_text_atomically(path, with_section(text, name, body, str(path)))


def with_section(text: str, name: str, body: str, where: str = "the text") -> str:
    """`text` with `body` between the markers of section `name`, at the end where there are none."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    section = f"{begin}\n{body.strip()}\n{end}"
    counts = text.count(begin), text.count(end)
    if counts == (0, 0):
        before = text.rstrip("\n")
        return f"{before}\n\n{section}\n" if before else f"{section}\n"
    if counts != (1, 1) or text.index(end) < text.index(begin):
        raise OutputError(
            f"Expected {begin} once in {where}, and {end} once after it; got {counts[0]} and {counts[1]}. "
            "Mend the markers, or take both out to have the section written at the end"
        )
    return text[: text.index(begin)] + section + text[text.index(end) + len(end) :]
