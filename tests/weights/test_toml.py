"""TOML of strangers: what the parser would take much time or memory for is refused before."""

from __future__ import annotations

import time

import pytest
from avvp.weights.toml import MAX_TOML, parse_toml
from avvp.weights.unicode import TextError

PARTS = 60_000
DEEP = {
    "bare": ".".join("a" * PARTS) + " = 1",
    "quoted": '"a,".' * PARTS + "a = 1",
    "with spaces": " . ".join("a" * PARTS) + " = 1",
    "literal": "'#'." * PARTS + "a = 1",
    "after a string": 'x = """a" b"""\n' + '"a,".' * PARTS + "a = 1",
    "after a string with quotes at its end": 'x = """a"""""\n' + '"a,".' * PARTS + "a = 1",
    "after a literal": "x = '''a' \" b''''\n" + '"a,".' * PARTS + "a = 1",
    "after a comment": '# "\n' + '"a,".' * PARTS + "a = 1",
    "in a header": "[" + ".".join("a" * PARTS) + "]",
    "in an inline table": "x = {" + ".".join("a" * PARTS) + " = 1}",
}


@pytest.mark.parametrize("kind", DEEP)
def test_keys_have_few_parts(kind: str) -> None:
    started = time.monotonic()
    with pytest.raises(TextError, match=r"a dotted key has more than 4 parts \(line [12]\)"):
        parse_toml(DEEP[kind])
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "text",
    [
        'x = "' + '\\"' * 300_000,
        'x = """' + '\\"""' * 200_000,
        "x = '" + "a" * 900_000,
        '"\n' * 400_000,
        "x = " + "[" * 500_000,
        "x = " + "{a=" * 200_000,
        "x = " + "9" * 900_000,
        "x = 1." + "9" * 900_000 + "e",
    ],
    ids=range(8),
)
def test_damaged_documents_of_the_largest_size_take_seconds(text: str) -> None:
    started = time.monotonic()
    with pytest.raises(TextError):
        parse_toml(text)
    assert time.monotonic() - started < 20


def test_dots_in_values_strings_and_comments_do_not_count() -> None:
    text = '''
        floats = [1.5, 2.5, 3.5, 4.5, 5.5, 6.5] # a.b.c.d.e.f
        text = "a.b.c.d.e.f" # "
        literal = 'a.b.c.d.e.f"'
        "a.b.c.d.e.f".'g.h.i.j'.k.l = 1
        lines = """
        a.b.c.d.e.f \\""" ."""
        [audio.segment]
        x.y = 1.5
    '''
    document = parse_toml(text)
    assert document["a.b.c.d.e.f"] == {"g.h.i.j": {"k": {"l": 1}}}
    assert document["audio"] == {"segment": {"x": {"y": 1.5}}}


def test_documents_have_a_limit() -> None:
    with pytest.raises(TextError, match="1,048,577 characters, more than 1,048,576"):
        parse_toml("#" * (MAX_TOML + 1))
    with pytest.raises(TextError, match="11 characters, more than 10"):
        parse_toml("#" * 11, limit=10)
