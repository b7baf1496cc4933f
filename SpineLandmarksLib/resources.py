"""Where the shipped files are: beside the library in the source tree and in Slicer, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

from SpineLandmarksLib.errors import BundleError

LIBRARY = Path(__file__).resolve().parent


def models_folder() -> Path:
    """The folder of the shipped model bundles, one folder each.

    Raises BundleError when the installation has none.
    """
    # Inside first: beside an installed library lie other people's packages.
    places = [LIBRARY / "Resources" / "Models", LIBRARY.parent / "Resources" / "Models"]
    for place in places:
        if place.is_dir():
            return place
    raise BundleError(f"Expected the shipped models in {' or '.join(map(str, places))}; got neither. Install again")
