"""Completion of values in the shell: names of bundles, formats, classes and devices, and file names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

_RECIPES = Path(__file__).parents[2] / "training" / "recipes"
Completer = Callable[["click.Context", "click.Parameter", str], "list[CompletionItem]"]


def complete_option(flags: Sequence[str], attributes: Mapping[str, Any]) -> Completer | None:
    """Return what completes the values of an option; None for click's own completion by type.

    Args:
        flags: of the option.
        attributes: as `click.Option` takes them.
    """
    if "type" in attributes or attributes.get("is_flag"):
        return None
    metavar = attributes.get("metavar") or ""
    flag = max(flags, key=len)
    list_names = _NAMES.get(flag) or _NAMES.get(f"{flag} {metavar}")
    if list_names is None:
        return complete_paths(attributes)

    def complete(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        before, comma, last = text.rpartition(",") if ",..." in metavar else ("", "", text)
        plain = [CompletionItem(f"{before}{comma}{name}") for name in list_names() if name.startswith(last)]
        # Paths come first: the scripts of the shells drop what they have at such an item, and add plain ones to it.
        paths = complete_paths(attributes)
        return [*(paths(context, parameter, text) if paths else ()), *plain]

    return complete


def complete_paths(attributes: Mapping[str, Any]) -> Completer | None:
    """Return what completes an option or argument whose metavar says that it is a file or a folder, else None.

    Args:
        attributes: as `click.Option` and `click.Argument` take them.
    """
    metavar = attributes.get("metavar") or ""
    if "type" in attributes or not any(word in metavar for word in ("FILE", "FOLDER", "INPUT", "VIDEO", "EVENTS")):
        return None
    kind = "dir" if "FOLDER" in metavar and "FILE" not in metavar else "file"

    def complete(_context: click.Context, _parameter: click.Parameter, text: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(text, type=kind)]

    return complete


def _list_bundles() -> Iterable[str]:
    from ....weights.manifest import list_bundles

    return list_bundles()


def complete_weight_files(_context: click.Context, _parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Complete the name of a bundle or of a weight file."""
    from click.shell_completion import CompletionItem

    from ....weights.manifest import list_bundles, list_files

    return [CompletionItem(name) for name in (*list_bundles(), *list_files()) if name.startswith(text)]


def _list_formats() -> Iterable[str]:
    from ...outputs.formats.registry import FORMATS

    return [*FORMATS, "all"]


def _list_classes() -> Iterable[str]:
    from ....models.labels import LLP_LABELS

    return LLP_LABELS


def _list_recipes() -> Iterable[str]:
    return sorted(path.stem for path in _RECIPES.glob("*.toml"))  # the module that reads them imports PyTorch


# Flag, with its metavar where it means several things -> the names to choose from, as far as the program has them.
_NAMES: Mapping[str, Callable[[], Iterable[str]]] = {
    "--weights": _list_bundles,
    "--extractors NAME|FOLDER": _list_bundles,
    "--format": _list_formats,
    "--class": _list_classes,
    "--classes": _list_classes,
    "--keep-classes": _list_classes,
    "--audio": _list_classes,
    "--visual": _list_classes,
    "--both": _list_classes,
    "--recipe": _list_recipes,
    "--device": lambda: ("auto", "cpu", "cuda"),
}
