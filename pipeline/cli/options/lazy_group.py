"""Click groups whose help has whole summaries and whose errors name the nearest command; one imports them lazily."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...text import shorten
from .defaults import nearest

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class CommandGroup(click.Group):
    """A group whose help has the whole summary of each command, and whose errors name the nearest one."""

    def list_summaries(self, ctx: click.Context) -> dict[str, str]:
        """Return the first line of each command's help."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        return {name: (item.help or "").strip().split("\n")[0] for name, item in commands.items() if item is not None}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.list_summaries(ctx).items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names of commands, without importing more than the help does, and options."""
        from click.shell_completion import CompletionItem

        summaries = self.list_summaries(ctx).items()
        commands = [CompletionItem(name, help=text) for name, text in summaries if name.startswith(incomplete)]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the first argument."""
        name = args[0]
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing and not name.startswith("-"):
            hint = nearest(name, self.list_commands(ctx))
            if not hint and ctx.parent is None and Path(name).suffix:
                hint = f"; to parse a file: {ctx.command_path} parse FILE"
            ctx.fail(f"No such command {shorten(name)}{hint}")
        return super().resolve_command(ctx, args)


class LazyGroup(CommandGroup):
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

    def list_summaries(self, ctx: click.Context) -> dict[str, str]:
        """Return the first line of each command's help, without importing the commands."""
        return {name: self.summaries[name] for name in self.list_commands(ctx)}
