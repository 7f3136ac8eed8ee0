"""A click group that imports the module of a command when it is run, so that --help is quick."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """A group whose commands are named before they are imported.

    Attributes:
        summaries: command -> the first line of its --help.
    """

    def __init__(self, *, package: str, summaries: Mapping[str, str], modules: Mapping[str, str], **attributes: Any):
        """Create the group.

        Args:
            package: that holds the modules. The command a-b is the object a_b of the module a_b.
            summaries: command -> the first line of its --help.
            modules: command -> module, where their names differ.
            attributes: as `click.Group` takes them.
        """
        super().__init__(**attributes)
        self.summaries = summaries
        self._package, self._modules = package, modules

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click calls it
        """Return the names of all commands, sorted."""
        return sorted(self.summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as click calls it
        """Import a command; None for an unknown name."""
        if cmd_name not in self.summaries:
            return None
        attribute = cmd_name.replace("-", "_")
        module = importlib.import_module(f"{self._package}.{self._modules.get(cmd_name, attribute)}")
        return getattr(module, attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from their summaries, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.summaries[name]) for name in self.list_commands(ctx)])
