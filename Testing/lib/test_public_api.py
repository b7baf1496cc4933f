"""The public names: which there are, that each resolves, and that each is documented by an example that runs."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys

import pytest

import SpineLandmarksLib

PUBLIC = {
    "LUMBAR11",
    "Landmark",
    "LandmarkSet",
    "Localizer",
    "SagittalStack",
    "SpineLandmarksError",
    "load_bundle",
    "predict_study",
    "read_csv",
    "read_json",
    "read_markups",
    "read_study",
    "write_csv",
    "write_json",
    "write_markups",
}


def test_the_public_names_are_these_and_no_others() -> None:
    assert set(SpineLandmarksLib.__all__) == PUBLIC
    assert set(dir(SpineLandmarksLib)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC - {"LUMBAR11"}))
def test_each_name_has_a_docstring_with_an_example(name: str) -> None:
    public = getattr(SpineLandmarksLib, name)
    assert public.__module__.startswith("SpineLandmarksLib.")
    (documented,) = doctest.DocTestFinder(recurse=False).find(public, name)
    assert documented.examples


def test_the_names_of_the_landmarks_are_a_constant() -> None:
    assert len(SpineLandmarksLib.LUMBAR11) == 11


def test_a_name_that_is_not_public_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'hold'"):
        _ = SpineLandmarksLib.hold  # type: ignore[attr-defined]


def test_predict_stays_the_module_whatever_was_imported_before() -> None:
    """Bundles name SpineLandmarksLib.predict.Localizer, so that the function cannot have the package's `predict`."""
    module = importlib.import_module("SpineLandmarksLib.predict")
    assert SpineLandmarksLib.predict is module
    assert SpineLandmarksLib.predict_study is module.predict


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = {"numpy", "SimpleITK", "torch", "monai", "pydicom", "nibabel", "PIL", "onnxruntime"}
    code = f"import sys, SpineLandmarksLib; dir(SpineLandmarksLib); print(*{heavy!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
