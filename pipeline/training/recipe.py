"""Recipes: which parser to train, on which losses, by which schedule. Each is a small TOML file in `recipes/`."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from ...models.config import ParserConfig
from ...models.losses import Objective
from ...weights.toml import parse_toml
from ..errors import SetupError
from ..files import is_file
from ..precisions import TRAINING_PRECISIONS
from ..text import escape

RECIPES_FOLDER = Path(__file__).with_name("recipes")
DEFAULT_RECIPE = "leap-published"
OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
LR_SCHEDULES = ("step", "cosine")
_MAX_SEED = 2**32 - 1
_TABLES = ("model", "objective", "training")
# What the data decides, not the recipe.
_FROM_DATA = {"labels", "audio_dim", "visual_2d_dim", "visual_3d_dim", "label_embedding_dim", "segments"}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long and how fast to learn. Raises ValueError for what cannot be."""

    epochs: int = 30
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    schedule: str = "step"
    step_epochs: int = 10  # step: epochs after which the rate is multiplied by step_factor
    step_factor: float = 0.1
    warmup_epochs: int = 0  # cosine: epochs over which the rate grows linearly
    final_learning_rate: float = 1e-6  # cosine: rate of the last epoch
    clip_norm: float = 0.0  # largest norm of all gradients together; 0: not clipped
    precision: str = "fp32"  # of the forward pass; losses, parameters and optimizer stay in float32
    seed: int = 1

    def __post_init__(self) -> None:
        choices = {"optimizer": OPTIMIZERS, "schedule": LR_SCHEDULES, "precision": TRAINING_PRECISIONS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, not one of {', '.join(allowed)}")
        if min(self.epochs, self.batch_size, self.step_epochs) < 1:
            raise ValueError("epochs, batch_size and step_epochs must be at least 1")
        numbers = {name: value for name, value in vars(self).items() if isinstance(value, float | int)}
        for name, value in numbers.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; it must be a number that is not negative")
        if self.seed > _MAX_SEED:
            raise ValueError(f"seed is {self.seed}; it must be at most {_MAX_SEED}")
        if self.learning_rate == 0 or max(self.beta1, self.beta2) >= 1:
            raise ValueError("learning_rate must be above 0, beta1 and beta2 below 1")

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0.

        "step" is torch's StepLR. "cosine" is VALOR's: from the first epoch to `warmup_epochs` a line up to
        learning_rate, then half a cosine down to final_learning_rate in the last.
        """
        if self.schedule == "step":
            return self.learning_rate * self.step_factor ** (epoch // self.step_epochs)
        current = epoch + 1  # VALOR counts from 1
        if current < self.warmup_epochs:
            return self.learning_rate * current / self.warmup_epochs
        part = (current - self.warmup_epochs) / max(self.epochs - self.warmup_epochs, 1)
        span = self.learning_rate - self.final_learning_rate
        return self.final_learning_rate + 0.5 * span * (1 + math.cos(math.pi * part))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A parser, an objective and a schedule. `model` holds settings of ParserConfig that do not come from the data."""

    name: str
    description: str = ""
    model: Mapping[str, Any] = field(default_factory=dict)
    objective: Objective = field(default_factory=Objective)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def parser_config(
        self, labels: Iterable[str], dims: Iterable[int], segments: int, width: int | None
    ) -> ParserConfig:
        """The configuration for a data set: its C labels, feature widths, T, and the width of its label embeddings.

        Raises SetupError where the settings cannot go together.
        """
        audio, visual_2d, visual_3d = dims
        given = {} if width is None else {"label_embedding_dim": width}
        try:
            return ParserConfig(
                labels=tuple(labels), audio_dim=audio, visual_2d_dim=visual_2d, visual_3d_dim=visual_3d,
                segments=segments, **given, **self.model,
            )  # fmt: skip
        except (TypeError, ValueError) as error:
            raise SetupError(f"recipe {self.name}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; `make_recipe` reverses it."""
        return {
            "name": self.name,
            "description": self.description,
            "model": dict(self.model),
            "objective": asdict(self.objective),
            "training": asdict(self.training),
        }


def list_recipes() -> list[str]:
    """Names of the recipes that ship with the program."""
    return sorted(path.stem for path in RECIPES_FOLDER.glob("*.toml"))


def load_recipe(name_or_file: str, changes: Iterable[str] = ()) -> Recipe:
    """A shipped recipe by name, or a TOML file; then ``table.key=value`` changes, values as TOML writes them.

    Raises SetupError for what is neither, and for settings that do not exist or cannot be.
    """
    path = RECIPES_FOLDER / f"{name_or_file}.toml" if name_or_file in list_recipes() else Path(name_or_file)
    if not is_file(path):
        known = ", ".join(list_recipes())
        raise SetupError(f"unknown recipe {name_or_file!r}: neither a file nor one of {known}")
    try:
        document = parse_toml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SetupError(f"{escape(path)}: not a readable recipe: {error}") from error
    for change in changes:
        _apply(document, change)
    return make_recipe({"name": path.stem, **document})


def make_recipe(document: Mapping[str, Any]) -> Recipe:
    """A recipe from its tables. Raises SetupError for settings that do not exist or cannot be."""
    name = document.get("name", "recipe")
    try:
        for entry in ("name", "description"):
            if not isinstance(document.get(entry, ""), str):
                raise ValueError(f"{entry} is {document[entry]!r}, expected text")
        unknown = set(document) - {entry.name for entry in fields(Recipe)}
        if unknown:
            raise ValueError(f"unknown table {', '.join(sorted(unknown))}")
        return Recipe(
            name=name,
            description=document.get("description", ""),
            model=_checked(ParserConfig, "model", document, _FROM_DATA),
            objective=Objective(**_checked(Objective, "objective", document)),
            training=TrainingConfig(**_checked(TrainingConfig, "training", document)),
        )
    except (TypeError, ValueError) as error:
        raise SetupError(f"recipe {escape(name)}: {error}") from error


def _checked(
    kind: type[Objective | TrainingConfig | ParserConfig],
    table: str,
    document: Mapping[str, Any],
    hidden: Collection[str] = (),
) -> dict[str, Any]:
    """The entries of a table, each of the type of its field's default."""
    defaults = {entry.name: entry.default for entry in fields(kind) if entry.name not in hidden}
    values = document.get(table, {})
    if not isinstance(values, Mapping):
        raise ValueError(f"{table} is {values!r}, expected a table")
    values = dict(values)
    for name, value in values.items():
        if name not in defaults:
            raise ValueError(f"unknown setting {table}.{name}; known: {', '.join(defaults)}")
        if isinstance(defaults[name], float) and type(value) is int:
            values[name] = float(value)
        elif type(value) is not type(defaults[name]):
            wanted = type(defaults[name]).__name__
            raise ValueError(f"{table}.{name} is {value!r}, expected {wanted}")
    return values


def _apply(document: dict[str, Any], change: str) -> None:
    key, separator, text = change.partition("=")
    table, dot, name = key.strip().partition(".")
    if not separator or not dot:
        raise SetupError(f"{change!r} is not a change like training.epochs=5")
    try:
        parsed = parse_toml(f"value = {text}")
    except ValueError:
        parsed = {"value": text.strip()}  # a bare word is a string
    if len(parsed) != 1:
        raise SetupError(f"{change!r} is more than one change")
    if table not in _TABLES:
        raise SetupError(f"{change!r}: unknown table {escape(table)}; known: {', '.join(_TABLES)}")
    if not isinstance(document.setdefault(table, {}), dict):
        raise SetupError(f"{change!r}: {table} is no table in this recipe")
    document[table][name] = parsed["value"]
