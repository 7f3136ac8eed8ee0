"""Lists of classes: on the command line, in text and TOML files, and written again."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avvp.models.config import MAX_LABELS
from avvp.pipeline.errors import SetupError
from avvp.pipeline.open_vocabulary.class_files import MAX_SENTENCE_CHARACTERS, MAX_SENTENCES, parse_vocabulary
from avvp.pipeline.open_vocabulary.classes import read_vocabulary
from avvp.pipeline.open_vocabulary.rule_settings import RuleSettings, read_rule
from avvp.pipeline.open_vocabulary.vocabulary import OpenClass, Vocabulary
from avvp.pipeline.pseudo_labeling.prompts import VALOR, read_prompts
from hypothesis import given, settings
from hypothesis import strategies as st

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of classes, and return what --classes takes."""

    def write(content: str | bytes, name: str = "classes.toml") -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return f"@{path}"

    return write


def read(classes: Any, **options: Any) -> Vocabulary:
    return read_vocabulary(classes, background="none", **options)


def test_names_on_the_command_line() -> None:
    found = read(" dog barking, applause ,,")
    assert found.labels == ("dog barking", "applause")
    assert found.classes[0].seen == ("A photo of dog barking.",)
    assert found.classes[0].heard == ("This is a sound of dog barking.",)
    assert read(["Vacuum_cleaner"]).classes[0].heard == ("This is a sound of Vacuum cleaner.",)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_text_file_has_a_name_a_line(write: Write, encoding: str) -> None:
    content = "# of my kitchen\r\nsizzling, loud\r\n\r\n  Geräusch \n".encode(encoding)
    assert read(write(content, "classes.txt")).labels == ("sizzling, loud", "Geräusch")


def test_toml_in_full(write: Write) -> None:
    found = read(
        write(
            """
            seen_threshold = 0.9
            heard = ["a sound of {}", "{} can be heard"]
            [rule]
            name = "scope"
            kappa = 3
            [[class]]
            label = ["dog_barking", "woof"]
            seen = "a dog with its mouth open"
            heard_threshold = 0.25
            [[class]]
            label = "logo"
            heard = false
            seen_threshold = 1
            [[class]]
            label = "wind, strong"
            visual = false
            """
        )
    )
    assert found.classes == (
        OpenClass(
            "dog_barking",
            ("a dog with its mouth open",),
            ("a sound of dog barking", "dog barking can be heard", "a sound of woof", "woof can be heard"),
            0.9,
            0.25,
            ("woof",),
        ),
        OpenClass("logo", ("A photo of logo.",), (), 1.0, None),
        OpenClass("wind, strong", (), ("a sound of wind, strong", "wind, strong can be heard"), 0.9, None),
    )
    assert found.rule == RuleSettings(name="scope", kappa=3.0)
    assert found.origin == "given"
    assert found.thresholds("audio") == [0.25, 0.75, 0.75]


def test_options_take_precedence_over_the_rule_of_the_file(write: Write) -> None:
    classes = write('[rule]\nname = "scope"\nkappa = 2.0\n[[class]]\nlabel = "a"')
    assert read(classes, name="fixed").rule == RuleSettings(name="fixed", kappa=2.0)


def test_sentences_of_pseudo_labels_are_understood_with_the_fixed_rule(write: Write) -> None:
    prompts = read_prompts()
    found = read(write(VALOR.read_bytes()), name="fixed")
    assert found.scale == "logits"
    assert found.labels == prompts.labels
    assert found.logit_thresholds("visual") == list(prompts.visual_thresholds)
    assert found.logit_thresholds("audio") == list(prompts.audio_thresholds)
    assert [item.seen for item in found.classes] == [(text,) for text in prompts.visual_prompts]
    assert found.thresholds("audio") == [0.5] * 25
    with pytest.raises(SetupError, match=r"a threshold is 20, not from 0 to 1; .* --rule fixed and scale = 'logits'"):
        read(write(VALOR.read_bytes()))


def test_thresholds_of_logits_below_one_are_named(write: Write) -> None:
    content = 'scale = "logits"\n[rule]\nname = "fixed"\n[[class]]\nlabel = "a"\nheard_threshold = 0.5\nseen = false'
    assert read(write(content)).logit_thresholds("audio") == [0.5]
    with pytest.raises(SetupError, match="goes with the rule fixed, not av2a"):
        read(write(content), name="av2a")
    with pytest.raises(SetupError, match="seen_threshold is missing: thresholds of logits have no default"):
        read(write(content.replace("seen = false", "")))


@pytest.mark.parametrize(
    "content",
    [
        '[[class]]\nlabel = "a"',
        '[[class]]\nlabel = ["a_b", "c"]\nheard = false\nseen_threshold = 0.1',
        'thresholds = "calibrated"\n[calibrated_with]\nrule = "scope"\n"a.b" = "x"\n[rule]\nname = "scope"\neta = 2.5\n'
        '[[class]]\nlabel = "a \\"quoted\\" \\\\ name, é"\nheard = "s\\n"\nheard_threshold = 0.1234567890123456',
        VALOR.read_text(),
    ],
)
def test_what_is_written_is_read_again(content: str) -> None:
    found = parse_vocabulary(content, **({"name": "fixed"} if "Cello" in content else {}))
    assert parse_vocabulary(found.to_toml()) == found
    assert Vocabulary.from_dict(found.to_dict()) == found


def test_calibrated_thresholds_are_written_with_their_conditions() -> None:
    found = read(["a", "b"]).with_thresholds({"audio": [0.25, 0.5]}, "calibrated", clap="0123")
    assert parse_vocabulary(found.to_toml()) == replace(found, background_name="none")
    assert 'thresholds = "calibrated"' in found.to_toml()
    assert found.calibrated_with["clap"] == "0123"
    assert found.calibrated_with["rule"] == "av2a"
    assert found.thresholds("audio") == [0.25, 0.5]
    assert found.thresholds("visual") == [0.75, 0.75]


def test_ten_thousand_classes(write: Write) -> None:
    names = [f"class number {index}" for index in range(MAX_LABELS)]
    thresholds = np.random.default_rng(1).random(MAX_LABELS).tolist()
    content = read(names).with_thresholds({"audio": thresholds, "visual": thresholds}, "calibrated").to_toml()
    found = read(write(content))
    assert found.labels == tuple(names)
    assert found.thresholds("visual") == thresholds
    with pytest.raises(SetupError, match="10,001 classes are more than 10,000"):
        read([*names, "one more"])


BAD = {
    "no class": ("seen_threshold = 0.5", r"has no tables \[\[class\]\], each with a label"),
    "a class that is a text": ('class = ["a"]', r"has no tables \[\[class\]\]"),
    "no TOML": ("a, b", "Expected '=' after a key"),
    "unknown key": ('speed = 1\n[[class]]\nlabel = "a"', "unknown key 'speed'; known: class, rule, scale"),
    "unknown key of a class": ('[[class]]\nlabel = "a"\nsen = "b"', r"class 1 \('a'\): unknown key 'sen'; known"),
    "no label": ('[[class]]\nseen = "a"', "class 1: label is None, expected a name, or a list"),
    "an empty list": ("[[class]]\nlabel = []", r"class 1: label is \[\], expected a name"),
    "a number": ("[[class]]\nlabel = [1]", r"class 1: label is \[1\], expected a name"),
    "blank": ('[[class]]\nlabel = " "', "class 1: label is ' ', expected a name"),
    "twice": ('[[class]]\nlabel = "Dog"\n[[class]]\nlabel = "dog"', "'dog' is named twice, as 'Dog'"),
    "control": ('[[class]]\nlabel = "a\\u001bb"', "cannot be the name of a class: it contains a control character"),
    "newline": ('[[class]]\nlabel = "a\\nb"', "cannot be the name of a class: it contains a tab or a newline"),
    "default": ('[[class]]\nlabel = "default"', "it stands for all classes in a thresholds file"),
    "neither": ('[[class]]\nlabel = "a"\nseen = false\naudio = false', r"class 1 \('a'\): it is neither to be seen"),
    "both": ('[[class]]\nlabel = "a"\nvisual = false\nseen = "b"', "visual = false, but it has sentences in seen"),
    "a switch of text": ('[[class]]\nlabel = "a"\naudio = "b"', "audio is 'b', expected false; sentences are"),
    "no sentence": ('[[class]]\nlabel = "a"\nheard = []', r"heard is \[\], expected a sentence, a list"),
    "a number for a sentence": ('[[class]]\nlabel = "a"\nseen = 1', "seen is 1, expected a sentence"),
    "a long sentence": (f'[[class]]\nlabel = "a"\nseen = "{"b" * (MAX_SENTENCE_CHARACTERS + 1)}"', "longer than 1,000"),
    "many sentences": (
        f'[[class]]\nlabel = {[str(i) for i in range(MAX_SENTENCES + 1)]}',
        "65 sentences in seen are more than 64",
    ),
    "braces": ('[[class]]\nlabel = "a{}"\nseen = "b {}"', r"\{\} stands for the name of a class in sentences"),
    "threshold above": ('[[class]]\nlabel = "a"\nseen_threshold = 1.5', "a threshold is 1.5, not from 0 to 1"),
    "threshold NaN": ('[[class]]\nlabel = "a"\nseen_threshold = nan', "a threshold is nan, not from 0 to 1"),
    "threshold of text": ('[[class]]\nlabel = "a"\nseen_threshold = "b"', "seen_threshold is 'b', not a number"),
    "threshold true": ('[[class]]\nlabel = "a"\nseen_threshold = true', "seen_threshold is True, not a number"),
    "origin": ('thresholds = "guessed"\n[[class]]\nlabel = "a"', "thresholds is 'guessed', expected 'calib"),
    "calibrated without": ('thresholds = "calibrated"\n[[class]]\nlabel = "a"', "no class has a seen_threshold"),
    "conditions": ('calibrated_with = 1\n[[class]]\nlabel = "a"', "calibrated_with: expected a table of texts"),
    "scale": ('scale = "log"\n[[class]]\nlabel = "a"', "scale is 'log'; known: relative, logits"),
    "rule of text": ('rule = "scope"\n[[class]]\nlabel = "a"', "rule is 'scope', expected a table"),
    "rule unknown": ('rule = { name = "x" }\n[[class]]\nlabel = "a"', "rule: name is 'x'; known: av2a, scope, fixed"),
    "rule key": ('rule = { speed = 1 }\n[[class]]\nlabel = "a"', "rule has an unknown key 'speed'; known: name"),
    "rule type": ('rule = { window = 1.5 }\n[[class]]\nlabel = "a"', "rule: window is 1.5, expected a whole number"),
    "rule range": ('rule = { window = 0 }\n[[class]]\nlabel = "a"', "rule: window is 0, not from 1 to 86400"),
    "rule infinite": ('rule = { gamma = inf }\n[[class]]\nlabel = "a"', "rule: gamma is inf, not from 0 to 1e"),
    "not text": (b"\x00\x01\x02\xff" * 100, "not"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_bad_files_are_named_with_the_fault(write: Write, content: str | bytes, message: str) -> None:
    classes = write(content)
    with pytest.raises(SetupError, match=message) as raised:
        read(classes)
    assert str(raised.value).startswith(f"{classes[1:]}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("", "--classes: name at least one class, such as"),
        (",,", "--classes: name at least one class"),
        ([], "--classes: name at least one class"),
        ("Dog,dog", "--classes: 'dog' is named twice, as 'Dog'"),
        ("dog_barking, dog  barking", "'dog  barking' is named twice, as 'dog_barking'"),
        ([unicodedata.normalize("NFD", "é"), "é"], "is named twice"),
        (["a\ud800"], "half of a character"),
        (["a\x1b[2J"], "control character"),
        (["x" * 1001], "longer than 1,000 characters"),
        ("@/no/such/file", "/no/such/file: No such file or directory"),
        ("@", "^@: .*directory"),
        (["a", 1], "1 is not the name of a class: expected a text"),
        ([None], "None is not the name of a class"),
        ("@/dev\x00", "embedded null byte"),
    ],
)
def test_bad_arguments_are_named_with_the_fault(classes: str | list[Any], message: str) -> None:
    with pytest.raises(SetupError, match=message):
        read(classes)


def test_settings_of_the_rule_are_checked_in_python() -> None:
    with pytest.raises(SetupError, match="rule: name is 'x'; known"):
        read("a", name="x")
    with pytest.raises(ValueError, match=r"rule: refine_threshold is 1\.5, not from 0 to 1"):
        RuleSettings(refine_threshold=1.5)
    assert read_rule({"eta": 2}) == RuleSettings(eta=2.0)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
_CLASS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("label", "seen", "heard", "audio", "seen_threshold"), _VALUES)
)
_FILE = st.fixed_dictionaries(
    {},
    optional={
        "class": st.lists(_CLASS, max_size=3),
        **dict.fromkeys(("rule", "scale", "thresholds", "seen"), _VALUES),
    },
)


@settings(deadline=None, max_examples=150)
@given(values=_FILE)
def test_any_values_are_classes_or_an_error(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    path.write_text(_toml(values), encoding="utf-8", errors="replace")
    try:
        found = read(f"@{path}")
    except SetupError as error:
        assert "\n" not in str(error)
    else:
        assert parse_vocabulary(found.to_toml()) == found


def _toml(values: dict[str, Any]) -> str:
    """A mapping as TOML, on lines of its own for the keys at the top."""
    return "".join(f"{_inline(key)} = {_inline(value)}\n" for key, value in values.items())


def _inline(value: Any) -> str:
    from avvp.weights.toml import toml_string

    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml_string(key)} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, bool) or value is None:
        return str(bool(value)).lower()
    return toml_string(value) if isinstance(value, str) else repr(value)
