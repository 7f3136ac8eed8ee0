"""Make the folder of a run a bundle: bundle.toml, with copies of extractors that only another bundle's folder holds."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from ...extractors.profiles import FeatureSpec
from ...extractors.registry import EXTRACTORS
from ...weights.manifest import BUNDLE_FILE, Bundle, format_bundle, list_files
from ...weights.messages import shown
from ...weights.parts import part_names
from ...weights.remote.gather import gather_files
from ...weights.source import WeightSource
from ..errors import OutputError, SetupError
from ..files import hash_file, replacing, write_atomic
from ..text import escape
from .run_folder import BEST_FILE, check_files


def write_bundle(root: Path, spec: FeatureSpec, extractors: Bundle, source: WeightSource) -> list[str]:
    """Write bundle.toml with the extractors of the features and the parser of the best epoch.

    Args:
        root: folder of the run.
        spec: of the features.
        extractors: bundle of their extractors; files that only its folder holds are copied to the run.
        source: where its weight files may come from.

    Returns:
        Names of extractors that the bundle lacks: without them the run can be scored, but cannot parse videos.

    Raises:
        OutputError: a file cannot be written.
        SetupError: an extractor is unknown, or its name is not the name of a file in the folder.
        WeightsError: a weight file is missing or damaged.
    """
    files = {name: extractors.extractors.get(name, "") for name in spec.extractors}
    if extractors.root is not None:
        own = {name: file for name, file in files.items() if file and file not in list_files()}
        parts = {name: part for name, part in extractors.parts.items() if name in own}
        paths, _ = gather_files(replace(extractors, extractors=own, parts=parts, parser={}), source)
        for name, file in own.items():
            known = part_names("extractor", EXTRACTORS)
            if name not in known and name not in extractors.parts:
                raise SetupError(f"unknown extractor {shown(name)}; known: {', '.join(known)}")
            # The copy of another package's must not take the name of a file of the run.
            copy = f"{name if name in EXTRACTORS else f'extractor-{name}'}{paths[file].suffix}"
            check_files(root, [copy])
            files[name] = _copy(paths[file], root, copy)
    name = root.resolve().name
    bundle = Bundle(
        name=name,
        description=f"trained by avvp train in {name}",
        profile=spec.profile,
        extractors=files,
        parser={"checkpoint": BEST_FILE},
        parts={name: part for name, part in extractors.parts.items() if name in files},
    )
    write_atomic(root / BUNDLE_FILE, format_bundle(bundle).encode())
    return [name for name, file in files.items() if not file]


def _copy(source: Path, folder: Path, name: str) -> str:
    """Copy a file atomically; return the name of the copy. Raises OutputError if it would replace another file."""
    target = folder / name
    if target.exists():
        if hash_file(target) != hash_file(source):
            raise OutputError(f"{escape(target)}: already exists, with other content; choose another folder")
    else:
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
    return name
