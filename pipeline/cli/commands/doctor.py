"""Command avvp doctor: what is installed, what works, which defaults are in force, and how fast this machine is."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ....weights.manifest import DEFAULT_BUNDLE
from ....weights.source import WeightSource
from ...errors import SetupError
from ...text import escape
from ..options.applied_defaults import display_value
from ..options.command import command, option
from ..options.defaults import Defaults, Setting, settable_options
from ..options.groups import DebugOptions

if TYPE_CHECKING:
    from ...diagnosis.section import Finding, Section

_INDENT = " " * 9  # of the text behind a mark
_UNWRAPPED = 1 << 30  # columns: lines of files and pipes are whole
_COLOURS = {"ok": "green", "note": "yellow", "broken": "red"}


@dataclass(frozen=True, kw_only=True)
class DoctorOptions(DebugOptions):
    """Options of avvp doctor."""

    as_json: bool = field(metadata=option("--json", is_flag=True, help="Print one JSON document, for programs."))
    measure: bool = field(
        metadata=option(
            "--measure/--no-measure", default=True, help="Measure the speed of this machine: takes a few seconds."
        )
    )
    measure_again: bool = field(
        metadata=option(
            "--measure-again",
            is_flag=True,
            help="Measure again which backend and precision are fastest, and remember it for --backend auto and"
            " --precision auto.",
        )
    )
    weights: str | None = field(
        metadata=option(
            "--weights", metavar="NAME|FOLDER", show_default="as avvp parse", help="Bundle that is to be used."
        )
    )
    device: str | None = field(
        metadata=option(
            "--device", metavar="auto|cpu|cuda[:N]", show_default="as avvp parse", help="Device that is measured."
        )
    )


@command(
    DoctorOptions,
    examples=("avvp doctor", "avvp doctor --no-measure", "avvp doctor --measure-again", "avvp doctor --json"),
    notes="Nothing is downloaded, and nothing is written but a clip of one second for the decoders, which is removed,"
    " and what --measure-again remembers in the cache folder. Exit status: 0 videos can be parsed; 1 something that is"
    " needed is broken.",
    reports_defaults=True,
)
def doctor(options: DoctorOptions) -> int:
    """Check the installation: versions, devices, decoders, weights, defaults, speed.

    Lines that begin with BROKEN keep avvp from parsing videos; those with "note" are about something optional. Missing
    weight files are no fault: avvp parse downloads them, unless --offline is a default.
    """
    if options.measure_again and not options.measure:
        raise click.UsageError("--measure-again and --no-measure exclude each other")
    context = click.get_current_context()
    defaults = context.find_object(Defaults)
    assert defaults is not None  # both programs set it
    section, in_force = check_defaults(defaults)
    sections: dict[str, Section] = {}
    for name, check in _checks(options, in_force, section):
        sections[name] = _guarded(name, check)
        if not options.as_json:
            _print_section(sections[name])
    broken = [item for one in sections.values() for item in one.findings if item.state == "broken"]
    if options.as_json:
        click.echo(json.dumps(_document(sections), indent=2, ensure_ascii=False))
    elif broken:
        click.echo("\navvp cannot parse videos: the lines with BROKEN say why")
    else:
        click.echo("\navvp can parse videos")
    return int(bool(broken))


def _guarded(name: str, check: Callable[[], Section]) -> Section:
    """Run a check; a fault of the check itself is a finding, and must not hide the others."""
    from ...diagnosis.section import Section

    try:
        return check()
    except Exception as error:
        section = Section(name.capitalize())
        section.add(f"cannot be checked: {type(error).__name__}: {escape(error)}", "broken", "please report it")
        return section


def _checks(
    options: DoctorOptions, in_force: dict[str, Setting], defaults: Section
) -> Iterator[tuple[str, Callable[[], Section]]]:
    """Yield the checks by their key in the JSON document; each is imported when it is its turn."""
    from ...diagnosis.decoding import check_decoding
    from ...diagnosis.installation import check_extras, check_machine, check_packages
    from ...diagnosis.weight_files import check_weights

    def value(name: str, program_default: Any) -> Any:
        return in_force[name].value if name in in_force else program_default

    weights = options.weights or value("weights", DEFAULT_BUNDLE)
    device = options.device or value("device", "auto")
    folder = value("weights_dir", None)
    source = WeightSource(None if folder is None else Path(folder), _is_on(value("offline", False)))
    yield "installation", check_packages
    yield "machine", check_machine
    yield "decoding", check_decoding
    yield "extras", check_extras
    yield "weights", lambda: check_weights(weights, source)
    yield "defaults", lambda: defaults
    if options.measure:
        from ...diagnosis.speed import check_speed

        yield "speed", lambda: check_speed(weights, source, device, again=options.measure_again)


def _is_on(value: Any) -> bool:
    """Return the value of a flag: a boolean of a file, or the text of a variable."""
    try:
        return bool(click.BOOL.convert(value, None, None))
    except click.BadParameter:  # which is reported among the defaults
        return False


def check_defaults(defaults: Defaults) -> tuple[Section, dict[str, Setting]]:
    """List the defaults of all commands, and what is wrong with them.

    Args:
        defaults: of the program.

    Returns:
        The section, and what is in force for avvp parse, by parameter.
    """
    from ...diagnosis.section import Section

    section = Section("Defaults")
    section.facts = {"files": [], "set": []}
    of_parse: dict[str, Setting] = {}
    faults: dict[str, None] = {}  # in order, each once: a wrong file is wrong for every command
    try:
        section.facts["files"] = [str(file.path.absolute()) for file in defaults.files]
    except SetupError as error:
        section.add(str(error), "broken")
        return section, of_parse
    for path in section.facts["files"]:
        section.add(f"file {escape(path)}")
    for path, item in defaults.commands():
        try:
            settings = defaults.of_command(path, item)
        except SetupError as error:
            faults[str(error)] = None
            continue
        wrong = dict(_wrong_values(item, settings))
        faults |= dict.fromkeys(wrong.values())
        if path == ("parse",):
            of_parse = settings
        options = {option.name: key for key, option in settable_options(item).items()}
        for name, setting in settings.items():
            shown = {
                "command": " ".join(path), "option": options[name], "value": display_value(setting.value),
                "origin": setting.origin,
            }  # fmt: skip
            section.facts["set"].append(shown)
            if name not in wrong:
                section.add(f"avvp {shown['command']} --{shown['option']} {shown['value']}: {shown['origin']}")
        for line in defaults.unknown_variables(path, item):
            section.add(line, "note")
    for text in faults:
        section.add(text, "broken")
    if not section.findings:
        section.add("none are set: those of the program are in force")
    return section, of_parse


def _wrong_values(item: click.Command, settings: dict[str, Setting]) -> Iterator[tuple[str, str]]:
    """Yield the parameters whose values click refuses, and why. Files are not opened."""
    context = click.Context(item)
    for option_ in settable_options(item).values():
        setting = settings.get(option_.name or "")
        if setting is None or isinstance(option_.type, click.File):
            continue
        try:
            option_.type_cast_value(context, setting.value)
        except click.BadParameter as error:
            yield option_.name or "", f"{setting.origin}: {error.message}"


def _print_section(section: Section) -> None:
    click.echo(section.title)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNWRAPPED
    for finding in section.findings:
        text = click.wrap_text(finding.text, width, initial_indent=_INDENT, subsequent_indent=_INDENT)
        click.echo(f"  {_mark(finding)} {text[len(_INDENT) :]}")
        if finding.advice:
            click.echo(click.wrap_text(finding.advice, width, initial_indent=_INDENT, subsequent_indent=_INDENT))


def _mark(finding: Finding) -> str:
    name = "BROKEN" if finding.state == "broken" else finding.state
    return click.style(f"{name:<6}", fg=_COLOURS[finding.state])


def _document(sections: dict[str, Section]) -> dict[str, Any]:
    problems = [
        {"section": name, "state": item.state, "text": item.text, "advice": item.advice or None}
        for name, section in sections.items()
        for item in section.findings
        if item.state != "ok"
    ]
    facts: dict[str, Any] = {name: section.facts for name, section in sections.items()}
    broken = any(item["state"] == "broken" for item in problems)
    return {"ok": not broken, **facts, "speed": facts.get("speed"), "problems": problems}
