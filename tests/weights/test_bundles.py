"""bundle.toml files of strangers: nothing leads out of their folder, and each wrong value is one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from avvp.pipeline.errors import AVVPError
from avvp.pipeline.inference.bundle import known_labels, load_networks, load_parser
from avvp.pipeline.inference.extractors import load_extractors
from avvp.weights import Bundle, WeightsError, bundle_paths, load_bundle
from avvp.weights.manifest import MAX_DESCRIPTION, MAX_SEED
from avvp.weights.remote.gather import gather_files
from avvp.weights.source import WeightSource
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.bundles import copy_bundle
from support.hostile_values import render_toml

OFFLINE = WeightSource(offline=True)
OUTSIDE = [
    "../secret.safetensors",
    "../../secret.safetensors",
    "below/../../secret.safetensors",
    "./../secret.safetensors",
    "{outside}/secret.safetensors",
    "//{outside}/secret.safetensors",
    "link.safetensors",
    "far/secret.safetensors",
    "loop.safetensors",
    "loop/x.safetensors",
    "a\0b.safetensors",
    "a" * 300,
    "a/" * 3000 + "x",
    "..",
    "/",
    "\ud800/../../x",
]
PLACES = ["extractor", "checkpoint", "file", "label_embeddings"]
NAMES = [
    "../../.bashrc",
    "/etc/passwd",
    "below/name",
    "..",
    ".",
    ".hidden",
    "",
    " ",
    "-rf",
    "a\nb",
    "a\tb",
    "a\0b",
    "a\x1b[31m",
    "a\u202eb",
    "a\u2028b",
    "Ü",
    "x" * 65,
    "x" * 60_000,
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with links that lead out, and a file outside of it."""
    root = tmp_path / "bundle"
    (root / "below").mkdir(parents=True)
    (tmp_path / "secret.safetensors").write_bytes(b"secret")
    (root / "link.safetensors").symlink_to("../secret.safetensors")
    (root / "far").symlink_to("..")
    (root / "loop.safetensors").symlink_to("loop.safetensors")
    (root / "loop").symlink_to("loop")
    return root


def fields(place: str, file: str) -> dict[str, Any]:
    found: dict[str, Any] = {"profile": "clean", "labels": "llp", "extractors": {}, "parser": {"family": "leap"}}
    found["extractors" if place == "extractor" else "parser"]["vggish_tiny" if place == "extractor" else place] = file
    return found


def write(folder: Path, content: dict[str, Any]) -> Path:
    (folder / "bundle.toml").write_bytes(render_toml(content))
    return folder


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", OUTSIDE, ids=range(len(OUTSIDE)))
def test_files_stay_inside(folder: Path, place: str, name: str) -> None:
    entry = fields(place, name.format(outside=folder.parent))
    with pytest.raises(ValueError, match=r"leads? out|link|not the name|too long"):
        Bundle(name="b", description="", root=folder, **entry)
    if "\ud800" in name:  # TOML cannot hold it
        return
    with pytest.raises(WeightsError) as error:
        load_bundle(str(write(folder, entry)))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 800


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["a\x1b[31m.safetensors", "a\n.safetensors", "a\u202e.safetensors"])
def test_names_of_files_are_printable(folder: Path, place: str, name: str) -> None:
    with pytest.raises(WeightsError, match="cannot be the name of a file") as error:
        load_bundle(str(write(folder, fields(place, name))))
    assert str(error.value).isprintable()


@pytest.mark.parametrize("place", PLACES)
def test_a_link_that_is_made_later_is_refused_where_files_are_found(folder: Path, place: str) -> None:
    (folder / "new.safetensors").write_bytes(b"")
    bundle = load_bundle(str(write(folder, fields(place, "new.safetensors"))))
    assert bundle_paths(bundle)[0] == {"new.safetensors": folder / "new.safetensors"}
    (folder / "new.safetensors").unlink()
    (folder / "new.safetensors").symlink_to("../secret.safetensors")
    with pytest.raises(WeightsError, match="link that leads out"):
        bundle_paths(bundle)
    with pytest.raises((WeightsError, ValueError), match="link that leads out"):
        gather_files(bundle, OFFLINE)


def test_a_description_that_is_a_link_out_is_refused(folder: Path) -> None:
    (folder.parent / "bundle.toml").write_bytes(render_toml(fields("file", "leap_llp")))
    (folder / "bundle.toml").symlink_to("../bundle.toml")
    with pytest.raises(WeightsError, match="link that leads out"):
        load_bundle(str(folder))


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_of_extractors_are_names_of_files_and_folders(folder: Path, name: str) -> None:
    entry = {"profile": "clean", "extractors": {name: "x.safetensors"}, "parser": {}}
    with pytest.raises(ValueError, match="cannot be the name of an extractor"):
        Bundle(name="b", description="", **entry)
    with pytest.raises(WeightsError, match="cannot be the name of an extractor") as error:
        load_bundle(str(write(folder, entry)))
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("name", ["config.json", "run.toml", "x", "state.npz"])
def test_only_weight_files_are_found(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"private")
    with pytest.raises(WeightsError, match="is not a weight file"):
        bundle_paths(load_bundle(str(write(folder, fields("extractor", name)))))


EXTRACTORS, PARSER = "extractors = {}", "parser = {}"


def described(
    line: str, *, profile: str = 'profile = "llp"', extractors: str = EXTRACTORS, parser: str = PARSER
) -> str:
    return "\n".join((line, profile, extractors, parser))


WRONG = {
    "profile of another type": (described("", profile="profile = 3"), "profile is 3"),
    "profile that is a path": (described("", profile='profile = "../x"'), "name of the profile"),
    "labels of another type": (described("labels = []"), r"labels is \[\]"),
    "labels that are a path": (described('labels = "/x"'), "name of the labels"),
    "family that is a path": (described("", parser='parser = {family = "/x"}'), "name of the family"),
    "description of another type": (described("description = 1"), "description is 1"),
    "long description": (
        described(f'description = "{"x" * (MAX_DESCRIPTION + 1)}"'),
        "1001 characters",
    ),
    "negative seed": (described("seed = -1"), "seed is -1, not from 0"),
    "large seed": (described(f"seed = {MAX_SEED + 1}"), f"seed is {MAX_SEED + 1}, not from 0"),
    "huge seed": (described(f"seed = 0x{'f' * 5000}"), "integer of 20000 bits"),
    "seed that is true": (described("seed = true"), "seed is True"),
    "seed that is a float": (described("seed = 1.5"), "seed is 1.5"),
    "unknown key": (described("wings = 2"), "unknown key 'wings'; known: "),
    "root": (described('root = "/"'), "unknown key 'root'"),
    "name": (described('name = "x"'), "unknown key 'name'"),
    "long unknown key": (described(f"{'k' * 10_000} = 1"), "unknown key"),
    "unknown key of the parser": (described("", parser='parser = {wings = "x"}'), "unknown key 'wings'"),
    "extractor of another type": (described("", extractors="extractors = {a = 1}"), "extractors must be a table"),
    "extractor in a table": (described("", extractors='extractors.a.b = "x"'), "extractors must be a table"),
    "parser that is a list": (described("", parser='parser = ["x"]'), "parser must be a table"),
    "many extractors": (
        described("", extractors="".join(f'extractors.a{index} = "x"\n' for index in range(17))),
        "17 extractors, more than 16",
    ),
    "nothing": ("", "lacks extractors, parser, profile"),
    "large file": ("#" * (65 << 10), "characters, more than"),
    "deep arrays": ("x = " + "[" * 30_000, "nested too deeply"),
    "deep keys": (".".join("a" * 10_000) + " = 1", "more than 4 parts"),
    "binary": ("\0\1\2", "not a text file"),
    "not TOML": ("profile = ", "Invalid value"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_values_are_one_clear_line(folder: Path, case: str) -> None:
    text, message = WRONG[case]
    (folder / "bundle.toml").write_text(text)
    with pytest.raises(WeightsError, match=message) as error:
        load_bundle(str(folder))
    assert str(error.value).startswith(f"{folder}/bundle.toml: not a bundle description: ")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("name", ["x" * 5000, "a/" * 3000, "\0", "\udcff", "", "/dev/null", "/dev/zero"])
def test_names_that_are_no_bundle(name: str) -> None:
    with pytest.raises(WeightsError, match=r"unknown bundle|not a bundle") as error:
        load_bundle(name)
    assert str(error.value).isprintable()


def test_a_misspelt_name_is_corrected() -> None:
    with pytest.raises(WeightsError, match=r"unknown bundle 'dmeo': .*; did you mean demo\?$"):
        load_bundle("dmeo")


READERS = {
    "bundle_paths": bundle_paths,
    "gather_files": lambda bundle: gather_files(bundle, OFFLINE),
    "known_labels": known_labels,
    "load_networks": lambda bundle: load_networks(bundle, source=OFFLINE, device="cpu"),
    "load_extractors": lambda bundle: load_extractors(bundle, source=OFFLINE, device="cpu"),
    "load_parser": lambda bundle: load_parser(bundle, source=OFFLINE, device="cpu"),
}
_TEXT = st.one_of(
    st.sampled_from(["", "vggish", "vggish.safetensors", "parser.safetensors", "leap", "../x", "/x", "a/b", "x" * 70]),
    st.text(max_size=8),
)
_VALUES = st.recursive(
    st.one_of(_TEXT, st.integers(-(2**70), 2**70), st.booleans(), st.floats(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXT, inner, max_size=3)),
    max_leaves=5,
)
_TABLES = st.dictionaries(
    st.one_of(st.sampled_from(["vggish_tiny", "checkpoint", "file", "family", "label_embeddings"]), _TEXT),
    st.one_of(_TEXT, _VALUES),
    max_size=4,
)
_CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "description": st.one_of(_TEXT, _VALUES),
        "profile": st.one_of(st.sampled_from(["clean", "llp"]), _TEXT, _VALUES),
        "extractors": st.one_of(_TABLES, _VALUES),
        "parser": st.one_of(_TABLES, _VALUES),
        "labels": st.one_of(st.just("llp"), _TEXT, _VALUES),
        "seed": st.one_of(st.integers(-1, 5), _VALUES),
        "other": _VALUES,
    },
)
_VALID = {
    "profile": "clean",
    "extractors": {f"{name}_tiny": f"{name}.safetensors" for name in ("vggish", "resnet", "r2plus1d")},
    "parser": {"checkpoint": "parser.safetensors"},
}


@settings(
    derandomize=True, deadline=None, max_examples=60, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(changes=_CHANGES)
def test_any_bundle_is_read_or_refused_in_one_line(
    tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]
) -> None:
    """For whatever bundle.toml says, no reader ends with another error than ours."""
    root = tmp_path_factory.getbasetemp() / "any-bundle"
    if not root.exists():
        copy_bundle(tiny_bundle, root)
    (root / "bundle.toml").write_bytes(render_toml({**_VALID, **changes}))
    try:
        bundle = load_bundle(str(root))
    except WeightsError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 800
        return
    if bundle.seed is not None:  # random networks of full size
        return
    for read in READERS.values():
        try:
            read(bundle)
        except (AVVPError, WeightsError) as error:
            assert len(str(error)) < 2000
