"""docs/extending.md: its package is written, and each command is run; parts of strangers are not imported."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import avvp
import pytest
import torch
from avvp.extractors.profiles import feature_spec
from avvp.extractors.registry import build_extractor
from avvp.models.config import ParserConfig
from avvp.models.files.checkpoint import dump_checkpoint, load_checkpoint
from avvp.models.parser import build_parser
from avvp.pipeline.errors import SetupError
from avvp.pipeline.inference.bundle import load_networks, load_parser
from avvp.pipeline.reproduction.paper_tables import PAPER_TABLES
from avvp.weights.parts import installed_parts
from avvp.weights.remote.bundles import load_bundle
from avvp.weights.source import WeightSource
from safetensors.torch import save_file
from support.bundles import LABELS, copy_bundle
from support.command import Result
from support.llp_like import Recipe, generate
from support.media import Clips
from support.paths import ROOT

Run = Callable[..., Result]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
TRUST = WeightSource(trust=("mypkg",))


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def named_block(name: str) -> str:
    return next(block for language in ("py", "toml") for block in blocks(language) if block.startswith(f"# {name}\n"))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package of the page, in a folder of the search path."""
    folder = tmp_path / "code"
    (folder / "mypkg").mkdir(parents=True)
    (folder / "mypkg" / "__init__.py").write_text("")
    for block in blocks("py"):
        name = block.split("\n", 1)[0].removeprefix("# ")
        (folder / name).write_text(block)
    monkeypatch.syspath_prepend(str(folder))
    forget()
    yield folder
    forget()


@pytest.fixture
def installed(package: Path) -> Path:
    """The package with the entry points of the page, as an installer leaves them."""
    info = package / "mypkg-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mypkg\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("mypkg\n")
    points = named_block("pyproject.toml").split("\n\n", 1)[1]
    points = re.sub(r'\[project\.entry-points\."(.*)"\]', r"[\1]", points).replace('"', "")
    (info / "entry_points.txt").write_text(points)
    return package


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mypkg"]:
        del sys.modules[name]


def is_imported() -> bool:
    return any(name.partition(".")[0] == "mypkg" for name in sys.modules)


@pytest.fixture
def desk(tmp_path: Path, clips: Clips, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "video.mp4").write_bytes(clips.blink.read_bytes())
    (tmp_path / "own.toml").write_text(named_block("own.toml"))
    generate(
        tmp_path, Recipe({"train": 6, "val": 3, "test": 3}, labels=LABELS, dims=load_parser(str(tiny_bundle)).spec.dims)
    )
    spec = tmp_path / "features" / "features.json"
    spec.write_text(spec.read_text().replace('"llp"', '"clean"'))
    for made, name in (("annotations", "llp"), ("features", "feats"), ("pseudo_labels", "valor")):
        (tmp_path / made).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def own_config(**changes: object) -> ParserConfig:
    return ParserConfig(**{
        "labels": LABELS, "audio_dim": 16, "visual_2d_dim": 64, "visual_3d_dim": 64, "hidden_dim": 16,
        "encoder": "mypkg.encoder:ConvEncoder", "decoder": "mypkg.decoder:MaxDecoder", "label_queries": "learned",
        **changes,
    })  # fmt: skip


def test_the_page_from_top_to_bottom(run: Run, desk: Path, package: Path, tiny_bundle: Path) -> None:
    """An own encoder, decoder, loss and decision: trained, scored, parsed with, exported."""
    assert package.is_dir()
    for line in "".join(blocks("bash")).splitlines():
        program, *arguments = shlex.split(line)
        if program == "avvp-parse":
            arguments.insert(0, "parse")
        if arguments[0] == "train":
            arguments += ["--epochs", "2", "--extractors", str(tiny_bundle)]
        forget()
        result = run(*arguments)
        assert result.status == 0, (line, result.err)
    log = [json.loads(text) for text in (desk / "runs" / "own" / "log.jsonl").read_text().splitlines()]
    assert set(log[-1]["losses"]) >= {"focal", "audio", "total"}
    assert log[1]["losses"]["total"] < log[0]["losses"]["total"]
    parts = json.loads((desk / "events.json").read_text())["provenance"]["parts"]
    assert [(part["kind"], part["name"], part["version"]) for part in parts] == [
        ("encoder", "mypkg.encoder:ConvEncoder", "unknown"),
        ("decoder", "mypkg.decoder:MaxDecoder", "unknown"),
        ("decision", "mypkg.decision:keep_going", "unknown"),
    ]
    assert all(len(part["source"]) == 64 for part in parts)
    checkpoint = load_checkpoint(desk / "runs" / "own" / "best.safetensors", ("mypkg",))
    assert isinstance(checkpoint.parser.config, ParserConfig)
    assert checkpoint.parser.config.encoder_options == {"kernel": 5}
    assert checkpoint.parser.state_dict()["encoder.audio.weight"].shape == (32, 32, 5)
    assert [part["name"] for part in checkpoint.record["parts"]] == [
        "mypkg.loss:with_focal", "mypkg.decision:keep_going"
    ]  # fmt: skip
    assert (desk / "exported" / "parser.pt2").is_file()


@pytest.mark.parametrize(
    "command",
    [
        ("parse", "video.mp4", "--weights", "stranger"),
        ("evaluate", "--weights", "stranger", "--annotations", "llp", "--features", "feats"),
        ("export", "stranger", "-f", "torch", "-o", "out"),
        ("model-info", "--weights", "stranger"),
        ("extract", "video.mp4", "--weights", "stranger-extractor", "-o", "out"),
    ],
    ids=lambda command: command[0],
)
def test_parts_of_strangers_are_not_imported(
    run: Run, desk: Path, package: Path, tiny_bundle: Path, command: tuple[str, ...]
) -> None:
    write_own_bundle(desk / "stranger", tiny_bundle)
    add_extractor(copy_bundle(tiny_bundle, desk / "stranger-extractor"))
    forget()
    (package / "mypkg" / "__init__.py").write_text("raise SystemExit('executed')")
    result = run(*command)
    assert result.status == 2
    assert "--trust-parts mypkg (or AVVP_TRUST_PARTS=mypkg; in Python WeightSource(trust=('mypkg',)))" in result.err
    assert not is_imported()


@pytest.mark.parametrize("how", ["option", "variable"])
def test_parts_of_trusted_packages_are_imported(
    run: Run, desk: Path, package: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    assert package.is_dir()
    write_own_bundle(desk / "bundle", tiny_bundle)
    forget()
    if how == "variable":
        monkeypatch.setenv("AVVP_TRUST_PARTS", "other,mypkg")
    options = ("--trust-parts", "other,mypkg.encoder", "--trust-parts", "mypkg.decoder") if how == "option" else ()
    result = run("parse", "video.mp4", "--weights", "bundle", *options)
    assert result.status == 0, result.err
    assert is_imported()


def test_python_says_which_packages_it_trusts(desk: Path, package: Path, tiny_bundle: Path) -> None:
    assert package.is_dir()
    write_own_bundle(desk / "bundle", tiny_bundle)
    forget()
    with pytest.raises(SetupError, match="--trust-parts mypkg"):
        avvp.load(desk / "bundle", device="cpu")
    assert not is_imported()
    with avvp.load(desk / "bundle", device="cpu", trust_parts=["mypkg"]) as parser:
        timeline = parser.parse(desk / "video.mp4")
    assert [part["kind"] for part in timeline.provenance["parts"]] == ["encoder", "decoder"]


def test_a_trusted_module_does_not_make_its_package_trusted(desk: Path, package: Path, tiny_bundle: Path) -> None:
    assert package.is_dir()
    write_own_bundle(desk / "bundle", tiny_bundle)
    forget()
    with pytest.raises(SetupError, match=r"the decoder mypkg\.decoder:MaxDecoder is a program of another package"):
        load_parser(str(desk / "bundle"), source=WeightSource(trust=("mypkg.encoder",)), device="cpu")
    assert "mypkg.decoder" not in sys.modules


def test_a_resumed_run_is_not_trusted(run: Run, desk: Path, package: Path) -> None:
    """Its folder may be a stranger's: the recipe in it is not the user's word."""
    assert desk.is_dir()
    assert package.is_dir()
    train = ("train", "--recipe", "own.toml", "--annotations", "llp", "--features", "feats", "--pseudo-labels", "valor")
    assert run(*train, "-o", "run", "--epochs", "1").status == 0
    forget()
    result = run("train", "-o", "run", "--resume", "--epochs", "2")
    assert result.status == 2
    assert "--trust-parts mypkg" in result.err
    assert not is_imported()
    assert run("train", "-o", "run", "--resume", "--epochs", "2", "--trust-parts", "mypkg").status == 0


def test_a_table_is_scored_with_the_parts_of_its_recipe(
    run: Run, desk: Path, package: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As training, without --trust-parts: the user has named the recipe."""
    assert desk.is_dir()
    assert package.is_dir()
    table = PAPER_TABLES["table6"]
    monkeypatch.setitem(PAPER_TABLES, "table6", replace(table, runs=table.runs[:1]))
    data = ("--annotations", "llp", "--features", "feats", "--pseudo-labels", "valor", "--extractors", tiny_bundle)
    result = run("reproduce", "table6", "--recipe", "own.toml", *data, "-o", "runs", "--epochs", "1")
    assert result.status == 0, result.err


def test_the_command_that_resumes_a_run_trusts_its_parts(
    run: Run, desk: Path, package: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert desk.is_dir()
    assert package.is_dir()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    data = ("--annotations", "llp", "--features", "feats", "--pseudo-labels", "valor", "--extractors", tiny_bundle)
    with monkeypatch.context() as stopped:
        stopped.setattr("avvp.pipeline.training.train_parser.train_epochs", interrupt)
        result = run("train", "--recipe", "own.toml", *data, "-o", "run", "--epochs", "1")
    (command,) = re.findall("resume with: avvp (.*)", result.err)
    forget()
    assert run(*shlex.split(command)).status == 0


def test_an_extractor_of_another_package(desk: Path, package: Path, tiny_bundle: Path) -> None:
    assert package.is_dir()
    folder = add_extractor(copy_bundle(tiny_bundle, desk / "bundle"))
    loaded = load_networks(str(folder), source=TRUST, device="cpu")
    assert loaded.extractors.spec.extractors == ("mel_statistics", "resnet_tiny", "r2plus1d_tiny")
    assert [part.name for part in loaded.parts] == ["mypkg.extractor:MelStatistics"]
    extractor = loaded.extractors.by_name["mel_statistics"]
    inputs = torch.rand(3, 96, 64)
    weight, bias = extractor.state_dict()["project.weight"], extractor.state_dict()["project.bias"]
    expected = torch.cat([inputs.mean(dim=1), inputs.std(dim=1)], dim=-1) @ weight.T + bias
    assert torch.allclose(extractor(inputs), expected, atol=1e-5)


def test_the_parser_of_a_bundle_with_an_own_extractor(run: Run, desk: Path, package: Path, tiny_bundle: Path) -> None:
    """Its extractors are neither loaded nor downloaded."""
    assert package.is_dir()
    folder = add_extractor(copy_bundle(tiny_bundle, desk / "bundle"))
    assert run("model-info", "--weights", folder, "--trust-parts", "mypkg").status == 0
    exported = run("export", folder, "--parser-only", "-f", "torch", "-o", "out", "--trust-parts", "mypkg")
    assert exported.status == 0, exported.err
    forget()
    result = run("evaluate", "--weights", folder, "--annotations", "llp", "--features", "feats")
    assert result.status == 2
    assert "--trust-parts mypkg" in result.err
    assert not is_imported()


def test_entry_points(run: Run, desk: Path, installed: Path, tiny_bundle: Path) -> None:
    """Plain names need no trust: the user has installed them."""
    assert installed.is_dir()
    assert ("encoder", "conv", "mypkg 1.0") in installed_parts()
    listed = run("recipes").out
    for name in ("encoder conv", "decoder maximum", "loss focal", "decision keep-going", "extractor mel_statistics"):
        assert f"    {name} (mypkg 1.0)" in listed
    changes = ["model.encoder=conv", "model.encoder_options.kernel=7", "model.decision=keep-going"]
    flags = [flag for change in changes for flag in ("--set", change)]
    result = run("model-info", "--recipe", "mmpyr", *flags)
    assert result.status == 0, result.err
    assert "The encoder conv is of mypkg 1.0." in result.out.replace("\n", " ")
    folder = add_extractor(copy_bundle(tiny_bundle, desk / "bundle"))
    description = folder / "bundle.toml"
    description.write_text(re.sub(r"parts = .*\n", "", description.read_text()))
    assert load_networks(str(folder), device="cpu").parts[0].version == "1.0"


def test_a_name_of_this_program_cannot_be_taken(installed: Path) -> None:
    points = installed / "mypkg-1.0.dist-info" / "entry_points.txt"
    points.write_text("[avvp.encoders]\nmmpyr = mypkg.encoder:ConvEncoder\n")
    config = own_config(encoder="mmpyr", decoder="mmil")
    assert type(build_parser(config).encoder).__name__ == "MMPyramid"
    assert not is_imported()


def test_two_packages_with_one_name(installed: Path) -> None:
    info = installed / "other-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[avvp.encoders]\nconv = other:Encoder\n")
    with pytest.raises(ValueError, match="mypkg and other both have the encoder 'conv'"):
        own_config(encoder="conv")


def test_an_unknown_name_lists_entry_points(installed: Path) -> None:
    assert installed.is_dir()
    with pytest.raises(ValueError, match="encoder is 'cnov', not one of mmpyr, han, mgn, conv; nor module:Name"):
        own_config(encoder="cnov")


def test_a_bundle_can_name_another_decision(desk: Path, package: Path, tiny_bundle: Path) -> None:
    assert package.is_dir()
    folder = copy_bundle(tiny_bundle, desk / "bundle")
    description = folder / "bundle.toml"
    named = 'checkpoint = "parser.safetensors", decision = "mypkg.decision:keep_going"'
    description.write_text(description.read_text().replace('checkpoint = "parser.safetensors"', named))
    loaded = load_parser(str(folder), source=TRUST, device="cpu")
    assert loaded.parser.config.decision == "mypkg.decision:keep_going"
    assert load_bundle(str(folder)).parser["decision"] == "mypkg.decision:keep_going"


def write_own_bundle(folder: Path, tiny_bundle: Path) -> None:
    """A bundle whose checkpoint names parts of mypkg."""
    copy_bundle(tiny_bundle, folder)
    spec = load_parser(str(tiny_bundle)).spec
    parser = build_parser(own_config(), trust=("mypkg",))
    (folder / "parser.safetensors").write_bytes(dump_checkpoint(parser, spec.to_dict(), {}))


def add_extractor(folder: Path) -> Path:
    """Replace the audio extractor of a tiny bundle by the page's, and the parser by one for its features."""
    reference, trust = "mypkg.extractor:MelStatistics", ("mypkg",)
    network = build_extractor("mel_statistics", reference=reference, trust=trust)
    save_file(network.state_dict(), folder / "mel.safetensors")
    others = {name: build_extractor(name) for name in ("resnet_tiny", "r2plus1d_tiny")}
    spec = feature_spec("clean", {"mel_statistics": network, **others})
    parser = build_parser(own_config(encoder="han", decoder="mmil"))
    (folder / "parser.safetensors").write_bytes(dump_checkpoint(parser, spec.to_dict(), {}))
    (folder / "bundle.toml").write_text(named_block("bundle.toml"))
    return folder
