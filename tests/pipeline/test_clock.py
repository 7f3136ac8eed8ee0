"""Clock times, computed by hand."""

from __future__ import annotations

import pytest
from avvp.pipeline.clock import format_clock, parse_clock, parse_time


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59, "0:59"), (59.5, "1:00"), (65, "1:05"), (3599, "59:59"), (3600, "1:00:00"), (36_065, "10:01:05")],
)
def test_hours_are_written_where_they_are_needed(seconds: float, text: str) -> None:
    assert format_clock(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "hour_digits", "text"),
    [(3665, 0, "61:05"), (65, 0, "1:05"), (65, 1, "0:01:05"), (65, 2, "00:01:05"), (360_000, 2, "100:00:00")],
)
def test_hour_digits(seconds: float, hour_digits: int, text: str) -> None:
    assert format_clock(seconds, hour_digits=hour_digits) == text


@pytest.mark.parametrize(
    ("seconds", "decimals", "text"),
    [
        (65.25, 1, "1:05.2"),
        (65.35, 1, "1:05.4"),
        (0.0625, 3, "0:00.062"),
        (59.9996, 3, "1:00.000"),
        (7.5, 3, "0:07.500"),
    ],
)
def test_decimals_are_rounded_and_carried(seconds: float, decimals: int, text: str) -> None:
    assert format_clock(seconds, decimals=decimals) == text


@pytest.mark.parametrize(("text", "seconds"), [("00:00:02.50", 2.5), ("1:01:05", 3665.0), ("100:00:00.00", 360_000.0)])
def test_parse_clock(text: str, seconds: float) -> None:
    assert parse_clock(text) == seconds


@pytest.mark.parametrize("text", ["", "N/A", "1:05", "1:2:3:4", "a:00:00", "0:00:0.0.0"])
def test_what_is_not_a_clock_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="clock"):
        parse_clock(text)


def test_parse_clock_inverts_format_clock() -> None:
    for thousandths in (0, 1, 999, 59_999, 60_000, 3_599_999, 3_600_000, 86_400_001):
        assert parse_clock(format_clock(thousandths / 1000, hour_digits=2, decimals=3)) == pytest.approx(
            thousandths / 1000
        )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90.5", 90.5),
        ("1:30", 90),
        ("75:00", 4500),
        ("1:30.25", 90.25),
        ("0:01:30", 90),
        ("2:00:00.5", 7200.5),
    ],
)
def test_parse_time(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1:", ":30", "1e3", "nan", "1:2:3:4", "٣", " 3", "9" * 400 + ":00", "9" * 5000 + ":00:00"]
)
def test_parse_time_of_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time; expected seconds, m:ss or h:mm:ss"):
        parse_time(text)
