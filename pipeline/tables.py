"""Read tables of text with a header, as spreadsheets, pandas and this program write them."""

from __future__ import annotations

import csv
import itertools
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..weights.unicode import TextError
from .text import shorten

DELIMITERS = "\t;,"
_ONE_COLUMN = "\x1f"  # in place of a delimiter where the header has none
_END = "\x1e"  # a line after the last one: it is inside a cell where a quote is never closed
_SEPARATOR_LINE = re.compile(r'\s*"?sep=([^\w\s"]|\t)"?[\s;,]*', re.IGNORECASE)  # Excel's first line
MAX_LINES = 2_000_000  # of a table
MAX_CELLS = 5_000_000  # delimiters of a table, also those between quotes
_MAX_CELL = 1 << 20  # characters
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:([.,])[0-9]*)?|([.,])[0-9]+)(?:[eE][-+]?[0-9]{1,4})?")
_THOUSANDS = re.compile(r"[-+]?[1-9][0-9]{0,2}[.,][0-9]{3}")
_MAX_NUMBER = 400  # characters


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        line: number of its first line in the file, from 1.
        cells: column in lower case -> value, without quotes and surrounding whitespace; only of the wanted columns.
    """

    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Problem:
    """A row that cannot be used: the number of its line and of its cells, and what is wrong with it."""

    line: int
    cells: int
    cause: str


@dataclass(frozen=True)
class Table:
    """Content of a table.

    Attributes:
        columns: names in lower case.
        delimiter: tab, semicolon or comma.
        rows: without empty ones.
        problems: rows with too many or too few cells.
    """

    columns: tuple[str, ...]
    delimiter: str
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]

    def require(self, columns: Sequence[str], *, separated: str = "") -> None:
        """Check that the header is complete.

        Args:
            columns: names in lower case.
            separated: how the message describes the table, e.g. "tab-separated".

        Raises:
            TextError: the header lacks a column or has one twice. The message does not name the file.
        """
        if missing := [column for column in columns if column not in self.columns]:
            expected = f"{separated} {', '.join(columns)}".strip()
            raise TextError(f"has no column {', '.join(missing)}; expected {expected} in its first line")
        if twice := [column for column in columns if self.columns.count(column) > 1]:
            raise TextError(f"has the column {twice[0]} twice")


@dataclass
class NumberReader:
    """Parse the numbers of one table or file, which are all written in one way.

    Attributes:
        decimal_comma: accept decimal commas, too. The thousands separators of spreadsheets look like them: a number
            such as 1.234 is refused in a table with decimal commas, and 1,234 in one with decimal points.
    """

    decimal_comma: bool
    _first: dict[str, str] = field(default_factory=dict, init=False)  # separator -> first number with it
    _ambiguous: str = field(default="", init=False)

    def parse(self, text: str) -> float:
        """Parse a decimal number.

        Args:
            text: of a cell; surrounding whitespace is ignored.

        Returns:
            A finite number.

        Raises:
            ValueError: the text is not a number, or not one that can be told from thousands.
        """
        text = text.strip()
        match = _NUMBER.fullmatch(text) if len(text) <= _MAX_NUMBER else None
        separator = (match[1] or match[2] or "") if match else ""
        if match is None or (separator == "," and not self.decimal_comma):
            raise ValueError(f"{shorten(text)} is not a number")
        if separator:
            self._first.setdefault(separator, text)
        if _THOUSANDS.fullmatch(text):
            self._ambiguous = self._ambiguous or text
        if self._ambiguous and len(self._first) > 1:
            other = next(number for number in self._first.values() if number != self._ambiguous)
            raise ValueError(f"{self._ambiguous} may be a fraction or thousands, as {other} is written otherwise")
        number = float(text.replace(",", "."))
        if not math.isfinite(number):
            raise ValueError(f"{shorten(text)} is not a finite number")
        return number


def format_cells(*cells: str) -> str:
    """Format a row with tabs between the cells, which contain neither tabs nor newlines.

    A cell that begins with a double quote is quoted: readers would take that quote off. Others are written as they are.
    """
    return "\t".join(
        '"' + cell.replace('"', '""') + '"' if cell.lstrip(" ").startswith('"') else cell for cell in cells
    )


def parse_table(
    text: str, wanted: Collection[str], *, delimiters: str = DELIMITERS, max_rows: int = MAX_LINES
) -> Table:
    """Parse a table whose first line names its columns.

    Cells are separated by the delimiter with which the header has most of the wanted columns. Double quotes around a
    cell are removed, doubled ones inside become one. Columns may be in any order and case, and others than those that
    are wanted may be there. Excel's line `sep=;`, empty rows and empty columns at the end are skipped.

    Args:
        text: of the file, with a newline at the end of each line.
        wanted: names of columns in lower case.
        delimiters: to choose from; the first one that fits is taken.
        max_rows: most rows that are read.

    Returns:
        The table; call its `require` to be sure of its columns.

    Raises:
        TextError: a quote is never closed, a cell is too long, or the table is too large. The message does not name
            the file.
    """
    lines = split_lines(text)
    first = _next_filled(lines, 0)
    if separator := _SEPARATOR_LINE.fullmatch(lines[first]):
        delimiters, first = separator[1], _next_filled(lines, first + 1)
    lines = lines[first:]
    if max(map(text.count, delimiters)) > MAX_CELLS:
        raise TextError(f"more than {MAX_CELLS:,} cells")
    with _cells_of_any_length():
        delimiter = max(delimiters, key=lambda delimiter: len({*wanted}.intersection(_header(lines, delimiter))))
        columns = _header(lines, delimiter)
        # A table of one column needs no delimiter: its values may hold any of them.
        records = _records(lines, delimiter if lines and delimiter in lines[0] else _ONE_COLUMN)
        places = {column: place for place, column in enumerate(columns) if column in wanted}
        rows: list[Row] = []
        problems: list[Problem] = []
        for line, record in itertools.islice(records, 1, None):
            cells = [cell.strip() for cell in record]
            if len(cells) >= len(columns) and not any(cells[len(columns) :]):
                if any(cells):
                    rows.append(Row(first + line, {column: cells[place] for column, place in places.items()}))
            elif any(cells):
                problems.append(Problem(first + line, len(cells), f"{len(cells)} columns, expected {len(columns)}"))
            if len(rows) > max_rows:
                raise TextError(f"more than {max_rows:,} rows")
    return Table(columns, delimiter, tuple(rows), tuple(problems))


def split_lines(text: str) -> list[str]:
    r"""Split text at each "\n", and at no other separator.

    Raises:
        TextError: there are more than `MAX_LINES`. The message does not name the file.
    """
    if text.count("\n") >= MAX_LINES:
        raise TextError(f"more than {MAX_LINES:,} lines")
    return text.split("\n")


def _next_filled(lines: Sequence[str], start: int) -> int:
    """Return the index of the next line that is not empty, `start` where there is none."""
    return next((number for number in range(start, len(lines)) if lines[number].strip(" \t;,")), start)


def _header(lines: Sequence[str], delimiter: str) -> tuple[str, ...]:
    """Return the names of the columns in lower case, without empty ones at the end."""
    _, cells = next(_records(lines, delimiter), (1, []))
    columns = [cell.strip().casefold() for cell in cells]
    while columns and not columns[-1]:
        columns.pop()
    return tuple(columns)


def _records(lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each record and the number of its first line. Raises TextError."""
    reader = csv.reader(
        (f"{line}\n" for line in (*lines, _END)), delimiter=delimiter, skipinitialspace=delimiter != " "
    )
    line = 1
    try:
        for cells in reader:
            if reader.line_num > len(lines):
                if cells != [_END]:
                    raise TextError(f"the double quote in line {line} is never closed")
                return
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise TextError(f"line {line}: {error}") from error


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    """Raise the csv module's limit for a while: it is global to the process."""
    previous = csv.field_size_limit(_MAX_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(previous)
