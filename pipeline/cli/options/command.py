"""Build click commands whose options arrive as one frozen dataclass, and map errors to exit statuses.

A field of an options class declares its click parameter beside its type; the field's name is the parameter's name:

    @dataclass(frozen=True, kw_only=True)
    class PackOptions(MessageOptions):
        features: Path = field(metadata=argument(type=EXISTING_FOLDER))
        dtype: str = field(metadata=option("--dtype", default="float32", help="..."))

    @command(PackOptions, examples=("avvp pack feats/ feats.packed",))
    def pack(options: PackOptions) -> int:

Groups of options that several commands have are base classes. `--help` lists the fields of a class before those of its
bases, each class under its `heading`. What the user has set in the environment or in an avvp.toml is the default of an
option, see `defaults`; it is in force where the context's object is `Defaults`, as the programs set it.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import inspect
import math
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import click

from ....weights.errors import WeightsError
from ...errors import AVVPError, SetupError
from ...text import escape
from .applied_defaults import SETTINGS, command_path, display_value, is_typed, name_origins, print_notes
from .completion import complete_option, complete_paths
from .defaults import Defaults, Setting

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 120}
STDOUT = "-"  # in place of a file name
HELP_HEADING = "Messages and help"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

_MAKE = "make_parameter"  # key of a field's metadata: a function from the field's name to the click parameter


class FiniteRange(click.FloatRange):
    """A range that excludes NaN and infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert as `click.FloatRange`, then refuse NaN and infinity."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


def check_name(text: str) -> str:
    """Return why no file can have a name that the user typed, else an empty string."""
    if not text:
        return "an empty text is not the name of a file or a folder"
    if _ADDRESS.match(text):
        return f"{escape(text)} is an address; a local path is needed here"
    try:
        Path(text).stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return f"{click.format_filename(text)!r} is a link that leads to itself"
    return ""


class NamedPath(click.Path):
    """A path that is not empty, as a script's unset variable is, and no link that leads to itself."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check the name, then convert as `click.Path`."""
        if fault := check_name(value):
            self.fail(fault, param, ctx)
        return super().convert(value, param, ctx)


EXISTING_FILE = NamedPath(exists=True, dir_okay=False, path_type=Path)
EXISTING_FOLDER = NamedPath(exists=True, file_okay=False, path_type=Path)
EXISTING_PATH = NamedPath(exists=True, path_type=Path)
OUTPUT_FILE = NamedPath(dir_okay=False, path_type=Path)
OUTPUT_FOLDER = NamedPath(file_okay=False, path_type=Path)
ANY_PATH = NamedPath(path_type=Path)


@dataclass(frozen=True, kw_only=True)
class CommandOptions:
    """Base class of all options of commands."""

    heading: ClassVar[str] = "Options"  # of the section of --help that lists the fields of this class


OptionsT = TypeVar("OptionsT", bound=CommandOptions)
CommandT = TypeVar("CommandT", bound=click.Command)


def option(*flags: str, **attributes: Any) -> Mapping[str, Any]:
    """Declare a field of an options class as an option.

    Args:
        flags: as typed by the user, for example "-o", "--output".
        attributes: as `click.Option` takes them: type, default, is_flag, multiple, metavar, help, ...

    Returns:
        The metadata of the field.
    """
    attributes.setdefault("shell_complete", complete_option(flags, attributes))
    return {_MAKE: lambda name: click.Option([*flags, name], **attributes)}


def argument(**attributes: Any) -> Mapping[str, Any]:
    """Declare a field of an options class as a positional argument.

    Args:
        attributes: as `click.Argument` takes them: type, nargs, required, metavar, ...

    Returns:
        The metadata of the field.
    """
    attributes.setdefault("shell_complete", complete_paths(attributes))
    return {_MAKE: lambda name: click.Argument([name], **attributes)}


class OptionsCommand(click.Command):
    """A command that passes an instance of its options class to a function.

    Attributes:
        options: the options class.
        reports_defaults: whether the command runs where an avvp.toml is wrong, and says so itself.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[OptionsT], int],
        options: type[OptionsT],
        epilog: str,
        *,
        reports_defaults: bool = False,
    ) -> None:
        def callback(**values: Any) -> int:
            return function(options(**values))

        self.options: type[CommandOptions] = options
        self.reports_defaults = reports_defaults
        self._headings = {
            name: group.__dict__.get("heading", CommandOptions.heading)
            for group in options.__mro__
            for name in _own_fields(group)
        }
        metadata = {field.name: field.metadata for field in fields(options)}
        if undeclared := [name for name in self._headings if _MAKE not in metadata[name]]:
            raise TypeError(f"{options.__name__}.{undeclared[0]} is not declared by option() or argument()")
        parameters: list[click.Parameter] = [metadata[name][_MAKE](name) for name in self._headings]
        super().__init__(name, CONTEXT_SETTINGS, callback, parameters, function.__doc__, epilog)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line; options that it does not have get the defaults that the user has set."""
        if not isinstance(ctx.obj, Defaults):
            return super().parse_args(ctx, args)
        fault: SetupError | None = None
        try:
            settings = ctx.obj.of_command(command_path(ctx), self)
        except SetupError as error:
            settings, fault = {}, error
        ctx.default_map = {name: setting.value for name, setting in settings.items()}
        ctx.meta[SETTINGS] = settings
        try:
            rest = super().parse_args(ctx, args)  # --help ends here, even where a file is wrong
        except click.BadParameter as error:
            name_origins(error, ctx)
            raise
        if not ctx.resilient_parsing:
            if fault is not None and not self.reports_defaults:
                raise StartError(str(fault)) from fault
            if not ctx.params.get("quiet"):
                print_notes(ctx, ctx.obj.unknown_variables(command_path(ctx), self))
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error that names an option says who has set it, if it was not typed."""
        try:
            return super().invoke(ctx)
        except (click.UsageError, StartError) as error:
            name_origins(error, ctx)
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each heading, with the defaults in force."""
        settings: Mapping[str, Setting] = ctx.meta.get(SETTINGS, {})
        sections: dict[str, list[tuple[str, str]]] = {}
        for declared in self.get_params(ctx):
            parameter = declared
            if isinstance(declared, click.Option) and (setting := settings.get(declared.name or "")):
                parameter = copy.copy(declared)
                parameter.show_default = f"{display_value(setting.value)}, set by {setting.origin}"
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections.setdefault(self._headings.get(parameter.name or "", HELP_HEADING), []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def command(
    options: type[OptionsT],
    *,
    examples: Sequence[str],
    notes: str = "",
    name: str | None = None,
    reports_defaults: bool = False,
) -> Callable[[Callable[[OptionsT], int]], OptionsCommand]:
    """Turn a function of typed options into a click command.

    Args:
        options: the options class. Every field is declared by `option` or `argument`.
        examples: command lines at the end of --help.
        notes: text after the examples; click wraps its paragraphs.
        name: of the command; by default the function's, with hyphens.
        reports_defaults: whether it runs where an avvp.toml is wrong, and says so itself.

    Returns:
        A decorator. The function's docstring is the text of --help; its result is the exit status.

    Raises:
        TypeError: a field has no click declaration.
    """
    epilog = format_examples(examples) + (f"\n\n{notes}" if notes else "")
    return lambda function: OptionsCommand(
        name or function.__name__.replace("_", "-"),
        function,
        options,
        epilog if examples else notes,
        reports_defaults=reports_defaults,
    )


def format_examples(examples: Sequence[str]) -> str:
    """Return a paragraph of command lines that click does not wrap (it starts with a backspace character)."""
    lines = [f"\b\nExample{'s' if len(examples) > 1 else ''}:", *(f"  {example}" for example in examples)]
    return "\n".join(lines)


def version_option(program: str) -> Callable[[CommandT], CommandT]:
    """Add --version, which prints the program's name and the version."""
    return click.version_option(None, "--version", package_name="avvp", prog_name=program)


def given_flags(*groups: type[CommandOptions]) -> list[str]:
    """List the options that the user typed, of the current command.

    Args:
        groups: options classes; fields of their bases are not included.

    Returns:
        The flags as declared, such as "--keep-tree", in the order of the fields.
    """
    context = click.get_current_context()
    flags = {item.name: item.opts[0] for item in context.command.params if isinstance(item, click.Option)}
    names = [name for group in groups for name in _own_fields(group) if name in flags]
    return [flags[name] for name in names if is_typed(context, name)]


def is_given(name: str) -> bool:
    """Return whether the user typed an option, or an argument, of the current command.

    Args:
        name: of the field of the options class.
    """
    context = click.get_current_context(silent=True)
    return context is not None and is_typed(context, name)


def drop_defaults(options: OptionsT, *names: str) -> OptionsT:
    """Ignore what the environment and avvp.toml have set where it does not go with what the user typed.

    Args:
        options: of the current command.
        names: of fields.

    Returns:
        The options; those of the fields that the user did not type have the program's default.
    """
    context = click.get_current_context()
    plain = context.command.make_context(context.info_name, [], resilient_parsing=True).params
    return replace(options, **{name: plain[name] for name in names if not is_typed(context, name)})


def _own_fields(group: type) -> list[str]:
    """Return the names of the fields that a class declares itself, in order."""
    if not issubclass(group, CommandOptions):
        return []
    declared = {field.name for field in fields(group)}
    return [name for name in inspect.get_annotations(group) if name in declared]


class StartError(click.ClickException):
    """An error before any work is done; printed in one line, exit status 2."""

    exit_code = 2


class RunError(click.ClickException):
    """An error after work has begun; printed in one line, exit status 1."""

    exit_code = 1


@contextlib.contextmanager
def exit_2_on_error(*, debug: bool) -> Iterator[None]:
    """Turn errors that the user can fix into exit status 2: before any work.

    Args:
        debug: print the traceback, too.
    """
    with _convert_errors(StartError, debug=debug):
        yield


@contextlib.contextmanager
def exit_1_on_error(*, debug: bool) -> Iterator[None]:
    """Turn errors that the user can fix into exit status 1: once work has begun.

    Args:
        debug: print the traceback, too.
    """
    with _convert_errors(RunError, debug=debug):
        yield


@contextlib.contextmanager
def _convert_errors(kind: type[click.ClickException], *, debug: bool) -> Iterator[None]:
    try:
        yield
    except (AVVPError, WeightsError) as error:
        if debug:
            traceback.print_exc()
        raise kind(str(error)) from error
