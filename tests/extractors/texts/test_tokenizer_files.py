"""Files of tokenizers: those that are used, and those of strangers that are refused before the library reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from avvp.extractors.texts.registry import build_text_encoder, untrained_text_encoder
from avvp.extractors.texts.tokenizer_files import check_tokenizer
from avvp.extractors.texts.tokens import FileTokenizer
from avvp.weights.manifest import MAX_TOKENS_FILE
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def make_tokenizer() -> Tokenizer:
    """A tokenizer of bytes with the parts that CLIP's has."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({token: index for index, token in enumerate([*alphabet, "<begin>", "<end>"])}, []))
    made.normalizer = normalizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [
            pre_tokenizers.Split(Regex(CLIP_WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.post_processor = processors.RobertaProcessing(("<end>", 257), ("<begin>", 256), add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    return made


def make_file(path: Path, **changes: Any) -> Path:
    values = json.loads(make_tokenizer().to_str())
    path.write_text(json.dumps({**values, **changes}))
    return path


def test_a_tokenizer_with_the_parts_of_clips_is_read(tmp_path: Path) -> None:
    found = FileTokenizer(make_file(tmp_path / "t.json"))
    assert found.encode("A  dog") == found.encode("a dog")
    assert len(found.encode("a dog's")) == 8  # the marks, a, d, o, g, ', s
    assert found.encode("")[-1] == 257


LONGER = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
SLOW = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}
TEMPLATE = {
    "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}], "pair": [],
    "special_tokens": {"[CLS]": {"id": "[SEP]", "ids": [1], "tokens": ["[SEP]"]}},
}  # fmt: skip
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "backtracking": (
        {"normalizer": SLOW},
        r"the regular expression '\(a\+\)\+\$' in normalizer is none of a published",
    ),
    "backtracking inside": (
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{**SLOW, "type": "Split", "behavior": "Removed"}]}},
        "in pre_tokenizer is none of a published tokenizer",
    ),
    "longer": (
        {"normalizer": {"type": "Sequence", "normalizers": [LONGER]}},
        "a Replace in normalizer makes text longer",
    ),
    "between all": (
        {"normalizer": {**LONGER, "pattern": {"String": ""}}},
        "a Replace in normalizer finds an empty text",
    ),
    "prepend": ({"normalizer": {"type": "Prepend", "prepend": "a" * 1000}}, "'Prepend' in normalizer; known: Bert"),
    "a mark without tokens": ({"post_processor": TEMPLATE}, r"has the mark '\[CLS\]', and no tokens for it"),
    "a template of another type": ({"post_processor": {**TEMPLATE, "type": "Sequence"}}, "has the mark"),
    "many steps": (
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 64}},
        "more than 64 steps in normalizer",
    ),
    "no list": ({"normalizer": {"type": "Sequence", "normalizers": 1}}, "normalizers is 1, not a list"),
    "no step": ({"pre_tokenizer": ["ByteLevel"]}, "None in pre_tokenizer; known: BertPreTokenizer"),
    "another model": ({"model": {"type": "Unigram", "vocab": []}}, "its model is 'Unigram'; known: BPE"),
    "no model": ({"model": None}, "has no model"),
    "dropout": ({"model": {"type": "BPE", "dropout": 0.5, "vocab": {}, "merges": []}}, "has a dropout"),
    "damaged model": ({"model": {"type": "BPE", "vocab": 1, "merges": []}}, "not a tokenizer.json"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_files_of_strangers_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        FileTokenizer(make_file(tmp_path / "t.json", **changes))
    assert str(raised.value).startswith(f"{tmp_path / 't.json'}: not a tokenizer.json: ")


@pytest.mark.parametrize("content", [b"", b"[]", b"1", b"{", b"[" * 100_000, b"\xff\xfe", b'{"model": []}'])
def test_what_is_no_tokenizer_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"not a tokenizer\.json: "):
        FileTokenizer(tmp_path / "t.json")


def test_a_file_that_says_things_twice_is_read_as_it_was_checked() -> None:
    text = json.dumps(json.loads(make_tokenizer().to_str()))
    twice = text[:-1] + ', "normalizer": null}'
    assert json.loads(check_tokenizer(twice.encode()))["normalizer"] is None


def test_large_files_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "t.json").open("wb") as file:
        file.truncate(MAX_TOKENS_FILE + 1)
    with pytest.raises(ValueError, match="larger than 16 MiB"):
        FileTokenizer(tmp_path / "t.json")
    with pytest.raises(ValueError, match="No such file"):
        FileTokenizer(tmp_path / "none.json")


def test_a_sentence_needs_tokens_and_not_too_many(tmp_path: Path) -> None:
    found = FileTokenizer(make_file(tmp_path / "t.json", post_processor=None))
    with pytest.raises(ValueError, match=r"'' has 0 tokens, expected 1 to 10,000"):
        found.encode("")
    with pytest.raises(ValueError, match="has 10,001 tokens"):
        found.encode("ab" * 5000 + "c")


def test_words_that_a_tokenizer_does_not_know_are_named(tmp_path: Path) -> None:
    model = {"type": "WordLevel", "vocab": {"dog": 0}, "unk_token": "[UNK]"}
    path = make_file(tmp_path / "t.json", post_processor=None, pre_tokenizer=None, normalizer=None, model=model)
    assert FileTokenizer(path).encode("dog") == [0]
    with pytest.raises(ValueError, match=r"no tokens of 'cat': WordLevel error: Missing \[UNK\]") as raised:
        FileTokenizer(path).encode("cat")
    assert str(raised.value).startswith(f"{path}: ")


def test_tokens_of_another_text_model_are_refused(tmp_path: Path) -> None:
    """The table of CLIP has 49,408 rows."""
    vocabulary = {token: 60_000 + index for index, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    path = make_file(tmp_path / "t.json", post_processor=None, model={"type": "BPE", "vocab": vocabulary, "merges": []})
    state = untrained_text_encoder("clip_tiny", 1).model.state_dict()
    encoder = build_text_encoder("clip_tiny", state, path)
    with pytest.raises(ValueError, match="a token is not in the table of the text model"):
        encoder.encode(["a"])
