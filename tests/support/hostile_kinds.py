"""A valid file of every kind that commands read, and the commands that read it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from avvp.pipeline.batch.journal import InputFingerprint, Journal, JournalEntry, hash_values
from avvp.pipeline.batch.local_storage import LocalStorage
from avvp.pipeline.features.npy_folders import FeatureFolders
from avvp.pipeline.features.packing import pack_features
from avvp.pipeline.inference.bundle import load_networks
from avvp.pipeline.inference.thresholds import Thresholds
from avvp.pipeline.open_vocabulary.classes import read_vocabulary
from avvp.pipeline.outputs.formats.registry import FORMATS, write_events
from avvp.pipeline.outputs.postprocess import with_audio_visual
from avvp.pipeline.timeline import Event, Timeline
from avvp.pipeline.training.recipe import RECIPES_FOLDER
from avvp.weights.toml import read_toml

from support.bundles import LABELS, copy_bundle
from support.dense_data import SETTINGS, write_dense_data
from support.hostile_values import (
    edit_bytes,
    edit_npy,
    edit_safetensors,
    edit_text,
    edit_tree,
    render_json,
    render_toml,
)
from support.llp_like import Recipe, generate
from support.open_bundles import write_open_bundle
from support.teachers import PROMPTS

Edit = Callable[[bytes, random.Random], bytes]
_SMALL = (
    "model.hidden_dim=16", "model.feedforward_dim=16", "model.heads=2", "model.leap_heads=2", "model.levels=2",
    "model.leap_blocks=1", "training.epochs=1", "training.batch_size=4",
)  # fmt: skip


def _json(content: bytes, rng: random.Random) -> bytes:
    return render_json(edit_tree(json.loads(content), rng))


def _lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines()
    place = rng.randrange(len(lines))
    lines[place] = _json(lines[place], rng)
    return b"\n".join(lines) + b"\n"


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        file: path below the workspace.
        commands: command lines that read it; in their arguments, {} is the workspace.
        edits: how its content is changed, besides its bytes.
        others: texts that an error may name instead of the file, where its content is usable but does not fit.
    """

    file: str
    commands: tuple[tuple[str, ...], ...]
    edits: tuple[Edit, ...] = ()
    others: tuple[str, ...] = ()

    def hostile(self, content: bytes, rng: random.Random) -> bytes:
        """Return the content with a change, one time in four of its bytes."""
        edits = (*self.edits * 3, edit_bytes) if self.edits else (edit_bytes,)
        return rng.choice(edits)(content, rng)

    def arguments(self, root: Path, rng: random.Random) -> list[str]:
        """Return one of the commands."""
        return [part.replace("{}", str(root)) for part in rng.choice(self.commands)]


_EVALUATE = ("evaluate", "--annotations", "{}/annotations", "--weights", "{}/bundle", "--features", "{}/features",
             "--device", "cpu")  # fmt: skip
_STORE = tuple(part.replace("/features", "/store") for part in _EVALUATE)
_PSEUDO = ("evaluate", "--annotations", "{}/annotations", "--pseudo-labels", "{}/labels", "--split", "val")
_TIMELINES = ("evaluate", "--annotations", "{}/annotations", "--timelines", "{}/events", "--split", "val")
_PACK = ("pack", "{}/features", "{}/out/packed")
_CHECK = ("train", "--check", "--annotations", "{}/annotations", "--features", "{}/features", "--pseudo-labels",
          "{}/pseudo_labels", "--extractors", "{}/bundle", "--label-embeddings", "{}/vectors.npy", "-o", "{}/out/run",
          *(part for change in _SMALL for part in ("--set", change)))  # fmt: skip
_PLAN = ("extract", "{}/clip.mp4", "--weights", "{}/bundle", "--dry-run", "-o", "{}/results")
_ANNOTATED = (_PSEUDO, _CHECK, _TIMELINES)
_RESUME = ("train", "-o", "{}/run", "--resume")
_DENSE = ("train-teacher", "--annotations", "{}/dense/unav.json", "--features", "{}/dense/features")
_TEXT = (*_DENSE, "--text-features", "{}/dense/text_features.safetensors", *SETTINGS, "--epochs", "1")


def _convert(name: str) -> tuple[tuple[str, ...], ...]:
    return (
        ("convert", f"{{}}/events/{name}", "-f", "all", "-o", "{}/out/converted"),
        ("convert", f"{{}}/events/{name}", "--data-set", "{}/out/data", "--split", "val"),
        ("report", f"{{}}/events/{name}", "--html", "{}/out/page.html"),
    )


def _toml(content: bytes, rng: random.Random) -> bytes:
    from avvp.weights.toml import parse_toml

    return render_toml(edit_tree(parse_toml(content), rng))


_ANY_LABELS = ("annotations", "labels", "events", "features/")
_NO_TEACHER = ("/none: ", "annotations")
_NO_TIMELINE = ("timelines need", "of a data set cannot be named")
_ANY_EVALUATED = ("bundle", "features", "annotations")
_TEACHERS = ("--clip-model", "{}/none", "--offline", "-o", "{}/out/labels")
_LABEL = ("pseudo-label", "{}/clip.mp4", "--prompts", "{}/prompts.toml", *_TEACHERS)
_LISTED = ("extract", "--weights", "{}/bundle", "--dry-run", "-o", "{}/out/results", "--list")
_OPEN = ("parse", "{}/clip.mp4", "--weights", "{}/open", "--dry-run", "--output-dir", "{}/out/open")
_MINE = ("--classes", "a, b", "--background", "{}/background.toml")
_GLOVE = tuple(part.replace("vectors.npy", "glove.txt") for part in _CHECK)
_VAL = "val00000000"

KINDS: dict[str, Kind] = {
    "bundle": Kind("bundle/bundle.toml", (_EVALUATE, _PLAN), (_toml,), _ANY_EVALUATED),
    "recipe": Kind(
        "recipe.toml",
        (("model-info", "--recipe", "{}/recipe.toml"), (*_CHECK, "--recipe", "{}/recipe.toml")),
        (_toml,),
    ),
    "prompts": Kind("prompts.toml", ((*_LABEL, "--no-weak-labels"),), (_toml,), ("/none: ",)),
    "classes": Kind("classes.toml", ((*_OPEN, "--classes", "@{}/classes.toml"),), (_toml,)),
    "list of classes": Kind("classes.txt", ((*_OPEN, "--classes", "@{}/classes.txt"),), (edit_text,)),
    "background": Kind("background.toml", ((*_OPEN, *_MINE),), (_toml,)),
    "open bundle": Kind("open/bundle.toml", ((*_OPEN, "--classes", "a"),), (_toml,), ("open", "extractor")),
    "tokenizer": Kind("open/clip.json", ((*_OPEN, "--classes", "a"),), (_json, edit_text), ("open",)),
    "weak labels": Kind("weak.csv", ((*_LABEL, "--annotations", "{}/weak.csv"),), (edit_text,), _NO_TEACHER),
    "thresholds (TOML)": Kind("thresholds.toml", ((*_EVALUATE, "--thresholds", "{}/thresholds.toml"),), (_toml,)),
    "thresholds (JSON)": Kind("thresholds.json", ((*_EVALUATE, "--thresholds", "{}/thresholds.json"),), (_json,)),
    "features.json": Kind("features/features.json", (_PACK, _EVALUATE, _CHECK), (_json,), ("features",)),
    "index.json": Kind("store/index.json", (_STORE,), (_json,), ("store", "features")),
    "packed array": Kind("store/features.npy", (_STORE,), (edit_npy,), ("store",)),
    "feature file": Kind(f"features/vggish_tiny/{_VAL}.npy", (_PACK, _EVALUATE, _CHECK), (edit_npy,)),
    "pseudo label": Kind(f"labels/CLAP/segment_pseudo_labels/{_VAL}.npy", (_PSEUDO,), (edit_npy,)),
    "record of pseudo labels": Kind("labels/pseudo_labels.json", (_PSEUDO,), (_json,)),
    "label embeddings (npy)": Kind("vectors.npy", (_CHECK,), (edit_npy,)),
    "label embeddings (GloVe)": Kind("glove.txt", (_GLOVE,), (edit_text,)),
    "journal": Kind("results/journal/one.jsonl", (_PLAN,), (_lines,)),
    "UnAV-100 annotations": Kind("dense/unav.json", ((*_DENSE, "--check"),), (_json,), ("dense/features", "val split")),
    "text features": Kind(
        "dense/text_features.safetensors",
        ((*_TEXT, "--device", "cpu", "-o", "{}/out/teacher"),),
        (edit_safetensors,),
        ("text features",),
    ),
    "config.json": Kind(
        "run/config.json", (_RESUME,), (_json,), ("/run", "annotations", "recipe ", "feature", "labels")
    ),
    "checkpoint": Kind(
        "bundle/parser.safetensors",
        (_EVALUATE, ("model-info", "--weights", "{}/bundle")),
        (edit_safetensors,),
        _ANY_EVALUATED,
    ),
    "extractor": Kind("bundle/vggish.safetensors", (_PLAN,), (edit_safetensors,), ("bundle", "vggish")),
    "train split": Kind("annotations/AVVP_train.csv", _ANNOTATED, (edit_text,), ("annotations", "features/")),
    "val split": Kind("annotations/AVVP_val_pd.csv", _ANNOTATED, (edit_text,), _ANY_LABELS),
    "events of annotations": Kind("annotations/AVVP_eval_audio.csv", _ANNOTATED, (edit_text,), _ANY_LABELS),
    "labels.txt": Kind("annotations/labels.txt", _ANNOTATED, (edit_text,), ("AVVP_", *_ANY_LABELS)),
    "input list": Kind("list.txt", ((*_LISTED, "{}/list.txt"),), (edit_text,), ("cannot be used",)),
    "input table": Kind("list.csv", ((*_LISTED, "{}/list.csv"),), (edit_text,), ("cannot be used",)),
    "timeline": Kind(
        f"events/{_VAL}.events.json", (*_convert(f"{_VAL}.events.json"), _TIMELINES), (_json,), _NO_TIMELINE
    ),
    **{
        form: Kind(f"events/{_VAL}.{suffix}", _convert(f"{_VAL}.{suffix}"), (edit_text,), _NO_TIMELINE)
        for form, suffix in (
            ("csv", "csv"), ("tsv", "tsv"), ("TextGrid", "TextGrid"), ("EAF", "eaf"), ("Audacity", "audio.txt"),
            ("llp", "eval_audio.csv"), ("RTTM", "audio.rttm"), ("Raven", "selections.txt"),
            ("DCASE", "audio.dcase.tsv"), ("FFmpeg metadata", "ffmetadata.txt"),
        )
    },
    **{
        form: Kind(f"events/{_VAL}.{suffix}", _convert(f"{_VAL}.{suffix}"), (_json,), _NO_TIMELINE)
        for form, suffix in (
            ("Label Studio", "label-studio.json"), ("OpenTimelineIO", "otio"),
            ("ActivityNet", "audio.activitynet.json"),
        )
    },
    "Parquet": Kind(f"events/{_VAL}.parquet", _convert(f"{_VAL}.parquet"), (), _NO_TIMELINE),
}  # fmt: skip


def write_workspace(root: Path, tiny_bundle: Path) -> Path:
    """Write a valid file of every kind below a folder.

    Args:
        root: an empty folder.
        tiny_bundle: of `support.bundles`.

    Returns:
        The folder.
    """
    copy_bundle(tiny_bundle, root / "bundle")
    networks = load_networks(str(root / "bundle"))
    spec = networks.extractors.spec
    generate(root, Recipe({"train": 4, "val": 3, "test": 3}, labels=LABELS, dims=spec.dims))
    pack_features(FeatureFolders(root / "features"), root / "store")
    np.save(root / "vectors.npy", np.random.default_rng(0).standard_normal((len(LABELS), 6)).astype("f4"))
    glove = "".join(f"{word} 0.5 -1.25 3e-2\n" for word in ("dog", "speech", "violin", "fiddle", "the"))
    (root / "glove.txt").write_text(glove)
    _write_pseudo_labels(root)
    _write_events(root / "events")
    (root / "thresholds.toml").write_text(Thresholds.uniform(LABELS).to_toml())
    (root / "thresholds.json").write_text(json.dumps(read_toml(root / "thresholds.toml")))
    (root / "recipe.toml").write_bytes((RECIPES_FOLDER / "leap-published.toml").read_bytes())
    (root / "prompts.toml").write_text(PROMPTS)
    write_open_bundle(root / "open")
    vocabulary = read_vocabulary(["dog barking", "siren"]).with_thresholds({"audio": [0.25, 0.5]}, "calibrated")
    (root / "classes.toml").write_text(vocabulary.to_toml())
    (root / "classes.txt").write_text("# of mine\ndog barking\nsiren\n")
    (root / "background.toml").write_text('both = ["other", ["a room", "a hall"]]\nheard = ["a hum"]\n')
    (root / "weak.csv").write_text('filename,event_labels\nclip.mp4,Dog\nother,"Dog,Speech"\n')
    (root / "clip.mp4").write_bytes(b"not a video")
    (root / "list.txt").write_text(f"{root}/clip.mp4\n{root}/lost.mp4\n")
    (root / "list.csv").write_text(f'path,more\n{root}/clip.mp4,1\n"{root}/lost, too.mp4",2\n')
    write_dense_data(root / "dense", train=3, val=1)
    (root / "out").mkdir()
    _write_journal(root)
    return root


def clear_outputs(root: Path) -> None:
    """Remove what commands have written to the workspace."""
    shutil.rmtree(root / "out")
    (root / "out").mkdir()


def train_workspace(root: Path) -> list[str]:
    """Return the command that trains a parser in the workspace's folder `run`."""
    options = [part.replace("{}", str(root)) for part in _CHECK if part != "--check"]
    options[options.index("-o") + 1] = str(root / "run")
    return options


def _write_pseudo_labels(root: Path) -> None:
    """Write labels of the val clips, and a record as `avvp pseudo-label` does."""
    for folder in ("CLAP", "CLIP"):
        place = root / "labels" / folder / "segment_pseudo_labels"
        place.mkdir(parents=True)
        for index in range(3):
            np.save(place / f"val{index:08d}.npy", np.eye(10, len(LABELS), dtype=np.uint8))
    record = {"unfinished": False, "prompts": {"labels": list(LABELS)}, "labelled": ["val00000000"], "wrote": {}}
    (root / "labels" / "pseudo_labels.json").write_text(json.dumps(record))


def _write_events(folder: Path) -> None:
    folder.mkdir()
    events = [Event("audio", "Dog", 0, 2, 0.75), Event("visual", "Dog", 1, 3, 0.5), Event("audio", "Speech", 4.5, 9, 1)]
    timeline = Timeline.of_events(with_audio_visual(events), path="clip.mp4", duration=10.0, labels=LABELS)
    for index in range(3):
        write_events(timeline, FORMATS["json"], [folder / f"val{index:08d}.events.json"])
    named = replace(timeline, media={**timeline.media, "path": "val00000000.mp4"})
    for form in FORMATS.values():
        if form.is_readable and form.name != "json":
            write_events(named, form, form.files(folder / "val00000000"))


def _write_journal(root: Path) -> None:
    """Write the journal of a finished run and of a failed one, and the outputs."""
    storage = LocalStorage(root / "results")
    journal = Journal(storage)
    written = {name: storage.store(f"{name}/clip.npy", lambda path: path.write_bytes(b"x")) for name in ("a", "b")}
    given = InputFingerprint.of(root / "clip.mp4")
    parameters = {name: hash_values({}) for name in written}
    journal.append(JournalEntry("clip", "done", given, parameters, written, media={"duration": 2.0}))
    journal.append(JournalEntry("other", "failed", given, parameters, cause="damaged", warnings=["silence"]))
    journal.close()
    (file,) = (root / "results" / "journal").iterdir()
    file.rename(file.with_name("one.jsonl"))
