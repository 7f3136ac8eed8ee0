"""Credentials of addresses never appear in messages."""

from __future__ import annotations

import time

import pytest
from avvp.weights.addresses import hide_credentials
from avvp.weights.messages import escape


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/folder", "s3://bucket/folder"),
        ("https://host/a?id=1&confirm=t", "https://host/a?id=1&confirm=t"),
        ("clip@home.mp4", "clip@home.mp4"),
        ("/a/b:c@d/e", "/a/b:c@d/e"),
        ("ftp://user:pass@host/x", "ftp://***@host/x"),
        ("ftp:/user:pass@host/x", "ftp:/***@host/x"),
        ("ftp://user:p@ss:w@host:21/x", "ftp://***@host:21/x"),
        ("sftp://user@host/x", "sftp://***@host/x"),
        ("cannot open 'https://u:p@h/x?token=abc&a=1#t': no", "cannot open 'https://***@h/x?token=***&a=1#t': no"),
        ("https://h/x?X-Amz-Signature=abc&X-Amz-Credential=k", "https://h/x?X-Amz-Signature=***&X-Amz-Credential=***"),
        ("s3://KEY:se/cr+et@bucket/x", "s3://***@bucket/x"),
        ("http://host:80/a@b", "http://host:80/a@b"),
        ("simplecache::ftp://u:p@h/x", "simplecache::ftp://***@h/x"),
        ("ftp://u:p@a/x and ftp://u:p@b/y", "ftp://***@a/x and ftp://***@b/y"),
    ],
)
def test_credentials_are_hidden(text: str, shown: str) -> None:
    assert hide_credentials(text) == shown
    assert escape(text) == shown


@pytest.mark.parametrize("part", ["?", "&key", "key", "a:/", "a.", "a:/b@", "?token", "a:1/", "@:"])
def test_long_texts_of_strangers_take_linear_time(part: str) -> None:
    """They are in warnings of event files, and in file names."""

    def seconds(count: int) -> float:
        started = time.process_time()
        hide_credentials(f"x@y://?{part * count}")
        return time.process_time() - started

    small, large = min(seconds(10_000) for _ in range(3)), min(seconds(40_000) for _ in range(2))
    assert large < 0.1 or large < 8 * small


@pytest.mark.parametrize(
    "text",
    [
        "a." * 50_000 + ":/",
        ":/?" + "key" * 30_000,
        ":/" + "?key" * 25_000,
        ":/" + "?" * 100_000,
        "a://" + "x" * 100_000,
        "a://x@" * 20_000,
        "a:/" * 30_000,
        "a://b" * 20_000,
        ":/?" + "token=" * 20_000,
        "a" * 100_000 + " b@c :/",
    ],
    ids=range(10),
)
def test_texts_of_strangers_take_little_time(text: str) -> None:
    started = time.monotonic()
    hide_credentials(text)
    assert time.monotonic() - started < 3


def test_long_credentials_are_hidden() -> None:
    text = f"https://user:{'p' * 1000}@host/x?{'a' * 30}_token_{'b' * 30}={'q' * 5000}&c=1"
    assert hide_credentials(text) == f"https://***@host/x?{'a' * 30}_token_{'b' * 30}=***&c=1"
