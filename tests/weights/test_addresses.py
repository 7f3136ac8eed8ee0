"""Credentials of addresses never appear in messages."""

from __future__ import annotations

import pytest
from avvp.pipeline.text import escape
from avvp.weights.addresses import hide_credentials


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
