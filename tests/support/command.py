"""What tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeAlias

import click

RUN_MARK = "AVVP_TEST_RUN"  # in the environment of the programs started here, and of what they start


@dataclass
class Result:
    status: int
    out: str
    err: str


Run: TypeAlias = Callable[..., Result]  # of the fixture `run`


_MOST_LINES = 26  # a headline, 20 problems, how many more there are, and the usage
_MOST_CHARACTERS = 1_100  # in a line


def find_faults(result: Result, names: Collection[str] = ()) -> list[str]:
    """Return what is wrong with the end of a command that was given something hostile.

    Args:
        result: of the command.
        names: of which the message of a failure must have one.
    """
    lines = result.err.strip().split("\n")
    messages = [line for line in lines if line and not line.startswith("wrote ")]  # one for each file is written
    rules = {
        f"exit status {result.status}": result.status in {0, 1, 2},
        "a traceback": "Traceback" not in result.err and "internal error" not in result.err,
        "no message": not result.status or bool(messages),
        "too many lines": len(messages) <= _MOST_LINES,
        "a line that is too long": max(map(len, lines)) <= _MOST_CHARACTERS,
        "control characters": all(character.isprintable() for line in lines for character in line),
        "the file is not named": not result.status or not names or any(name in result.err for name in names),
    }
    return [fault for fault, holds in rules.items() if not holds]


def subcommands(group: click.Group) -> dict[str, click.Command]:
    """Import and return the commands of a group, by name."""
    context = click.Context(group)
    commands = {name: group.get_command(context, name) for name in group.list_commands(context)}
    assert None not in commands.values()
    return {name: command for name, command in commands.items() if command is not None}
