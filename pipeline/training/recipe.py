"""Recipes: settings of a network, its objective and its training, as TOML files in `recipes/`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, get_origin, get_type_hints

from ...models.config import PARTS, ParserConfig
from ...models.localizers.config import LocalizerConfig
from ...models.localizers.losses import LocalizationObjective
from ...models.losses import Objective
from ...models.open.adapter import AdapterConfig, AdapterObjective
from ...models.teacher import TeacherConfig, TeacherObjective
from ...weights.messages import shown
from ...weights.parts import is_reference, module_of
from ...weights.toml import parse_toml, read_toml
from ..errors import SetupError
from ..evaluation.selection import DEFAULT_SELECTION
from ..files import is_file
from ..text import escape
from .settings.stage import Stage, make_stages
from .settings.training_config import TrainingConfig

RECIPES_FOLDER = Path(__file__).with_name("recipes")
DEFAULT_RECIPE = "leap-published"
_MAX_NAME = 200  # characters of a recipe's name
_MAX_DESCRIPTION = 2_000  # characters of its description
_TABLES = ("model", "objective", "training")
_STAGE = "stage"
_FOUND_BY = {"labels": "relabel", "batches": "estimate"}  # training.denoise -> kind of the stage that it needs
_FILES = ("removed_labels", "noise_ratios")  # settings of training that name files
_OPTIONS = "_options"  # end of the names of tables with the settings of a part
_FROM_DATA = {"labels", "audio_dim", "label_embedding_dim", "segments"}  # settings that follow from the data


class _Task(NamedTuple):
    """What the tables of a task's recipes set.

    Attributes:
        model: the configuration of its networks.
        objective: the choice and the weights of its losses.
        from_data: settings of the model that follow from the data.
    """

    model: type[ParserConfig | LocalizerConfig | TeacherConfig | AdapterConfig]
    objective: type[Objective | LocalizationObjective | TeacherObjective | AdapterObjective]
    from_data: set[str]


_TASKS = {
    "avvp": _Task(ParserConfig, Objective, {*_FROM_DATA, "visual_2d_dim", "visual_3d_dim"}),
    "avel": _Task(LocalizerConfig, LocalizationObjective, {*_FROM_DATA, "visual_dim"}),
    "teacher": _Task(TeacherConfig, TeacherObjective, {"labels", "audio_dim", "visual_dim", "segments"}),
    "open": _Task(AdapterConfig, AdapterObjective, {"labels", "trained", "audio_dim", "visual_dim", "segments"}),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a network and of its training."""

    name: str
    description: str = ""  # one line for the list of recipes
    # "avvp", video parsing; "avel", localization of one audio-visual event a clip; "teacher", temporal teachers;
    # "open", temporal adapters, which find classes by their names
    task: str = "avvp"
    # Fields of ParserConfig, LocalizerConfig, TeacherConfig or AdapterConfig that do not follow from the data.
    model: Mapping[str, Any] = field(default_factory=dict)
    objective: Objective | LocalizationObjective | TeacherObjective | AdapterObjective = field(
        default_factory=Objective
    )
    training: TrainingConfig = field(default_factory=TrainingConfig)
    stages: tuple[Stage, ...] = ()  # the last one trains by the tables above
    # Packages whose parts it may name by "module:Name"; not in its file.
    trust: tuple[str, ...] = field(default=(), compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping; `make_recipe` reverses it."""
        return {
            "name": self.name,
            "description": self.description,
            **({} if self.task == "avvp" else {"task": self.task}),
            "model": dict(self.model),
            "objective": self.objective.to_dict(),
            "training": self.training.to_dict(),
            **({_STAGE: [stage.to_dict() for stage in self.stages]} if self.stages else {}),
        }

    def describe(self) -> dict[str, Any]:
        """Return the mapping of `to_dict` for other people: files are named without their folders."""
        document = self.to_dict()
        tables = [document["training"], *(stage.get("training", {}) for stage in document.get(_STAGE, []))]
        for table in tables:
            table |= {name: Path(table[name]).name for name in _FILES if name in table}
        return document

    def of_stage(self, stage: Stage) -> Recipe:
        """Return the recipe of a training stage, without stages of its own. Raises SetupError if it is invalid."""
        document = self.to_dict()
        document.pop(_STAGE, None)
        for table, changes in stage.tables.items():
            document[table] = {**document[table], **changes}
        last = bool(self.stages) and stage == self.stages[-1]
        name = self.name if last else f"{self.name[: _MAX_NAME - len(stage.name) - 1]}-{stage.name}"
        return make_recipe({**document, "name": name}, self.trust)


def list_recipes() -> list[str]:
    """Return the names of the recipes that ship with the program."""
    return sorted(path.stem for path in RECIPES_FOLDER.glob("*.toml"))


def load_recipe(name_or_file: str, changes: Iterable[str] = ()) -> Recipe:
    """Load a recipe that the user names, and change its settings. The parts that it names are trusted.

    Args:
        name_or_file: name of a shipped recipe, or a TOML file.
        changes: "table.key=value" each, with the value in TOML syntax; the quotes of a string may be left out.

    Returns:
        The recipe.

    Raises:
        SetupError: there is no such recipe, or a setting is unknown or invalid.
    """
    path = RECIPES_FOLDER / f"{name_or_file}.toml" if name_or_file in list_recipes() else Path(name_or_file)
    if not is_file(path):
        known = ", ".join(list_recipes())
        raise SetupError(f"unknown recipe {shown(name_or_file)}: neither a file nor one of {known}")
    try:
        document = read_toml(path)
    except ValueError as error:
        raise SetupError(f"{escape(path)}: not a readable recipe: {error}") from error
    for change in changes:
        _apply(document, change)
    _make_files_absolute(document)
    recipe = make_recipe({"name": path.stem, **document})
    named: list[str] = []
    for one in (recipe, *(recipe.of_stage(stage) for stage in recipe.stages[:-1] if stage.kind == "train")):
        losses = [one.objective.loss] if isinstance(one.objective, Objective) else []
        named += [*losses, *(one.model.get(part, "") for part in PARTS)]
    return replace(recipe, trust=tuple(dict.fromkeys(module_of(name) for name in named if is_reference(name))))


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """Change the number of epochs of a run.

    Args:
        recipe: of the run.
        epochs: in total.

    Returns:
        The changed recipe.

    Raises:
        SetupError: the learning rates of earlier epochs depend on the number of epochs, or it is out of range.
    """
    if recipe.training.schedule == "cosine" and epochs != recipe.training.epochs:
        raise SetupError(f"a {recipe.training.schedule} schedule depends on the number of epochs; start a new run")
    stages = recipe.stages
    if stages:  # those before the last keep their number
        kept = {"epochs": recipe.training.epochs}
        pinned = (
            replace(stage, tables={**stage.tables, "training": kept | dict(stage.tables.get("training", {}))})
            if stage.kind == "train"
            else stage
            for stage in stages[:-1]
        )
        stages = (*pinned, stages[-1])
    try:
        return replace(recipe, training=replace(recipe.training, epochs=epochs), stages=stages)
    except ValueError as error:
        raise SetupError(f"recipe {escape(recipe.name)}: {error}") from error


def make_recipe(document: Mapping[str, Any], trust: tuple[str, ...] = ()) -> Recipe:
    """Make a recipe from its tables.

    Args:
        document: as in a TOML file, with the recipe's name.
        trust: packages whose parts it may name by "module:Name".

    Returns:
        The recipe.

    Raises:
        SetupError: a setting is unknown or invalid.
    """
    name = document.get("name", "recipe")
    try:
        for entry, longest in (("name", _MAX_NAME), ("description", _MAX_DESCRIPTION)):
            if not isinstance(document.get(entry, ""), str):
                raise ValueError(f"{entry} is {shown(document[entry])}, expected text")
            if len(document.get(entry, "")) > longest:
                raise ValueError(f"{entry} has {len(document[entry])} characters, more than {longest}")
        unknown = set(document) - {"name", "description", "task", _STAGE, *_TABLES}
        if unknown:
            raise ValueError(f"unknown table {escape(', '.join(sorted(unknown))[:_MAX_NAME])}")
        name_of_task = document.get("task", "avvp")
        if not isinstance(name_of_task, str) or name_of_task not in _TASKS:
            raise ValueError(f"task is {shown(name_of_task)}, not one of {', '.join(_TASKS)}")
        task = _TASKS[name_of_task]
        model = _checked_settings(task.model, "model", document, task.from_data)
        if missing := [name for name in _required(task.model, task.from_data) if name not in model]:
            raise ValueError(f"model.{missing[0]} is missing")
        objective = task.objective(**_checked_settings(task.objective, "objective", document))
        if isinstance(objective, LocalizationObjective):
            objective.check(LocalizerConfig(labels=("event",), **model))
        training = TrainingConfig(**_checked_settings(TrainingConfig, "training", document))
        stages = make_stages(document.get(_STAGE, []))
        if training.noise_ratios or training.removed_labels:
            stages = ()  # the file holds what they would find
        _check_task(name_of_task, training, stages)
        recipe = Recipe(
            name=name,
            description=document.get("description", ""),
            task=name_of_task,
            model=model,
            objective=objective,
            training=training,
            stages=stages,
            trust=trust,
        )
    except (TypeError, ValueError, OverflowError) as error:
        known = name[:_MAX_NAME] if isinstance(name, str) else "without a name"
        raise SetupError(f"recipe {escape(known)}: {error}") from error
    kinds: set[str] = set()
    for stage in stages[:-1]:
        if stage.kind == "train":
            _check_stage(recipe.of_stage(stage), kinds)  # its tables, with the recipe's, are valid
        kinds.add(stage.kind)
    return replace(recipe, stages=()) if training.denoise == "none" else recipe  # nothing reads what they find


def _check_stage(recipe: Recipe, before: set[str]) -> None:
    """Raise SetupError for the recipe of a training stage that reads what no stage before it, of these kinds, finds."""
    training = recipe.training
    needed = _FOUND_BY.get(training.denoise)
    if needed and needed not in before and not (training.noise_ratios or training.removed_labels):
        raise SetupError(
            f'recipe {escape(recipe.name)}: training.denoise = "{training.denoise}" needs a stage of kind "{needed}"'
            " before it, or a file"
        )


def _check_task(task: str, training: TrainingConfig, stages: tuple[Stage, ...]) -> None:
    """Raise ValueError for settings that a task does not have."""
    for setting, needed in (("noisy_clips", "avel"), ("recombine", "avvp")):
        if getattr(training, setting) and task != needed:
            raise ValueError(f"training.{setting} is for task {needed}")
    if task != "avvp" and (stages or training.select != DEFAULT_SELECTION or training.denoise != "none"):
        raise ValueError("stages, training.select and training.denoise are for task avvp")
    kinds = {stage.kind for stage in stages}
    for denoise, kind in _FOUND_BY.items():
        if stages and training.denoise == denoise and kind not in kinds:
            raise ValueError(f'training.denoise = "{denoise}" needs a stage of kind "{kind}"')


_NO_SETTINGS: frozenset[str] = frozenset()


def _required(
    kind: type[ParserConfig | LocalizerConfig | TeacherConfig | AdapterConfig], excluded: set[str]
) -> list[str]:
    """Return the names of settings without a default."""
    entries = (entry for entry in fields(kind) if entry.name not in excluded)
    return [entry.name for entry in entries if entry.default is MISSING and entry.default_factory is MISSING]


def _checked_settings(
    kind: type[Any],
    table: str,
    document: Mapping[str, Any],
    excluded: AbstractSet[str] = _NO_SETTINGS,
) -> dict[str, Any]:
    """Return the entries of a table. Raises ValueError unless each has the type of its field."""
    hints = get_type_hints(kind)
    types = {entry.name: hints[entry.name] for entry in fields(kind) if entry.name not in excluded}
    values = document.get(table, {})
    if not isinstance(values, Mapping):
        raise ValueError(f"{table} is {shown(values)}, expected a table")
    values = dict(values)
    for name, value in values.items():
        if name not in types:
            raise ValueError(f"unknown setting {table}.{escape(name[:_MAX_NAME])}; known: {', '.join(types)}")
        if types[name] is float and type(value) is int:
            values[name] = float(value)
        elif get_origin(types[name]) is tuple:
            if not isinstance(value, list | tuple) or any(type(number) is not int for number in value):
                raise ValueError(f"{table}.{name} is {shown(value)}, expected a list of whole numbers")
            values[name] = tuple(value)
        elif not _is_of(types[name], value):
            raise ValueError(f"{table}.{name} is {shown(value)}, expected {_type_name(types[name])}")
    return values


def _is_of(kind: Any, value: object) -> bool:
    """Return whether a value has the type of a field; tables are dictionaries."""
    return type(value) is (dict if get_origin(kind) is not None else kind)


def _type_name(kind: Any) -> str:
    return "dict" if get_origin(kind) is not None else kind.__name__


def _apply(document: dict[str, Any], change: str) -> None:
    key, separator, text = change.partition("=")
    quoted = shown(change)
    table, dot, name = key.strip().partition(".")
    name, inner, option = name.partition(".")
    if not separator or not dot:
        raise SetupError(f"{quoted} is not a change like training.epochs=5")
    try:
        parsed = parse_toml(f"value = {text}")
    except ValueError:
        parsed = {"value": text.strip()}  # a string without quotes
    if len(parsed) != 1:
        raise SetupError(f"{quoted} is more than one change")
    owner = document
    if table == _STAGE:
        owner, rest = _stage_to_change(document, key.strip(), quoted)
        table, dot, name = rest.partition(".")
        name, inner, option = name.partition(".")
        if not dot:
            owner[table] = parsed["value"]  # of an estimate, such as its batch_size
            return
    if table not in _TABLES:
        raise SetupError(f"{quoted}: unknown table {escape(table)}; known: {', '.join(_TABLES)}")
    if not isinstance(owner.setdefault(table, {}), dict):
        raise SetupError(f"{quoted}: {table} is not a table in this recipe")
    if not inner:
        owner[table][name] = parsed["value"]
        return
    if not name.endswith(_OPTIONS) or not isinstance(owner[table].setdefault(name, {}), dict):
        raise SetupError(f"{quoted}: {table}.{escape(name)} is not a table of settings of a part")
    owner[table][name][option] = parsed["value"]


def _stage_to_change(document: Mapping[str, Any], key: str, quoted: str) -> tuple[dict[str, Any], str]:
    """Return the stage that "stage.NAME.SETTING" names, and the setting. Raises SetupError."""
    _, name, setting = (*key.split(".", 2), "", "")[:3]
    stages = document.get(_STAGE, [])
    known = [stage for stage in stages if isinstance(stage, dict)] if isinstance(stages, list) else []
    for stage in known:
        if stage.get("name") == name and setting:
            return stage, setting
    names = ", ".join(str(stage.get("name")) for stage in known[:-1]) or "none in this recipe"
    raise SetupError(f"{quoted} is not a change like stage.NAME.training.epochs=5; names: {escape(names[:_MAX_NAME])}")


def _make_files_absolute(document: Mapping[str, Any]) -> None:
    """Let files that a recipe names be found from any folder, so that its run can be resumed from there."""
    stages = document.get(_STAGE, [])
    tables = [
        owner.get("training")
        for owner in (document, *(stages if isinstance(stages, list) else []))
        if isinstance(owner, Mapping)
    ]
    for table in tables:
        if not isinstance(table, dict):
            continue
        for name in _FILES:
            value = table.get(name)
            if isinstance(value, str) and value and "\0" not in value and is_file(Path(value)):
                table[name] = str(Path(value).resolve())
