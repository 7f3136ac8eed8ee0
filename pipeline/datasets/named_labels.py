"""The classes of annotations in LLP's form that come without a list of classes."""

from __future__ import annotations

from pathlib import Path

from ...models.labels import LLP_LABELS
from ..text_files import read_text
from .annotation_cells import label_name_error, read_table, split_labels
from .annotations import CLIP_COLUMNS, EVENT_COLUMNS, EVENT_FILES, LABEL_FILE, SPLIT_FILES


def find_labels(folder: Path) -> tuple[str, ...]:
    """Return the classes of a folder of annotations for `read_annotations`.

    Args:
        folder: of the annotations.

    Returns:
        LLP's classes where the folder has a list of its own, is not in LLP's form, or at least half of the names in its
        files are LLP's, so that a misspelt one is noticed; else the names in its files, sorted.
    """
    if (folder / LABEL_FILE).exists():
        return LLP_LABELS
    names: set[str] = set()
    for file, columns in {
        **dict.fromkeys(SPLIT_FILES.values(), CLIP_COLUMNS),
        **dict.fromkeys(EVENT_FILES.values(), EVENT_COLUMNS),
    }.items():
        if (folder / file).is_file():
            try:
                rows = read_table(read_text(folder / file, legacy=True).text, file, columns, [])
            except ValueError:  # reported by whoever reads the annotations
                continue
            names.update(label for _, cells in rows for label in split_labels(cells[-1]))
    usable = {name for name in names if not label_name_error(name)}
    known = len(usable.intersection(LLP_LABELS))
    return LLP_LABELS if 2 * known >= len(usable) else tuple(sorted(usable))
