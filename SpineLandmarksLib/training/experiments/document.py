"""One named section of a Markdown file, between two comments, so that a command can write its table again in place.

Section "seeds" lies between <!-- seeds:begin --> and <!-- seeds:end -->, each on a line of its own.
"""

from __future__ import annotations

from pathlib import Path

from SpineLandmarksLib.errors import OutputError
from SpineLandmarksLib.formats.atomic import write_text_atomically


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
