"""The defaults of the user that are in force for the current command: what notes, errors and help say of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.core import ParameterSource

from ....weights.addresses import hide_credentials
from ...text import escape, shorten
from .defaults import Setting

SETTINGS = "avvp.defaults"  # key of a context's meta: Setting by the name of the parameter


def is_typed(context: click.Context, name: str) -> bool:
    """Return whether the user typed a parameter."""
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def command_path(context: click.Context) -> tuple[str, ...]:
    """Return the names of a command below the program: ("parse",) for avvp parse and avvp-parse."""
    names: list[str] = []
    current: click.Context | None = context
    while current is not None:
        if current.parent is not None or not isinstance(current.command, click.Group):
            names.insert(0, current.command.name or "")
        current = current.parent
    return tuple(names)


def display_value(value: Any) -> str:
    """Return the value of a setting for messages and help, without credentials."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return ", ".join(map(display_value, value)) if isinstance(value, list | tuple) else hide_credentials(escape(value))


def settings_in_force(context: click.Context) -> dict[str, Setting]:
    """Return the settings of options that the user did not type, by flag."""
    settings: Mapping[str, Setting] = context.meta.get(SETTINGS, {})
    options = [item for item in context.command.params if isinstance(item, click.Option) and item.name in settings]
    return {
        max(item.opts, key=len): settings[item.name or ""] for item in options if not is_typed(context, item.name or "")
    }


def name_origins(error: click.ClickException, context: click.Context) -> None:
    """Add to a message who has set the options that it names."""
    parameter = error.param if isinstance(error, click.BadParameter) else None
    text = f"{error.message} {' '.join(parameter.opts) if parameter is not None else ''}"
    for flag, setting in settings_in_force(context).items():
        value = setting.value
        quotes_value = isinstance(value, str) and len(value) > 1 and escape(value) in text
        if quotes_value or re.search(rf"(?<![\w-]){flag}(?![\w-])", text):
            vars(error)["message"] += f"\n{flag} {shorten(display_value(value))} is set by {setting.origin}"


def print_notes(context: click.Context, unknown: Sequence[str]) -> None:
    """Print which options the file of the working folder sets, and which variables are probably mistyped."""
    for flag, setting in settings_in_force(context).items():
        if setting.of_folder:
            click.echo(f"note: {flag} {display_value(setting.value)} is set by {setting.origin}", err=True)
    for line in unknown:
        click.echo(f"note: {line}", err=True)
