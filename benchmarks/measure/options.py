"""Command-line options that every benchmark has."""

from __future__ import annotations

import argparse

_SMOKE_HELP = "tiny networks and inputs, for the tests: seconds, and the figures mean nothing"


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that shows `description` as it is written and has the option --smoke.

    Args:
        description: a module's docstring.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help=_SMOKE_HELP)
    return parser
