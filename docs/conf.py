"""The documentation site: `make docs` builds it from this folder, without network, and every warning is an error."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from SpineLandmarksLib import __version__

project = "SpineLandmarks"
author = copyright = "SpineLandmarks developers"
version = release = __version__
html_title = f"SpineLandmarks {__version__}"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxarg.ext"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False
html_math_renderer = "mathml"  # MathJax, the default, is fetched from another server
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"

myst_enable_extensions = ["dollarmath", "attrs_inline"]
myst_heading_anchors = 4

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300

default_role = "literal"
highlight_language = "none"  # blocks without a language hold commands
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_custom_sections = ["Source"]
STARS = re.compile(r"(?<![`\w])(\*{1,2}|\|)(?=\w)")
#: Sections of a docstring, whose lines are indented without being a block.
SECTIONS = ("Args:", "Attributes:", "Returns:", "Raises:", "Source:", "Yields:")


def as_written(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings are written for people: stars and bars are themselves, a hanging indent ends no paragraph, and an
    indented block after an empty line is a formula or a table, shown as it stands."""
    shown: list[str] = []
    before, inside = "", ""  # the line before; the section or block that an indented line belongs to
    for line in lines:
        is_indented = line.startswith("    ")
        if line and not is_indented:
            inside = line if line in SECTIONS else ""
        elif is_indented and not inside and not before:
            inside = "block"
            shown += ["::", ""]
        hangs = is_indented and not inside
        before = line
        if inside != "block" and not line.lstrip().startswith(">>>"):
            line = STARS.sub(r"\\\1", line.lstrip() if hangs else line)
        shown.append(line)
    lines[:] = shown


def inline_formula(self: Any, node: nodes.Element) -> None:
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def formula(self: Any, node: nodes.Element) -> None:
    self.body.append(f'<div class="math" tabindex="0">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


#: What the theme and Sphinx leave out for those who use a keyboard or a screen reader (found by axe-core).
ACCESSIBLE = {'role="heading"><span': 'role="heading" aria-level="2"><span', "<pre>": '<pre tabindex="0">'}


def make_accessible(app: Any, error: Exception | None) -> None:
    """What scrolls can be reached with Tab, and headings have a level."""
    for page in Path(app.outdir).rglob("*.html") if error is None else ():
        text = page.read_text(encoding="utf-8")
        for lacking, whole in ACCESSIBLE.items():
            text = text.replace(lacking, whole)
        page.write_text(text, encoding="utf-8")


def setup(app: Any) -> None:
    app.add_html_math_renderer("mathml", (inline_formula, None), (formula, None))
    app.connect("build-finished", make_accessible)
    app.connect("autodoc-process-docstring", as_written, priority=400)  # before napoleon, which indents
