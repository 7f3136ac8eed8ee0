"""Options dataclasses of commands: every field has a click parameter that gives values of the field's type."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

import click
import pytest
from avvp.pipeline.cli.main import avvp
from avvp.pipeline.cli.options.command import (
    CommandOptions,
    OptionsCommand,
    argument,
    command,
    given_flags,
    option,
)
from avvp.pipeline.cli.options.lazy_group import LazyGroup
from click.testing import CliRunner
from support.command import Result, subcommands

TYPES: dict[type[click.ParamType], type] = {
    click.IntRange: int, click.FloatRange: float, click.Choice: str, click.Path: Path,
}  # fmt: skip


def commands(group: click.Group = avvp) -> Iterator[click.Command]:
    for subcommand in subcommands(group).values():
        yield from commands(subcommand) if isinstance(subcommand, click.Group) else (subcommand,)


COMMANDS = [item for item in commands() if isinstance(item, OptionsCommand)]


def test_the_list_of_commands_shows_the_first_lines_of_their_help(run: Callable[..., Result]) -> None:
    """The list is written without importing the commands."""
    for name, item in subcommands(avvp).items():
        assert item.help is not None
        first_line = item.help.strip().split("\n")[0]
        assert isinstance(avvp, LazyGroup)
        assert avvp.summaries[name] == first_line
    listing = " ".join(run("--help").out.split())
    assert all(f"{name} {summary}" in listing for name, summary in avvp.summaries.items())


def test_all_commands_but_recipes_have_an_options_class() -> None:
    assert {item.name for item in commands()} - {item.name for item in COMMANDS} == {"recipes"}


@pytest.mark.parametrize("item", COMMANDS, ids=lambda item: item.name)
def test_parameters_are_the_fields(item: OptionsCommand) -> None:
    names = [parameter.name for parameter in item.params if parameter.name != "version"]
    assert sorted(map(str, names)) == sorted(declared.name for declared in fields(item.options))


def value_type(parameter: click.Parameter) -> tuple[Any, bool]:
    """Type of one value, and whether the parameter's value may be None."""
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return bool, False
    for kind, python_type in TYPES.items():
        if isinstance(parameter.type, kind):
            one: type = python_type
            break
    else:
        basic = {"text": str, "float": float, "integer": int}
        # A type of our own says what it gives; Any stands for the text itself.
        one = basic.get(parameter.type.name) or get_type_hints(type(parameter.type).convert)["return"]
        one = str if one is Any else one
    if parameter.multiple or parameter.nargs == -1:
        return tuple[one, ...], False
    if parameter.nargs > 1:
        one = tuple[(one,) * parameter.nargs]
    return one, not parameter.required and parameter.to_info_dict().get("default") is None


@pytest.mark.parametrize("item", COMMANDS, ids=lambda item: item.name)
def test_values_have_the_type_of_the_field(item: OptionsCommand) -> None:
    hints = get_type_hints(item.options)
    wrong = {}
    for parameter in item.params:
        if parameter.name == "version" or isinstance(parameter.type, click.File):
            continue
        hint = hints[str(parameter.name)]
        expected, optional = value_type(parameter)
        members = set(get_args(hint)) if get_origin(hint) in {Union, types.UnionType} else {hint}
        if members != ({expected, type(None)} if optional else {expected}):
            wrong[parameter.name] = (hint, expected, optional)
    assert not wrong


@dataclass(frozen=True, kw_only=True)
class Loud(CommandOptions):
    heading: ClassVar[str] = "Messages"
    loud: bool = field(metadata=option("--loud", is_flag=True, help="Print more."))


@dataclass(frozen=True, kw_only=True)
class Greeting(Loud):
    name: str = field(metadata=argument())
    times: int = field(metadata=option("-n", "--times", type=int, default=1, help="How often."))


def test_the_function_gets_a_frozen_instance() -> None:
    received: list[tuple[Greeting, list[str]]] = []

    @command(Greeting, examples=("greet Ada", "greet Ada -n 2"), notes="Polite.")
    def say_hello(options: Greeting) -> int:
        """Greet somebody."""
        received.append((options, given_flags(Greeting, Loud)))
        return 0

    assert say_hello.name == "say-hello"
    CliRunner().invoke(say_hello, ["Ada", "-n", "2"])
    CliRunner().invoke(say_hello, ["Ada", "--loud"])
    assert received == [
        (Greeting(name="Ada", times=2, loud=False), ["-n"]),
        (Greeting(name="Ada", times=1, loud=True), ["--loud"]),
    ]
    with pytest.raises(FrozenInstanceError):
        received[0][0].times = 3  # pyright: ignore[reportAttributeAccessIssue]
    shown = CliRunner().invoke(say_hello, ["-h"]).output
    parts = ["Greet somebody.", "Options:", "--times", "[default: 1]", "Messages:", "--loud", "Examples:", "Polite."]
    places = [shown.index(part) for part in parts]
    assert places == sorted(places)


def test_a_field_without_a_parameter_is_an_error_at_import() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Undeclared(CommandOptions):
        name: str

    with pytest.raises(TypeError, match=r"Undeclared\.name is not declared by option\(\) or argument\(\)"):
        command(Undeclared, examples=())(lambda _: 0)


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--annotations", ".", "--features", ".", "-o"),
        ("train-extractors", ".", "--annotations", ".", "-o"),
        ("reproduce", "table2", "--annotations", ".", "--features", ".", "-o"),
        ("pack", "."),
        ("synth",),
        ("convert", "x.events.json", "--output-dir"),
        ("parse", "x.mp4", "-o"),
        ("parse", "x.mp4", "--html"),
    ],
    ids=" ".join,
)
def test_an_address_is_no_local_path(
    arguments: tuple[str, ...], run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.mp4").touch()
    result = run(*arguments, "s3://user:password@bucket/x")
    assert result.status == 2
    assert "s3://***@bucket/x is an address; a local path is needed here" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]
