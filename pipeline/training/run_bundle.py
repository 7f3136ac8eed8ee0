"""Make the folder of a run a bundle: bundle.toml, with copies of extractors that only another bundle's folder holds."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
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
from ..open_vocabulary.open_bundle import ADAPTED_RULE
from ..open_vocabulary.vocabulary import OpenClass, RuleSettings, Vocabulary
from ..text import escape
from .run_folder import BEST_FILE, check_files

CLASSES_FILE = "classes.toml"  # of a temporal adapter: what it finds where the user names no classes


def write_bundle(
    root: Path, spec: FeatureSpec, extractors: Bundle, source: WeightSource, adapted: Sequence[str] = ()
) -> list[str]:
    """Write bundle.toml with the extractors of the features and the parser of the best epoch.

    Args:
        root: folder of the run.
        spec: of the features.
        extractors: bundle of their extractors; files that only its folder holds are copied to the run.
        source: where its weight files may come from.
        adapted: class names, where the network is a temporal adapter: the bundle finds these or any others by their
            names, with the text encoders of the extractors' bundle.

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
    texts = {name: _copy_text(extractors, name, root, source) for name in extractors.texts} if adapted else {}
    parser = {"checkpoint": BEST_FILE}
    if adapted:
        parser["classes"] = CLASSES_FILE
        classes = Vocabulary(tuple(map(OpenClass.named, adapted)), rule=RuleSettings(ADAPTED_RULE))
        write_atomic(root / CLASSES_FILE, classes.to_toml().encode())
    name = root.resolve().name
    bundle = Bundle(
        name=name,
        description=f"trained by avvp train in {name}",
        profile=spec.profile,
        extractors=files,
        parser=parser,
        texts=texts,
        parts={name: part for name, part in extractors.parts.items() if name in files},
    )
    write_atomic(root / BUNDLE_FILE, format_bundle(bundle).encode())
    return [name for name, file in files.items() if not file]


def _copy_text(extractors: Bundle, name: str, root: Path, source: WeightSource) -> str:
    """Return the file of an extractor's text encoder in the bundle of a run, copied where only its bundle has it."""
    file = extractors.texts[name]
    if extractors.root is None or not file or file in list_files():
        return file
    paths, _ = gather_files(replace(extractors, extractors={name: ""}, parts={}, parser={}, texts={name: file}), source)
    copy = f"tokenizer-{name}{paths[file].suffix}"
    check_files(root, [copy])
    return _copy(paths[file], root, copy)


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
