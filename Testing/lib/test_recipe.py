"""Recipes and settings: what is shipped loads, what is wrong is told."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from SpineLandmarksLib.errors import RecipeError
from SpineLandmarksLib.model import Architecture
from SpineLandmarksLib.settings import from_dict, to_dict
from SpineLandmarksLib.training.recipe import RECIPES, Recipe, load_recipe

SHIPPED = sorted(path.stem for path in RECIPES.glob("*.yaml"))


@dataclass(frozen=True)
class Inner:
    share: float = 0.5
    pair: tuple[int, int] = (1, 2)


@dataclass(frozen=True)
class Outer:
    count: int = 1
    flag: bool = False
    word: str = "a"
    inner: Inner = field(default_factory=Inner)
    any_length: tuple[float, ...] = ()
    maybe: dict[str, Any] | None = None


@pytest.fixture
def written(tmp_path):
    """Writes a recipe file and gives its path."""

    def write(text):
        path = tmp_path / "mine.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def test_recipes_are_shipped():
    assert {"default", "scn", "seed"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_loads_and_survives_a_round_trip(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert from_dict(Recipe, json.loads(json.dumps(to_dict(recipe))), "json") == recipe


def test_a_file_says_only_what_differs(written):
    recipe = load_recipe(written("{steps: 7, learning_rate: 1e-3, geometry: {rotation: 5}, crop: [64, 96]}"))
    assert (recipe.name, recipe.steps, recipe.learning_rate, recipe.crop) == ("mine", 7, 0.001, (64, 96))
    assert recipe.geometry.rotation == 5.0
    assert recipe.geometry.scale == (0.7, 1.3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{stepz: 7}", "stepz"),
        ("{geometry: {spin: 3}}", r"mine\.yaml, geometry.*spin"),
        ("{architecture: {preparation: {}}}", "preparation"),
        ("{3: 4}", "got 3"),
        ("{steps: many}", "steps: expected int"),
        ("{steps: true}", "steps: expected int"),
        ("{steps: 0}", "positive steps"),
        ("{learning_rate: fast}", "learning_rate: expected a number"),
        ("{learning_rate: .nan}", "learning_rate: expected a number"),
        ("{learning_rate: true}", "learning_rate: expected a number"),
        ("{geometry: 3}", "geometry: expected settings"),
        ("{crop: 256}", "crop: expected a list"),
        ("{crop: [256]}", "crop: expected 2 values"),
        ("{crop: [256, wide]}", "crop: expected int"),
        ("{crop: [255, 256], architecture: {stride: 2, heatmap: {network: unet, stride: 2}}}", "divides by stride 2"),
        ("{geometry: {scale: [small, 2]}}", "scale: expected a number"),
        ("{optimizer: lion}", "adamw"),
        ("{precision: fp8}", "bf16"),
        ("{preparation: {resize: squeeze}}", "'spacing' or 'plain'"),
        ("{architecture: {heatmap: unet}}", "heatmap: expected settings"),
        ("{architecture: {heatmap: {network: resnet}}}", "unet, scn_original"),
        ("{architecture: {heatmap: {filters: [8]}}}", "unet, scn_original"),
        ("{architecture: {heatmap: null}}", "got neither"),
        ("{architecture: {heatmap_loss: dice}}", "softmax_cross_entropy"),
        ("{architecture: {stride: 2}}", "stride of the heatmap network, 1; got 2"),
        ("{architecture: {candidates: 0}}", "at least 1"),
        ("[1, 2]", "Expected settings"),
        ("{steps: [", "Expected YAML"),
        (b"\xff\xfe\x00steps", "Expected YAML"),
        ("", "Expected settings"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_told(written, text, told):
    with pytest.raises(RecipeError, match=told):
        load_recipe(written(text))


@pytest.mark.parametrize("name", ["defualt", "nowhere/mine.yaml", ""])
def test_a_recipe_that_is_not_there_is_answered_with_those_that_are(name):
    with pytest.raises(RecipeError, match=", ".join(SHIPPED)):
        load_recipe(name)


def test_a_folder_is_no_recipe(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(RecipeError, match="Expected a recipe file"):
        load_recipe(str(tmp_path / "folder.yaml"))


def test_settings_of_every_kind_make_a_round_trip():
    outer = Outer(3, True, "b", Inner(0.25, (4, 5)), (1.0, 2.5, 3.0), {"k": [1, None]})
    values = to_dict(outer)
    assert json.loads(json.dumps(values)) == values
    assert from_dict(Outer, values, "here") == outer
    assert from_dict(Outer, {}, "here") == Outer()


def test_an_unknown_setting_is_told_with_its_place_and_the_known_ones():
    with pytest.raises(RecipeError, match="here, inner: expected settings of share, pair; got bulk"):
        from_dict(Outer, {"inner": {"bulk": 1}}, "here")


@pytest.mark.parametrize(
    "values",
    [
        {"count": 1.5},
        {"count": True},
        {"flag": 1},
        {"word": 3},
        {"inner": None},
        {"any_length": "12"},
        {"any_length": [1, "x"]},
        {"maybe": 3},
        {"inner": {"pair": [1, 2, 3]}},
        {"inner": {"share": float("inf")}},
        {"inner": {"share": None}},
        {"inner": {"share": 10**400}},
    ],
)
def test_a_setting_of_the_wrong_kind_is_refused(values):
    with pytest.raises(RecipeError, match=r"here, .*expected"):
        from_dict(Outer, values, "here")


def test_an_architecture_without_any_network_is_refused():
    with pytest.raises(RecipeError, match="got neither"):
        Architecture(heatmap=None, direct=None)
