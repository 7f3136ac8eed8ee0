"""Tables: delimiters, quotes, headers, and numbers that are read right or refused."""

from __future__ import annotations

import pytest
from avvp.pipeline.tables import NumberReader, Table, format_cells, parse_table
from avvp.weights.unicode import TextError

WANTED = ("a", "b")


def cells(table: Table) -> list[tuple[str, ...]]:
    assert not table.problems
    return [tuple(row.cells.values()) for row in table.rows]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n1,2\n", [("1", "2")]),
        ("a;b\n1;2\n", [("1", "2")]),
        ("a\tb\n1\t2\n", [("1", "2")]),
        ("a\tb\n1,5\t2;3\n", [("1,5", "2;3")]),
        ("sep=;\na;b\n1;2\n", [("1", "2")]),
        ("SEP=,\na,b\n1,2\n", [("1", "2")]),
        ('"sep=|"\na|b\n1|2\n', [("1", "2")]),
        ("sep=\t\na\tb\n1\t2\n", [("1", "2")]),
        (" A ;  B\t\n 1 ; 2 \n", [("1", "2")]),
        ("a;b;\n1;2;\n3;4\n", [("1", "2"), ("3", "4")]),
        ("\n\na,b\n\n1,2\n,\n , \n\n", [("1", "2")]),
        ('"a","b"\n"1","2"\n', [("1", "2")]),
        ('a,b\n"x ""y"" z","1,5"\n', [('x "y" z', "1,5")]),
        ('a,b\n"first\nsecond",2\n3,4\n', [("first\nsecond", "2"), ("3", "4")]),
        ('a\tb\n5" disc\t2\n', [('5" disc', "2")]),
        ('a, b\n "1" , "2"\n', [("1", "2")]),
        ("a,b\n1,2", [("1", "2")]),
        ("a,b\n", []),
        ("", []),
        ("a\u2028,b\x0c\n1,2\n", [("1", "2")]),
    ],
)
def test_tables_as_programs_write_them(text: str, expected: list[tuple[str, ...]]) -> None:
    assert cells(parse_table(text, WANTED)) == expected


def test_a_table_of_one_column_keeps_every_separator() -> None:
    table = parse_table('path\na,b;c\td\n"e,f"\n', ("path", "file"))
    assert cells(table) == [("a,b;c\td",), ("e,f",)]


def test_rows_with_their_lines_and_problems() -> None:
    table = parse_table('sep=;\n\na;b\n"x\ny";2\n1\n1;2;3\n4;5\n', WANTED)
    assert [row.line for row in table.rows] == [4, 8]
    assert [(p.line, p.cells, p.cause) for p in table.problems] == [
        (6, 1, "1 columns, expected 2"), (7, 3, "3 columns, expected 2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1;2\n3;4\n", "has no column a, b; expected a, b in its first line"),
        ("a;c\n1;2\n", "has no column b"),
        ("", "has no column a, b"),
        ("\n\n", "has no column a, b"),
        ("a,b,A\n1,2,3\n", "has the column a twice"),
    ],
)
def test_headers_that_lack_a_column(text: str, said: str) -> None:
    with pytest.raises(TextError, match=said):
        parse_table(text, WANTED).require(WANTED)


def test_a_quote_that_is_never_closed_is_found() -> None:
    with pytest.raises(TextError, match="the double quote in line 3 is never closed"):
        parse_table('a,b\n1,2\n"3,4\n5,6\n', WANTED)
    with pytest.raises(TextError, match="line 2: field larger"):
        parse_table("a,b\n" + "x" * (2 << 20) + ",1\n", WANTED)


@pytest.mark.parametrize("text", ['"quoted"', '"', 'say "hi"', "a,b;c"])
def test_cells_that_are_written_are_read_back(text: str) -> None:
    assert cells(parse_table(f"a\tb\n{format_cells(text, text)}\n", WANTED)) == [(text, text)]


NUMBERS = {"0": 0.0, "1.5": 1.5, " 2 ": 2.0, ".5": 0.5, "5.": 5.0, "-1": -1.0, "+1e2": 100.0, "1.234": 1.234}
COMMAS = {"0,5": 0.5, "2,000000": 2.0, ",5": 0.5, "1,234": 1.234, "1,5e1": 15.0}
NOT_NUMBERS = (
    "", "nan", "inf", "-inf", "NaN", "1.234,5", "1,234.5", "1 234", "1\u00a0234", "1_000", "\u0663", "1e999", "0x10",
    "--1", "1e", "e5", "1.2.3", "½", "\uff11", "1" * 200_000, "1e" + "9" * 50_000,
)  # fmt: skip


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_with_points(text: str) -> None:
    for decimal_comma in (False, True):
        assert NumberReader(decimal_comma=decimal_comma).parse(text) == NUMBERS[text]


@pytest.mark.parametrize("text", COMMAS)
def test_numbers_with_commas(text: str) -> None:
    assert NumberReader(decimal_comma=True).parse(text) == COMMAS[text]
    with pytest.raises(ValueError, match="is not a number"):
        NumberReader(decimal_comma=False).parse(text)


@pytest.mark.parametrize("text", NOT_NUMBERS, ids=lambda text: ascii(text[:8]))
@pytest.mark.parametrize("decimal_comma", [False, True])
def test_what_is_not_a_number_is_refused_shortly(text: str, decimal_comma: bool) -> None:
    with pytest.raises(ValueError, match=r"is not a (finite )?number") as error:
        NumberReader(decimal_comma=decimal_comma).parse(text)
    assert len(str(error.value)) < 120


@pytest.mark.parametrize("texts", [("0,5", "1.234"), ("1.234", "0,5"), ("0.5", "1,234"), ("1,234", "2.5")])
def test_thousands_are_not_taken_for_fractions(texts: tuple[str, str]) -> None:
    numbers = NumberReader(decimal_comma=True)
    with pytest.raises(ValueError, match="may be a fraction or thousands"):
        [numbers.parse(text) for text in texts]
    numbers = NumberReader(decimal_comma=True)
    assert [numbers.parse(text) for text in ("0,5", "0.25", "12345.678")] == [0.5, 0.25, 12345.678]
