"""Files of classes in TOML: sentences, names for the same, thresholds and the rule of every class.

A file has a table [[class]] for each class, with `label`: its name, or a list of names for the same. What else a file
may say is optional, see `docs/any-class.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...weights.messages import shown
from ...weights.toml import parse_toml
from ..text_files import decode_text
from .rule_settings import RULE_NAMES, RuleSettings, read_rule
from .vocabulary import MODALITY_KEYS, SCALES, OpenClass, Vocabulary, default_sentences

CLASS_FILE_SUFFIX = ".toml"  # of files with more than names
MAX_CLASS_FILE = 4 << 20  # characters of a file of classes; ten thousand with thresholds are 1.3 million
MAX_SENTENCES = 64  # of a class, for each modality
MAX_SENTENCE_CHARACTERS = 1_000
_MAX_LOGIT = 1_000.0
_KEY_MODALITIES = {key: modality for modality, key in MODALITY_KEYS.items()}
_THRESHOLDS = tuple(f"{key}_threshold" for key in _KEY_MODALITIES)
_SHARED = (*_KEY_MODALITIES, *_THRESHOLDS)  # of a class; at the top of a file, of all classes that do not say it
_CLASS_KEYS = ("label", *_SHARED, *MODALITY_KEYS)  # `audio = false` is `heard = false`
_KEYS = ("class", "rule", "scale", "thresholds", "calibrated_with", *_SHARED)
_CALIBRATED, _GIVEN, _DEFAULT = "calibrated", "given", "default"


def parse_names(content: bytes) -> list[str]:
    """Return the names of a text file, one a line; empty lines, and those that begin with #, are left out.

    Args:
        content: of the file.

    Raises:
        ValueError: it is not text.
    """
    lines = (line.strip() for line in decode_text(content).lines())
    return [line for line in lines if line and not line.startswith("#")]


def parse_vocabulary(content: bytes | str, *, usual_rule: str = RULE_NAMES[0], **rule_settings: Any) -> Vocabulary:
    """Parse a file of classes.

    Args:
        content: TOML.
        usual_rule: name of the rule where neither the file nor `rule_settings` names one.
        **rule_settings: settings of `RuleSettings` in place of the file's.

    Returns:
        The classes and their rule, without a background; their names are not checked.

    Raises:
        ValueError: the content is not such a file. The message does not name the file.
    """
    values = parse_toml(content, limit=MAX_CLASS_FILE)
    _check_keys("", values, _KEYS)
    tables = values.get("class")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError("has no tables [[class]], each with a label")
    own_rule = values.get("rule", {})
    rule = read_rule(own_rule)  # which has checked that it is a table
    rule = replace(rule, **{"name": own_rule.get("name", usual_rule), **rule_settings})
    scale = _read_scale(values, tables, rule)
    shared = {key: values[key] for key in _SHARED if key in values}
    classes = tuple(_read_class(number, table, shared, scale) for number, table in enumerate(tables, 1))
    has_own = any(getattr(item, key) is not None for item in classes for key in _THRESHOLDS)
    return Vocabulary(
        classes,
        rule=rule,
        origin=_read_origin(values, has_own=has_own),
        scale=scale,
        calibrated_with=_read_conditions(values),
    )


def _check_keys(where: str, values: Mapping[str, Any], known: Sequence[str]) -> None:
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{where}unknown key {shown(unknown[0])}; known: {', '.join(known)}")


def _read_scale(values: Mapping[str, Any], tables: Sequence[Mapping[str, Any]], rule: RuleSettings) -> str:
    """Return what thresholds are of. Beyond 1, they can be those of logits only, as files for `avvp pseudo-label`."""
    numbers = [table[key] for table in (values, *tables) for key in _THRESHOLDS if _is_number(table.get(key))]
    is_beyond = any(not 0 <= number <= 1 for number in numbers)
    scale = values.get("scale", SCALES[is_beyond and rule.name == "fixed" and "thresholds" not in values])
    if scale not in SCALES:
        raise ValueError(f"scale is {shown(scale)}; known: {', '.join(SCALES)}")
    if scale == "logits" and rule.name != "fixed":
        raise ValueError(f"scale = 'logits' goes with the rule fixed, not {rule.name}: --rule fixed")
    if scale != "logits" and is_beyond:
        worst = next(number for number in numbers if not 0 <= number <= 1)
        raise ValueError(
            f"a threshold is {shown(worst)}, not from 0 to 1; thresholds of logits go with --rule fixed and"
            " scale = 'logits'"
        )
    return scale


def _read_origin(values: Mapping[str, Any], *, has_own: bool) -> Any:
    """Return where the thresholds of a file come from."""
    origin = values.get("thresholds", _GIVEN if has_own else _DEFAULT)
    if origin not in (_GIVEN, _CALIBRATED) and (has_own or origin != _DEFAULT):
        raise ValueError(f"thresholds is {shown(origin)}, expected 'calibrated' or 'given': where they come from")
    if origin == _CALIBRATED and not has_own:
        raise ValueError("thresholds = 'calibrated', but no class has a seen_threshold or a heard_threshold")
    return origin if has_own else _DEFAULT


def _read_conditions(values: Mapping[str, Any]) -> dict[str, str]:
    table = values.get("calibrated_with", {})
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise ValueError("calibrated_with: expected a table of texts, as avvp calibrate writes it")
    return table


def _read_class(number: int, table: Mapping[str, Any], shared: Mapping[str, Any], scale: str) -> OpenClass:
    names = table.get("label")
    where = f"class {number}: "
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(
            f"{where}label is {shown(table.get('label'))}, expected a name, or a list of names for the same"
        )
    label = names[0]
    where = f"class {number} ({shown(label, 40)}): "
    _check_keys(where, table, _CLASS_KEYS)
    found: dict[str, Any] = {}
    for modality, key in MODALITY_KEYS.items():
        found[key] = _read_sentences(where, modality, names, table, shared)
        own = table.get(f"{key}_threshold", shared.get(f"{key}_threshold"))
        found[f"{key}_threshold"] = _read_threshold(f"{where}{key}_threshold", own, scale, is_asked=bool(found[key]))
    if not any(found[key] for key in _KEY_MODALITIES):
        raise ValueError(f"{where}it is neither to be seen nor heard")
    return OpenClass(label, **found, also=tuple(names[1:]))


def _read_sentences(
    where: str, modality: str, names: Sequence[str], table: Mapping[str, Any], shared: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return the sentences of a class for a modality; none where it is switched off."""
    key = MODALITY_KEYS[modality]
    switch = table.get(modality, True)
    if not isinstance(switch, bool):
        raise ValueError(f"{where}{modality} is {shown(switch)}, expected false; sentences are called {key}")
    given = table.get(key, shared.get(key, True) if key not in table else True)
    if switch is False and key in table and given is not False:
        raise ValueError(f"{where}{modality} = false, but it has sentences in {key}; leave one of them out")
    if switch is False or given is False:
        return ()
    if given is True:
        sentences = default_sentences(modality, *names)
    else:
        texts = [given] if isinstance(given, str) else given
        if (
            not isinstance(texts, list)
            or not texts
            or not all(isinstance(text, str) and text.strip() for text in texts)
        ):
            raise ValueError(f"{where}{key} is {shown(given)}, expected a sentence, a list of them, or false")
        if any("{}" in name for name in names):
            raise ValueError(f"{where}{{}} stands for the name of a class in sentences, and the name has it, too")
        sentences = default_sentences(modality, *names, templates=texts)
    if len(sentences) > MAX_SENTENCES:
        raise ValueError(f"{where}{len(sentences)} sentences in {key} are more than {MAX_SENTENCES}")
    if long := next((text for text in sentences if len(text) > MAX_SENTENCE_CHARACTERS), None):
        raise ValueError(
            f"{where}{key} has a sentence longer than {MAX_SENTENCE_CHARACTERS:,} characters: {shown(long)}"
        )
    return sentences


def _read_threshold(where: str, value: Any, scale: str, *, is_asked: bool) -> float | None:
    if value is None:
        if scale == "logits" and is_asked:
            raise ValueError(f"{where} is missing: thresholds of logits have no default")
        return None
    low, high = (-_MAX_LOGIT, _MAX_LOGIT) if scale == "logits" else (0.0, 1.0)
    if not _is_number(value) or not low <= value <= high:
        raise ValueError(f"{where} is {shown(value)}, not a number from {low:,g} to {high:,g}")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
