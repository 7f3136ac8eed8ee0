"""Parts of other packages: encoders, decoders, extractors, losses and decisions that a user has written.

A part is named in one of two ways:

plain name        one of this program's, or an entry point of an installed package (groups in `GROUPS`). Names of this
                  program come first and cannot be replaced.
"module:Name"     an object of a module that can be imported. Importing runs the module's code, so that the module has
                  to be trusted by the user: nothing that a file names is imported otherwise.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .messages import first_line, shown

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUPS = {
    "encoder": "avvp.encoders",
    "decoder": "avvp.decoders",
    "extractor": "avvp.extractors",
    "loss": "avvp.losses",
    "decision": "avvp.decisions",
}
TRUST_VARIABLE = "AVVP_TRUST_PARTS"  # packages, separated by commas
MAX_PART_NAME = 200  # characters of "module:Name"
MAX_OPTIONS = 64  # settings of a part
MAX_OPTION_CHARACTERS = 10_000  # of all settings of a part, as JSON
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_REFERENCE = re.compile(rf"({_MODULE.pattern}):([A-Za-z_]\w*)", re.ASCII)
_LISTED = 20  # names in a message


@dataclass(frozen=True)
class Part:
    """A part of another package, imported."""

    kind: str  # key of `GROUPS`
    name: str  # as the recipe or the file names it
    value: Any  # the object
    package: str  # its distribution; the top-level module where none is installed
    version: str  # of the distribution, or the module's `__version__`; "unknown" if there is neither
    source: str  # sha256 of the module's file; empty if it has none

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def to_dict(self) -> dict[str, str]:
        """Return a JSON-ready description for the provenance of results."""
        return {name: getattr(self, name) for name in ("kind", "name", "package", "version", "source")}

    def call(self, *arguments: object, **options: object) -> Any:
        """Call the object. Raises ValueError that names the part where the object raises an exception."""
        try:
            return self.value(*arguments, **options)
        except Exception as error:
            raise ValueError(f"the {self} failed: {describe_exception(error)}") from error


def describe_exception(error: BaseException) -> str:
    """Return the type and the first line of the message of an exception that a part has raised."""
    return f"{type(error).__name__}: {first_line(error)}"


def is_reference(name: str) -> bool:
    """Return whether a name is "module:Name"."""
    return len(name) <= MAX_PART_NAME and _REFERENCE.fullmatch(name) is not None


def module_of(name: str) -> str:
    """Return the module of "module:Name"."""
    return name.partition(":")[0]


def part_names(kind: str, own: Iterable[str]) -> list[str]:
    """List the plain names of a kind.

    Args:
        kind: key of `GROUPS`.
        own: names of this program.

    Returns:
        The names of this program, then those of installed packages that are not among them.
    """
    names = list(own)
    return names + sorted(set(_points(kind)) - set(names))


def installed_parts() -> list[tuple[str, str, str]]:
    """List the entry points of installed packages: kind, name, and the package with its version."""
    return [
        (kind, name, "" if point.dist is None else f"{point.dist.name} {point.dist.version}")
        for kind in GROUPS
        for name, point in sorted(_points(kind).items())
    ]


def check_part_name(kind: str, name: object, own: Collection[str]) -> None:
    """Check that a name can be that of a part; nothing is imported.

    Args:
        kind: key of `GROUPS`.
        name: the name, from a recipe or a file.
        own: names of this program.

    Raises:
        ValueError: it is neither one of this program nor "module:Name" nor of an installed package.
    """
    if isinstance(name, str) and (name in own or is_reference(name) or name in _points(kind)):
        return
    known = part_names(kind, own)
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    raise ValueError(
        f"{kind} is {shown(name)}, not one of {', '.join(known[:_LISTED])}{more}; nor module:Name of a package of yours"
    )


def check_part(kind: str, name: object, options: object, own: Collection[str]) -> None:
    """Check the name of a part and its settings; nothing is imported.

    Args:
        kind: key of `GROUPS`.
        name: the name, from a recipe or a file.
        options: its settings.
        own: names of this program, which have no such settings.

    Raises:
        ValueError: the name cannot be that of a part, see `check_part_name`; or the settings are not plain values, or
            for a part of this program.
    """
    check_part_name(kind, name, own)
    check_options(f"{kind}_options", options)
    if options and name in own:
        raise ValueError(
            f"{kind}_options are settings of parts of other packages; the {kind} {name} is of this program"
        )


def load_part(kind: str, name: str, own: Collection[str], trust: Iterable[str] = ()) -> Part:
    """Import a part of another package.

    Args:
        kind: key of `GROUPS`.
        name: "module:Name", or the name of an entry point.
        own: names of this program, which are none of another package.
        trust: packages and modules that "module:Name" may name, beside those in AVVP_TRUST_PARTS.

    Returns:
        The part.

    Raises:
        ValueError: the name is unknown, its module is not trusted, or it cannot be imported. The message says which
            option trusts it.
    """
    check_part_name(kind, name, own)
    if name in own:
        raise ValueError(f"{kind} {name} is one of this program")
    if not is_reference(name):
        point = _points(kind)[name]
        value = _import(kind, name, point.module, point.attr)
        distribution = point.dist
        assert distribution is not None  # of `entry_points`
        return Part(kind, name, value, distribution.name, distribution.version, _hash_module(point.module))
    module, _, attribute = name.partition(":")
    _check_trust(kind, name, module, trust)
    value = _import(kind, name, module, attribute)
    return Part(kind, name, value, *_distribution(module), _hash_module(module))


def read_trust(values: Iterable[str]) -> tuple[str, ...]:
    """Read the names of trusted packages.

    Args:
        values: names of packages or modules; one value may have several, separated by commas.

    Returns:
        The names.

    Raises:
        ValueError: one is not the name of a module.
    """
    names = tuple(name.strip() for value in values for name in value.split(",") if name.strip())
    for name in names:
        if not _MODULE.fullmatch(name):
            raise ValueError(f"{shown(name)} is not the name of a package, as mypkg or mypkg.module")
    return names


def trusted_packages(trust: Iterable[str]) -> tuple[str, ...]:
    """Return the packages that are trusted: those given, and those in AVVP_TRUST_PARTS."""
    return read_trust([*trust, os.environ.get(TRUST_VARIABLE, "")])


def check_options(name: str, options: object) -> None:
    """Check the settings of a part: plain values that a checkpoint can hold.

    Args:
        name: of the table, for the message.
        options: setting -> number, text, true or false, or a list of them.

    Raises:
        ValueError: it is no such table, or larger than a table may be.
    """
    if not isinstance(options, Mapping):
        raise ValueError(f"{name} is {shown(options)}, expected a table")
    if len(options) > MAX_OPTIONS:
        raise ValueError(f"{name} has {len(options)} settings, more than {MAX_OPTIONS}")
    for key, value in options.items():
        if not isinstance(key, str) or not key.isidentifier():
            raise ValueError(f"{name}: {shown(key)} is not the name of a setting")
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, bool | int | float | str) or (isinstance(item, float) and not math.isfinite(item)):
                raise ValueError(
                    f"{name}.{key} is {shown(value)}, expected a number, text, true or false, or a list of them"
                )
    try:
        size = len(json.dumps(dict(options)))
    except ValueError as error:  # an integer too large to be written
        raise ValueError(f"{name}: {first_line(error)}") from error
    if size > MAX_OPTION_CHARACTERS:
        raise ValueError(f"{name} has {size} characters, more than {MAX_OPTION_CHARACTERS}")


def _points(kind: str) -> dict[str, EntryPoint]:
    """Return the entry points of a kind by name. Raises ValueError where two packages give the same name."""
    from importlib.metadata import entry_points

    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUPS[kind]):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            names = " and ".join(sorted({str(item.dist.name) for item in (other, point) if item.dist is not None}))
            raise ValueError(
                f"{names} both have the {kind} {shown(point.name)} ({other.value}, {point.value}): remove one of them"
            )
    return found


def _check_trust(kind: str, name: str, module: str, trust: Iterable[str]) -> None:
    if any(module == trusted or module.startswith(f"{trusted}.") for trusted in trusted_packages(trust)):
        return
    package = module.partition(".")[0]
    raise ValueError(
        f"the {kind} {name} is a program of another package, which runs when it is loaded. If you trust it:"
        f" --trust-parts {package} (or {TRUST_VARIABLE}={package}; in Python WeightSource(trust=({package!r},)))"
    )


def _import(kind: str, name: str, module: str, attribute: str) -> Any:
    try:
        value = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the {kind} {name} cannot be imported: {first_line(error)}; install its package, or name its folder in"
            " PYTHONPATH"
        ) from error
    except (Exception, SystemExit) as error:
        raise ValueError(f"the {kind} {name} cannot be imported: {describe_exception(error)}") from error
    for step in filter(None, attribute.split(".")):
        if not hasattr(value, step):
            raise ValueError(f"the {kind} {name} cannot be imported: {module} has no {attribute}")
        value = getattr(value, step)
    if not callable(value):
        raise ValueError(f"the {kind} {name} is {shown(value)}, expected a class or a function")
    return value


def _distribution(module: str) -> tuple[str, str]:
    """Return the name and version of the distribution that a module is installed from."""
    from importlib.metadata import packages_distributions, version

    top = module.partition(".")[0]
    if names := packages_distributions().get(top):
        return names[0], version(names[0])
    return top, str(getattr(importlib.import_module(top), "__version__", "unknown"))[:100]


def _hash_module(module: str) -> str:
    file = getattr(importlib.import_module(module), "__file__", None)
    try:
        return "" if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError:  # in an archive
        return ""
