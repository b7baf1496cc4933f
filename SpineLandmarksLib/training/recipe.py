"""A training recipe: everything that decides what a network learns, as one YAML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from SpineLandmarksLib.errors import RecipeError
from SpineLandmarksLib.model import Architecture
from SpineLandmarksLib.settings import from_dict
from SpineLandmarksLib.training.augment import GeometrySettings, IntensitySettings
from SpineLandmarksLib.transforms import Preparation

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Recipe:
    """crop: (columns, rows) of a training image. sigma_px: of the heatmap target, input pixels.

    steps, batch: optimizer steps and images per step over all processes. ema: decay of the averaged weights that are
    kept, 0 for none. direct_loss: "mse" on coordinates divided by width and height as the seed paper has it, or
    "nll", the Gaussian negative log-likelihood, which also teaches the spread. fusion_weight: weight of the
    cross-entropy of the product, which is what a learned sigma learns from; fit_fusion sets sigma to the direct
    network's error on the held-out slices instead.
    """

    name: str
    architecture: Architecture = field(default_factory=Architecture)
    preparation: Preparation = field(default_factory=Preparation)
    geometry: GeometrySettings = field(default_factory=GeometrySettings)
    intensity: IntensitySettings = field(default_factory=IntensitySettings)
    crop: tuple[int, int] = (256, 256)
    sigma_px: float = 2.5
    learned_sigma: bool = False
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    schedule: str = "cosine"
    warmup: int = 100
    steps: int = 4000
    batch: int = 8
    ema: float = 0.995
    direct_loss: str = "nll"
    direct_weight: float = 1.0
    fusion_weight: float = 0.0
    fit_fusion: bool = False
    precision: str = "bf16"
    clip_norm: float = 5.0
    seed: int = 0
    note: str = ""

    def __post_init__(self) -> None:
        for name, allowed in (
            ("optimizer", ("adamw", "adam", "nesterov")),
            ("schedule", ("cosine", "constant")),
            ("direct_loss", ("mse", "nll")),
            ("precision", ("bf16", "float32")),
        ):
            if getattr(self, name) not in allowed:
                raise RecipeError(f"Recipe {self.name}: expected {name} of {allowed}; got {getattr(self, name)!r}")
        stride = self.architecture.stride
        if any(side < 1 or side % stride for side in self.crop):
            raise RecipeError(f"Recipe {self.name}: expected a crop that divides by stride {stride}; got {self.crop}")
        if self.steps < 1 or self.batch < 1 or self.learning_rate <= 0 or self.sigma_px <= 0:
            raise RecipeError(f"Recipe {self.name}: expected positive steps, batch, learning_rate and sigma_px")
        if self.fit_fusion and self.architecture.direct is None:
            raise RecipeError(f"Recipe {self.name}: expected a direct network for fit_fusion; got none")


def load_recipe(name_or_file: str) -> Recipe:
    """A shipped recipe by name, or any YAML file. RecipeError names what is unknown and what exists."""
    import yaml

    path = Path(name_or_file)
    if not path.suffix:
        path = RECIPES / f"{name_or_file}.yaml"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise RecipeError(f"Expected a recipe file or one of {shipped}; got {name_or_file!r}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"Expected YAML in {path}; got: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"Expected settings in {path}; got {type(values).__name__}")
    recipe: Recipe = from_dict(Recipe, {"name": path.stem, **values}, path.name)
    return recipe
