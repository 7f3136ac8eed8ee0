"""Main function of the process that runs yt-dlp."""

from __future__ import annotations

from ..decode.process import die_with_parent


def main(*arguments: str) -> None:
    """Run yt-dlp.

    Args:
        arguments: of its command line; the addresses come on standard input.
    """
    die_with_parent()
    import yt_dlp

    yt_dlp.main(list(arguments))
