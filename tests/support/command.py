"""What tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable
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


def subcommands(group: click.Group) -> dict[str, click.Command]:
    """Import and return the commands of a group, by name."""
    context = click.Context(group)
    commands = {name: group.get_command(context, name) for name in group.list_commands(context)}
    assert None not in commands.values()
    return {name: command for name, command in commands.items() if command is not None}
