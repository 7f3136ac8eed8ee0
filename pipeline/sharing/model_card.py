"""Write a model card: what a bundle is, what was measured, and how it was trained, as far as its files say it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...models.config import PARTS, ParserConfig
from ...models.files.checkpoint import Description, read_description
from ...models.localizers.config import DECISIONS, LocalizerConfig
from ...models.open.adapter import AdapterConfig
from ...weights.manifest import Bundle, list_files
from ...weights.messages import shown
from ...weights.quantized import is_quantized
from ...weights.remote.hub import HubAddress
from ...weights.toml import toml_string
from ..descriptions import describe_decision
from ..errors import SetupError
from ..metrics import LEVELS, SCORE_NAMES
from ..open_vocabulary.open_bundle import read_classes
from ..text import escape
from ..text_files import read_json
from .quantization_record import format_quantization, read_record

CARD_FILE = "README.md"
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")  # as hubs name licences: "mit", "cc-by-4.0"
_SHORT_NAMES = ("A", "V", "AV", "Type@AV", "Event@AV")
_OF_ADAPTERS = {"accuracy": "seconds", "segment": "F of seconds", "event": "F of events", "average": "mean"}
_ACCURACIES = {"accuracy": "all seconds", "events": "seconds with an event", "background": "seconds without"}
_TAGS = {False: "audio-visual-video-parsing", True: "audio-visual-event-localization"}  # by whether it is a localizer
_DESCRIPTIONS = {
    False: "A model for audio-visual video parsing.",
    True: "A model for audio-visual event localization.",
}
_OPEN_DESCRIPTION = "A pair of networks that finds any classes by their names in videos."
_SETTINGS = ("model", "objective", "training")  # tables of a recipe


@dataclass(frozen=True)
class MeasuredScores:
    """Scores of a bundle's parser or localizer, as `avvp evaluate -f json` writes them."""

    split: str
    clips: int
    scores: Mapping[str, Mapping[str, float | None]]  # level, or "" for accuracies -> name -> percent
    notes: tuple[str, ...]  # about the data and the thresholds


def check_licence(name: str) -> str:
    """Return the name of a licence. Raises SetupError if no hub can have it."""
    if not _LICENCE.fullmatch(name):
        raise SetupError(f"{shown(name)} is not the identifier of a licence, such as mit, apache-2.0 or cc-by-4.0")
    return name


def read_scores(path: Path, bundle: Bundle) -> MeasuredScores:
    """Read scores for a card.

    Args:
        path: JSON of `avvp evaluate -f json`.
        bundle: whose scores they have to be.

    Returns:
        The scores.

    Raises:
        SetupError: the file holds no scores, or those of another bundle.
    """
    try:
        document = read_json(path)
        if not isinstance(document, dict) or not isinstance(document.get("scores"), dict):
            raise ValueError("no scores in it; write them by avvp evaluate -f json -o FILE")
        if document["source"] != bundle.name:
            raise ValueError(f"scores of {shown(document['source'])}, not of {shown(bundle.name)}")
        found = document["scores"]
        if document.get("task") == "avel":
            scores, clips = {"": {name: _number(found[name]) for name in _ACCURACIES}}, document["clips"]
        else:
            scores = {level: {name: _number(found[level][name]) for name in SCORE_NAMES} for level in LEVELS}
            clips = document["subsets"]["whole"]["clips"]
        split, notes = document["split"], document["notes"]
        if not isinstance(split, str) or type(clips) is not int or not isinstance(notes, list):
            raise ValueError("no split or no number of clips in it")
        return MeasuredScores(split, clips, scores, tuple(map(str, notes)))
    except (ValueError, KeyError, TypeError) as error:
        reason = f"no {error} in it" if isinstance(error, KeyError) else escape(error)
        raise SetupError(f"{escape(path)}: cannot be put on a model card: {reason}") from error


def _number(value: object) -> float | None:
    if value is None:
        return None
    if type(value) not in {int, float} or not 0 <= value <= 100:  # pyright: ignore[reportOperatorIssue] - checked
        raise ValueError(f"the score {shown(value)} is not a percentage")
    return float(value)  # pyright: ignore[reportArgumentType] - checked


def format_card(
    bundle: Bundle,
    address: HubAddress,
    *,
    size: int,
    licence: str | None = None,
    scores: Sequence[MeasuredScores] = (),
) -> str:
    """Write the card of a bundle. It states what the bundle's files and the given scores say, and nothing else.

    Args:
        bundle: with a folder.
        address: where it will be.
        size: bytes of its own weight files.
        licence: identifier of the licence of the weights; None if none is stated.
        scores: measured by `avvp evaluate`.

    Returns:
        Markdown, with the metadata that hubs read before it.

    Raises:
        SetupError: the parser's file is not a checkpoint, or quantized extractors have no record of their quantization.
    """
    about = _read_parser(bundle)
    localizes = about is not None and isinstance(about.config, LocalizerConfig)
    description = _OPEN_DESCRIPTION if bundle.is_open else _DESCRIPTIONS[localizes]
    title = address.subfolder.rpartition("/")[2] or address.repo.partition("/")[2]
    sections = [
        _metadata(licence, tag=_TAGS[localizes]),
        f"# {_text(title)}\n\n{_text(bundle.description or description)}",
    ]
    if bundle.warning:
        sections.append(f"> **Warning:** {_text(bundle.warning)}")
    sections.append("## The model\n\n" + _facts(bundle, about, size))
    if _is_quantized(bundle):
        sections.append("## Quantization\n\n" + _quantization(bundle))
    if about is not None:
        sections.append("## Classes\n\n" + ", ".join(map(_text, about.config.labels)))
        sections.append("## Scores\n\n" + _scores(about, scores))
        sections.append("## Training\n\n" + _training(about.record))
    if bundle.is_open and about is None:
        sections.append("## Classes\n\n" + _open_classes(bundle))
    sections.append("## Use\n\n" + _usage(address, bundle, has_parser=about is not None))
    sections.append("## Licence\n\n" + _licences(bundle, licence))
    return "\n\n".join(sections) + "\n"


def _read_parser(bundle: Bundle) -> Description | None:
    """Return the description of the bundle's checkpoint; None for a bundle without one."""
    name = bundle.parser.get("checkpoint")
    if not name:
        return None
    assert bundle.root is not None  # of `format_card`
    try:
        return read_description(bundle.root / name)
    except ValueError as error:
        raise SetupError(escape(error)) from error


def _metadata(licence: str | None, *, tag: str) -> str:
    lines = ["---", "library_name: avvp", "tags:", f"- {tag}", "- event-detection"]
    return "\n".join([*lines, *([f"license: {licence}"] if licence else []), "---"])


def _facts(bundle: Bundle, about: Description | None, size: int) -> str:
    rows = []
    if about is not None:
        rows.append(_network(about.config))
        if isinstance(about.config, ParserConfig):
            tuned = "; thresholds by class in a file of the bundle" if bundle.parser.get("thresholds") else ""
            rows.append(("decision", describe_decision(about.config) + tuned))
        rows.append(("window", f"{about.config.segments} seconds; longer videos are parsed in overlapping windows"))
    rows.append(("extractors", ", ".join(_extractors(bundle)) or "none"))
    rows.append(("profile of the features", bundle.profile))
    kind = "extractors in int8" if _is_quantized(bundle) else "float32"
    rows.append(("weight files", f"{size / 1e6:,.1f} MB, safetensors, {kind}"))
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {_text(value)} |" for name, value in rows)])


def _is_quantized(bundle: Bundle) -> bool:
    return any(map(is_quantized, bundle.extractors.values()))


def _quantization(bundle: Bundle) -> str:
    """Return how the extractors were quantized. Raises SetupError if the record of it is missing or strange."""
    assert bundle.root is not None  # of `format_card`
    files = {name: bundle.root / file for name, file in bundle.extractors.items()}
    return format_quantization(read_record(bundle.root), {name: file.stat().st_size for name, file in files.items()})


def _network(config: ParserConfig | LocalizerConfig | AdapterConfig) -> tuple[str, str]:
    """Return what kind of network it is, and its facts."""
    if isinstance(config, AdapterConfig):
        trained = len(config.trained or config.labels)
        facts = f"{config.layers} layers of each modality, trained on {trained} of {len(config.labels)} classes"
        return "temporal adapter: any classes by their names, one a second, both heard and seen", facts
    size = f"width {config.hidden_dim}, {len(config.labels)} classes"
    if isinstance(config, LocalizerConfig):
        others = [] if config.decision in DECISIONS else ["decision"]
        kind = "localizer: one class a second, both heard and seen"
        facts = f"system {config.system}, {config.supervision} supervision, classifier {config.decoder}, {size}"
    else:
        others = [name for name, known in PARTS.items() if getattr(config, name) not in known]
        kind, facts = "parser", f"encoder {config.encoder}, decoder {config.decoder}, {size}"
    return kind, facts + (f"; {', '.join(others)}: of another package, which has to be installed" if others else "")


def _extractors(bundle: Bundle) -> list[str]:
    known = list_files()
    return [
        f"{name} (the file of {known[file].source})" if file in known else name if file else f"{name} (not included)"
        for name, file in bundle.extractors.items()
    ]


def _scores(about: Description, measured: Sequence[MeasuredScores]) -> str:
    """Return a table of what was measured: F-scores of a parser, accuracies of a localizer, and those of an adapter."""
    if isinstance(about.config, AdapterConfig):
        return _scores_of_adapter(about.record.get("validation"))
    is_localizer = isinstance(about.config, LocalizerConfig)
    columns = _ACCURACIES if is_localizer else dict(zip(SCORE_NAMES, _SHORT_NAMES, strict=True))
    levels = {"": ""} if is_localizer else {level: f": {level} level" for level in LEVELS}
    rows: list[tuple[str, Mapping[str, Any]]] = []
    notes: list[str] = []
    for part in measured:
        where = f"{_text(part.split)}, {part.clips} clips"
        rows += [(where + words, part.scores[level]) for level, words in levels.items()]
        notes += [_text(note) for note in part.notes]
    validation = about.record.get("validation")
    tables: Any = {"": validation} if is_localizer else validation
    if isinstance(tables, dict) and all(isinstance(tables.get(level), dict) for level in levels):
        rows += [(f"validation clips{words}", tables[level]) for level, words in levels.items()]
    if not rows:
        return "None were measured."
    title = (
        "Seconds with the right class, the background included, in percent." if is_localizer else "F-scores in percent."
    )
    lines = [title, "", f"| | {' | '.join(columns.values())} |", f"|---|{'---:|' * len(columns)}"]
    lines += [f"| {name} | {' | '.join(_score(scores.get(key)) for key in columns)} |" for name, scores in rows]
    if measured:
        lines += [
            "",
            "Measured by `avvp evaluate --weights RUN --annotations FOLDER --features FEATURES --split SPLIT`.",
        ]
    if len(rows) > len(levels) * len(measured):
        lines += ["", "The scores on the validation clips are those by which `avvp train` chose the epoch."]
    return "\n".join([*lines, *(f"\n{note}" for note in dict.fromkeys(notes))])


def _scores_of_adapter(validation: object) -> str:
    """Return a table of the scores on the validation clips: of trained classes, of others, and of all."""
    parts = validation if isinstance(validation, Mapping) else {}
    rows = [(name, parts[name]) for name in ("seen", "unseen", "total") if isinstance(parts.get(name), Mapping)]
    if not rows:
        return "None were measured."
    lines = [
        "Scores of OV-AVEL on the validation clips, in percent, by which `avvp train` chose the epoch: of clips with"
        " trained classes (seen), with others (unseen), and of all.",
        "",
        f"| | {' | '.join(_OF_ADAPTERS.values())} |",
        f"|---|{'---:|' * len(_OF_ADAPTERS)}",
    ]
    lines += [f"| {name} | {' | '.join(_score(scores.get(key)) for key in _OF_ADAPTERS)} |" for name, scores in rows]
    return "\n".join(lines)


def _score(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, (int, float)) and not isinstance(value, bool) else "-"


def _training(record: Mapping[str, Any]) -> str:
    recipe = record.get("recipe")
    if not isinstance(recipe, Mapping):
        return "The files do not say how the parser was trained."
    epoch = record.get("epoch")
    parts = [
        f"By `avvp train`; these are the parameters after epoch {epoch}." if type(epoch) is int else "By `avvp train`."
    ]
    if isinstance(epochs := record.get("epochs_of"), Mapping):
        pairs = (f"the {_text(str(name))} network of epoch {_text(str(number))}" for name, number in epochs.items())
        parts[0] = f"By `avvp train`; the parser joins {' and '.join(pairs)}."
    stages = recipe.get("stage")
    stages = [stage for stage in stages if isinstance(stage, Mapping)] if isinstance(stages, list) else []
    if stages:
        names = ", ".join(f"{_text(str(stage.get('name')))} ({_text(str(stage.get('kind')))})" for stage in stages)
        parts.append(f"The recipe has {len(stages)} stages: {names}. This is the network of the last one.")
    if isinstance(split := record.get("selected_on"), str):
        parts.append(f"The epoch was chosen on the {escape(split)} split, so the scores on it are too high.")
    tables = {name: recipe[name] for name in _SETTINGS if isinstance(recipe.get(name), Mapping) and recipe[name]}
    lines = [f"description = {toml_string(str(recipe.get('description') or ''))}"]
    if "task" in recipe:
        lines.append(f"task = {_toml(recipe['task'])}")
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    for stage in stages:
        lines += ["", "[[stage]]", *(f"{toml_string(str(key))} = {_toml(value)}" for key, value in stage.items())]
    return "\n\n".join([*parts, "```toml\n" + "\n".join(lines).replace("```", "'''") + "\n```"])


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{toml_string(str(key))} = {_toml(entry)}" for key, entry in value.items()) + " }"
    return str(value) if isinstance(value, (int, float)) else toml_string(str(value))


def _open_classes(bundle: Bundle) -> str:
    """Return what an open bundle looks for."""
    file = bundle.parser.get("classes")
    if not file:
        return "Whatever the user names: sentences with the names are compared with pictures and sounds."
    assert bundle.root is not None  # of `format_card`
    vocabulary = read_classes(bundle, f"@{bundle.root / file}")
    origins = {
        "default": "are the defaults of the rule", "given": "are given", "calibrated": "were calibrated",
        "valor": "are VALOR's",
    }  # fmt: skip
    return (
        f"{', '.join(map(_text, vocabulary.labels))}\n\nThey are found by sentences with their names, by the rule"
        f" {vocabulary.rule.name}; the thresholds {origins[vocabulary.origin]}. `--classes` finds others."
    )


def _usage(address: HubAddress, bundle: Bundle, *, has_parser: bool) -> str:
    if bundle.is_open:
        classes = "" if {"classes", "checkpoint"} & set(bundle.parser) else ' --classes "dog barking, applause"'
        return f"With avvp and its extra `hub`:\n\n```bash\navvp-parse --weights {address}{classes} video.mp4\n```"
    if not has_parser:
        return f"```bash\navvp extract videos/ -o features/ --weights {address}\n```"
    return (
        f"With avvp and its extra `hub`:\n\n```bash\navvp-parse --weights {address}"
        f' video.mp4\n```\n\n```python\nimport avvp\n\nprint(avvp.parse_video("video.mp4", weights="{address}"))\n```'
    )


def _licences(bundle: Bundle, licence: str | None) -> str:
    lines = [
        f"Weights: {licence}." if licence else "None is stated for the weights: ask their owner before you use them."
    ]
    known = list_files()
    others = [known[file] for file in bundle.files if file in known]
    lines += [
        f"- `{_text(file.name)}`, not included, downloaded from its publisher: {_text(file.licence)}" for file in others
    ]
    return "\n\n".join(lines[:1]) + ("\n\n" + "\n".join(lines[1:]) if others else "")


def _text(text: str) -> str:
    """Make text from files harmless in Markdown: one line, no markup, no columns of tables."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", escape(text))
