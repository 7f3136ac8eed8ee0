"""Check a `tokenizer.json` before the library tokenizers reads it: a file of a stranger could keep it busy for ever.

What such a file may do to a sentence is on closed lists, so that the work is bounded by the length of the sentence: no
regular expressions but those of published tokenizers, which do not backtrack, and nothing that makes text longer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ...weights.manifest import MAX_TOKENS_FILE
from ...weights.messages import shown

MAX_STEPS = 64  # normalizers, splits and others of one file
_MODELS = ("BPE", "WordLevel", "WordPiece")
_STEPS = {
    "normalizer": (
        "BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Replace", "Sequence", "Strip", "StripAccents",
    ),
    "pre_tokenizer": (
        "BertPreTokenizer", "ByteLevel", "Digits", "Punctuation", "Sequence", "Split", "Whitespace", "WhitespaceSplit",
    ),
    "post_processor": ("BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing"),
}  # fmt: skip
_LISTS = ("normalizers", "pretokenizers", "processors")  # of a Sequence
_WORDS = r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_PATTERNS = (
    r"\s+",
    r"\s",
    r"\d",
    r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",  # CLIP's
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    rf"'s|'t|'re|'ve|'m|'ll|'d|{_WORDS}",  # GPT-2's, which RoBERTa's is
    rf"'(?:[sdmt]|ll|ve|re)|{_WORDS}",
)


def check_tokenizer(content: bytes) -> str:
    """Check the content of a tokenizer's file.

    Args:
        content: JSON, as tokenizers writes it.

    Returns:
        The same as JSON, without what it says twice.

    Raises:
        ValueError: it is not such a file, or does something to sentences that is not known to be harmless.
    """
    if len(content) > MAX_TOKENS_FILE:
        raise ValueError(f"larger than {MAX_TOKENS_FILE >> 20} MiB")
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError("not JSON, or nested too deeply") from error
    model = values.get("model") if isinstance(values, dict) else None
    if not isinstance(model, dict):
        raise ValueError("has no model")
    if model.get("type", _MODELS[0]) not in _MODELS:
        raise ValueError(f"its model is {shown(model.get('type'))}; known: {', '.join(_MODELS)}")
    if model.get("dropout"):
        raise ValueError("has a dropout, so that a sentence would have other tokens each time")
    for key, known in _STEPS.items():
        for count, step in enumerate(_steps(values.get(key)), 1):
            if count > MAX_STEPS:
                raise ValueError(f"more than {MAX_STEPS} steps in {key}")
            _check_step(key, step, known)
    return json.dumps(values)


def _steps(value: Any) -> Iterator[Any]:
    """Yield a step and those within it; recursion is bounded by the reader of JSON."""
    if value is None:
        return
    yield value
    for name in _LISTS if isinstance(value, dict) else ():
        inner = value.get(name, [])
        if not isinstance(inner, list):
            raise ValueError(f"{name} is {shown(inner)}, not a list")
        for step in inner:
            yield from _steps(step)


def _check_step(key: str, step: Any, known: tuple[str, ...]) -> None:
    kind = step.get("type") if isinstance(step, dict) else None
    if kind not in known:
        raise ValueError(f"{shown(kind)} in {key}; known: {', '.join(known)}")
    if kind in {"Replace", "Split"}:
        pattern = step.get("pattern")
        expression = pattern.get("Regex") if isinstance(pattern, dict) else None
        if expression is not None and expression not in _PATTERNS:
            raise ValueError(f"the regular expression {shown(expression)} in {key} is none of a published tokenizer")
        if expression is None and not (pattern.get("String") if isinstance(pattern, dict) else pattern):
            raise ValueError(f"a {kind} in {key} finds an empty text")
    if key == "post_processor":  # of any type: the library takes what has a template for one
        _check_template(step)
    if kind == "Replace" and len(str(step.get("content", ""))) > 1:
        raise ValueError(f"a Replace in {key} makes text longer")


def _check_template(step: dict[str, Any]) -> None:
    """Raise ValueError for a mark without tokens, at which the library would end the program."""
    marks = step.get("special_tokens")
    entries = marks.values() if isinstance(marks, dict) else ()
    known = {entry["id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)}
    for name in ("single", "pair"):
        pieces = step.get(name)
        for piece in pieces if isinstance(pieces, list) else ():
            mark = piece.get("SpecialToken") if isinstance(piece, dict) else None
            key = mark.get("id") if isinstance(mark, dict) else None
            if isinstance(key, str) and key not in known:
                raise ValueError(f"the template of post_processor has the mark {shown(key)}, and no tokens for it")
