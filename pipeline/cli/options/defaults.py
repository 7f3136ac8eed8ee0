"""Defaults of options that the user has set: in environment variables, and in files named avvp.toml.

The command line has precedence over the environment, the environment over files, and the file of the working folder
over the user's. Inside a file, the table of a command has precedence over [defaults].
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import platformdirs

from ....weights.errors import WeightsError
from ....weights.safe_paths import is_file
from ...errors import SetupError
from ...text import escape, shorten

FILE_NAME = "avvp.toml"
FILE_VARIABLE = "AVVP_CONFIG"  # names the only file to read; empty: none is read
SHARED_TABLE = "defaults"  # of a file: options of all commands that have them
_PREFIX = "AVVP"
_CLOSE = 0.75  # similarity, of 1, above which a variable is taken for a mistyped one

# Options that the avvp.toml of a working folder may set. The folder may be a stranger's, unpacked from an archive: its
# file may say how videos are analysed, but name no file, no address and no program, replace nothing, and take nothing
# of the machine.
FOLDER_OPTIONS = frozenset({
    "bands", "classes", "format", "keep-classes", "keep-suffix", "keep-tree", "merge", "merge-gap", "min-duration",
    "min-score", "modality", "pad", "per-class", "recursive", "rule", "segments", "sheet", "sort", "threshold",
    "video-threshold", "weights",
})  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """A default that the user has set.

    Attributes:
        value: as click takes it for the option.
        origin: the variable, or the file with table and key, for messages.
        of_folder: whether it comes from the avvp.toml of the working folder.
    """

    value: Any
    origin: str
    of_folder: bool = False


@dataclass(frozen=True)
class DefaultsFile:
    """An avvp.toml.

    Attributes:
        path: the file.
        of_folder: whether it is there because it lies in the working folder, not because the user has put it there.
    """

    path: Path
    of_folder: bool

    @cached_property
    def tables(self) -> Mapping[str, Mapping[str, Any]]:
        """The tables of the file. Raises SetupError if it is not such a file."""
        from ....weights.toml import read_toml
        from ....weights.unicode import TextError

        try:
            tables = read_toml(self.path)
        except (TextError, OSError) as error:
            raise SetupError(f"{escape(self.path)}: {error}") from error
        for name, table in tables.items():
            if not isinstance(table, dict):
                raise SetupError(
                    f"{escape(self.path)}: {escape(name)} is in no table; put it into [{SHARED_TABLE}] or into the"
                    " table of a command, such as [parse]"
                )
        return tables


def option_key(option: click.Option) -> str:
    """Return the name of an option in avvp.toml: its long flag without hyphens in front, such as "batch-size"."""
    return max(option.opts, key=len).lstrip("-")


def settable_options(command: click.Command) -> dict[str, click.Option]:
    """Return the options of a command that have defaults, by their name in avvp.toml.

    Those that take several values, as the files of `avvp pack --from-h5`, have none.
    """
    options = (item for item in command.params if isinstance(item, click.Option) and not item.is_eager)
    return {option_key(option): option for option in options if option.nargs == 1}


def variable_name(path: Iterable[str], key: str) -> str:
    """Return the environment variable of an option.

    Args:
        path: names of the command, such as ("weights", "fetch").
        key: of the option, see `option_key`.

    Returns:
        For example `AVVP_WEIGHTS_FETCH_WEIGHTS_DIR`.
    """
    return "_".join([_PREFIX, *path, key]).replace("-", "_").upper()


def user_file() -> Path:
    """Return the path of the user's avvp.toml, which need not exist."""
    return Path(platformdirs.user_config_dir("avvp")) / FILE_NAME


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return "; did you mean X?" for the most similar known name, else an empty string."""
    import difflib

    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {escape(matches[0])}?" if matches else ""


class Defaults:
    """The defaults that are in force for a program.

    Args:
        program: the group of all commands.
        environment: variables; None for those of this process.
        folder: the working folder.
    """

    def __init__(
        self, program: click.Group, *, environment: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> None:
        self._program = program
        self._environment = os.environ if environment is None else environment
        self._folder = folder or Path()

    @cached_property
    def files(self) -> tuple[DefaultsFile, ...]:
        """The files that exist, the one with the highest precedence first.

        Raises:
            SetupError: AVVP_CONFIG names a file that does not exist.
        """
        named = self._environment.get(FILE_VARIABLE)
        if named is not None:
            if named and not is_file(Path(named)):
                raise SetupError(f"{FILE_VARIABLE}: {escape(named)} is not a file; empty it to read none")
            return (DefaultsFile(Path(named), of_folder=False),) if named else ()
        of_user, of_folder = user_file(), self._folder / FILE_NAME
        found = [DefaultsFile(of_user, of_folder=False)] if is_file(of_user) else []
        if is_file(of_folder) and not (found and of_folder.samefile(of_user)):
            found.insert(0, DefaultsFile(of_folder, of_folder=True))
        return tuple(found)

    def of_command(self, path: tuple[str, ...], command: click.Command) -> dict[str, Setting]:
        """Return the defaults of a command.

        Args:
            path: its names, such as ("weights", "fetch").
            command: the command.

        Returns:
            Setting by the name of the click parameter.

        Raises:
            SetupError: a file cannot be read, or a name or a value in it is wrong.
        """
        options = settable_options(command)
        settings: dict[str, Setting] = {}
        for file in reversed(self.files):
            for key, setting in self._of_file(file, path, options):
                settings[options[key].name or ""] = setting
        for key, option in options.items():
            variable = variable_name(path, key)
            if value := self._environment.get(variable):
                values = option.type.split_envvar_value(value) if option.multiple else value
                settings[option.name or ""] = Setting(values, variable)
        return settings

    def unknown_variables(self, path: tuple[str, ...], command: click.Command) -> list[str]:
        """Describe the environment variables that look like mistyped ones of a command's options.

        Args:
            path: names of the command.
            command: the command.

        Returns:
            A line for each.
        """
        known = {variable_name(path, key) for key in settable_options(command)}
        prefix = variable_name(path, "")
        found = []
        for name in sorted(self._environment):
            if name.startswith(prefix) and name not in known and not self._is_of_other_command(name, path):
                ends = [variable.removeprefix(prefix) for variable in known]
                if hint := nearest(name.removeprefix(prefix), ends, cutoff=_CLOSE):
                    found.append(f"{escape(name)} sets no option{hint.replace('mean ', f'mean {prefix}')}")
        return found

    def _is_of_other_command(self, variable: str, path: tuple[str, ...]) -> bool:
        """Return whether a variable may be one of a command whose name begins as this one's: train-extractors."""
        context = click.Context(self._program)
        own = variable_name(path, "")
        prefixes = [variable_name((name,), "") for name in self._program.list_commands(context)]
        return any(variable.startswith(prefix) and len(prefix) > len(own) for prefix in prefixes)

    def commands(self) -> Iterator[tuple[tuple[str, ...], click.Command]]:
        """Yield the names and the object of every command that is no group; this imports them."""

        def walk(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
            context = click.Context(group)
            for name in group.list_commands(context):
                command = group.get_command(context, name)
                if isinstance(command, click.Group):
                    yield from walk(command, (*path, name))
                elif command is not None:
                    yield (*path, name), command

        return walk(self._program, ())

    def _of_file(
        self, file: DefaultsFile, path: tuple[str, ...], options: Mapping[str, click.Option]
    ) -> Iterator[tuple[str, Setting]]:
        """Yield what a file sets for a command, the values with the highest precedence last."""
        known = self._program.list_commands(click.Context(self._program))
        for name in file.tables:
            if name not in known and name != SHARED_TABLE:
                where = f"{escape(file.path)}: [{escape(name)}]"
                raise SetupError(f"{where} is not a command{nearest(name, [*known, SHARED_TABLE])}")
        shared = file.tables.get(SHARED_TABLE, {})
        for key, value in _normal_keys(shared).items():
            where = f"{escape(file.path)}: [{SHARED_TABLE}] {escape(key)}"
            if key in options:
                yield key, _read_setting(file, key, value, options[key], where)
            else:
                self._check_shared(key, where)
        table: Any = file.tables
        for name in path:
            table = table.get(name, {})
            if not isinstance(table, dict):
                raise SetupError(f"{escape(file.path)}: [{' '.join(path)}] is {type(table).__name__}, not a table")
        for key, value in _normal_keys(table).items():
            where = f"{escape(file.path)}: [{'.'.join(path)}] {escape(key)}"
            if key not in options:
                command = " ".join(("avvp", *path))
                raise SetupError(f"{where}: {command} has no such option{nearest(key, options)}")
            yield key, _read_setting(file, key, value, options[key], where)

    def _check_shared(self, key: str, where: str) -> None:
        """Raise SetupError if no command has an option."""
        known: set[str] = set()
        for _, command in self.commands():
            known |= settable_options(command).keys()
            if key in known:
                return
        raise SetupError(f"{where}: no command has such an option{nearest(key, sorted(known))}")


def _normal_keys(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("_", "-"): value for key, value in table.items()}


def _read_setting(file: DefaultsFile, key: str, value: Any, option: click.Option, where: str) -> Setting:
    """Check the type of a value; raise SetupError if the option does not take it, or the file may not set it."""
    if file.of_folder:
        _check_allowed(key, value, where)
    expected, fits = _expected_type(option)
    values = value if option.multiple and isinstance(value, list) else [value]
    if not all(map(fits, values)):
        plural = f"{expected}, or a list of them," if option.multiple else expected
        raise SetupError(f"{where} is {shorten(str(value))}; {plural} is expected")
    read = [_resolve(file, item, option) for item in values]
    return Setting(read if option.multiple else read[0], where, file.of_folder)


def _check_allowed(key: str, value: Any, where: str) -> None:
    """Raise SetupError for what the file of a working folder may not set."""
    elsewhere = f"put it into {escape(user_file())}, or set {FILE_VARIABLE}={FILE_NAME} if the file is yours"
    if key not in FOLDER_OPTIONS:
        raise SetupError(f"{where} is not an option that the {FILE_NAME} of a working folder may set; {elsewhere}")
    if key == "classes" and str(value).startswith("@"):
        raise SetupError(f"{where} names a file; {elsewhere}")
    if key == "weights":
        from ....weights.manifest import list_bundles

        try:
            bundles = list_bundles()
        except WeightsError as error:
            raise SetupError(str(error)) from error
        if value not in bundles:
            names = ", ".join(bundles)
            raise SetupError(
                f"{where} is {shorten(str(value))}; the {FILE_NAME} of a working folder may name {names}; for others,"
                f" {elsewhere}"
            )


def _expected_type(option: click.Option) -> tuple[str, Any]:
    """Return what an option takes, for messages, and a function that says whether a value is one of it."""
    if option.is_flag:
        return "true or false", lambda value: isinstance(value, bool)
    if isinstance(option.type, click.types.IntParamType):
        return "a whole number", lambda value: isinstance(value, int) and _is_number(value)
    if isinstance(option.type, click.types.FloatParamType):
        return "a number", _is_number
    if isinstance(option.type, click.types.StringParamType | click.Choice | click.Path | click.File):
        return "a text in quotes", lambda value: isinstance(value, str)
    # Types of our own, such as times: seconds are a number, 1:30 is a text.
    return "a number or a text in quotes", lambda value: isinstance(value, str) or _is_number(value)


def _is_number(value: Any) -> bool:
    """Return whether a value is a number that can be converted to a float."""
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63)


def _resolve(file: DefaultsFile, value: Any, option: click.Option) -> Any:
    """Complete the name of a file: it is relative to the folder of the avvp.toml, and "~" is the home folder."""
    if not isinstance(value, str) or not value:
        return value
    if value.startswith("~/"):
        return str(Path(value).expanduser())
    is_name = isinstance(option.type, click.Path | click.File) and value != "-"
    if is_name or value.startswith(("./", "../")):
        return str(file.path.parent / value)
    return value
