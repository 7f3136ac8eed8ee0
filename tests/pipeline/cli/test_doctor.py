"""`avvp doctor`: what it finds, what it says of what is broken, and its document for programs."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from avvp.pipeline.diagnosis import decoding, installation, speed, weight_files
from avvp.pipeline.diagnosis.section import Section
from avvp.weights.manifest import list_files
from avvp.weights.source import WeightSource
from avvp.weights.toml import read_toml
from support.command import Result, Run
from support.paths import ROOT
from support.speeds import remember_rates

DOCUMENTED = ROOT / "docs" / "settings.md"


def states(section: Section) -> dict[str, str]:
    return {finding.text: finding.state for finding in section.findings}


def broken(section: Section) -> list[str]:
    return [text for text, state in states(section).items() if state == "broken"]


@pytest.fixture
def document(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[Result, dict[str, Any]]]:
    """Run ``avvp doctor --json`` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*options: str) -> tuple[Result, dict[str, Any]]:
        result = run("doctor", "--json", *options)
        return result, json.loads(result.out)

    return call


@pytest.fixture
def _no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the decoders, which start programs, where a test is about something else."""
    monkeypatch.setattr(decoding, "check_decoding", lambda: Section("Decoding"))


def key_paths(value: Any, above: str = "") -> set[str]:
    """Return the keys of a document as `a.b`; of a list, those of its first item; names of things are `*`."""
    if isinstance(value, list):
        return key_paths(value[0], above) if value else set()
    if not isinstance(value, dict):
        return {above}
    free = above in {"extras", "weights.bundles", "installation.packages"} or above.endswith(".decodes")
    items = [("*", item) for item in value.values()] if free else value.items()
    return {path for key, item in items for path in key_paths(item, f"{above}.{key}".lstrip("."))}


def test_the_document_has_the_keys_that_are_documented(
    document: Callable[..., tuple[Result, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVVP_PARSE_WEIGHTS", "demo")
    monkeypatch.setattr("avvp.pipeline.training.matmul_rate._SECONDS", 0.01)
    monkeypatch.setattr("avvp.pipeline.training.matmul_rate._SIZE", 64)
    remember_rates(9, 17, 9, failed={"bf16 by openvino": "no such instructions"})
    result, found = document("--device", "cpu")
    assert result.status == 0, found["problems"]
    assert found["ok"]
    assert result.err == ""
    table = DOCUMENTED.read_text(encoding="utf-8").partition("## The document of avvp doctor")[2]
    rows = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    documented = {key for row in rows for key in re.findall(r"`([\w.*]+)`", row)}
    assert key_paths(found) <= documented
    assert documented - key_paths(found) <= {"defaults.files", "extras.*.missing"}  # lists that may be empty
    assert found["weights"]["bundle"] == "demo"
    assert found["weights"]["complete"]
    assert found["defaults"]["set"] == [
        {"command": "parse", "option": "weights", "value": "demo", "origin": "AVVP_PARSE_WEIGHTS"}
    ]
    estimate = found["speed"]["estimate"]
    rate = found["speed"]["gflops"] * 1e9
    assert estimate["seconds"] == pytest.approx(2 * estimate["multiply_adds"] / rate / 0.9, rel=0.05, abs=0.01)


def test_the_text_ends_with_the_verdict_and_nothing_is_left(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Path(os.environ["HOME"])
    before = sorted(cache.rglob("*"))
    monkeypatch.setenv("AVVP_PARSE_WEIGHTS", "demo")
    result = run("doctor", "--no-measure")
    assert result.status == 0, result.out
    assert result.out.endswith("\navvp can parse videos\n")
    assert "  ok     demo (in use): complete\n" in result.out
    assert f"avvp {metadata.version('avvp')} in " in result.out
    assert sorted(cache.rglob("*")) == before
    assert "GFLOP" not in result.out


@pytest.mark.usefixtures("_no_decoding")
@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"AVVP_PARSE_WEIGHTS": "nonsense"}, "nonsense"),
        ({"AVVP_PARSE_OFFLINE": "1"}, "leap-llp (in use): 4 of 5 files are missing"),
        ({"AVVP_PARSE_THRESHOLD": "3"}, "AVVP_PARSE_THRESHOLD: 3.0 is not in the range 0<=x<=1."),
        ({"AVVP_CONFIG": "missing.toml"}, "AVVP_CONFIG: missing.toml is not a file"),
        ({"AVVP_CONFIG": "wrong.toml"}, "wrong.toml: [prase] is not a command; did you mean parse?"),
    ],
)
def test_what_is_broken_is_named(
    variables: dict[str, str],
    found: str,
    document: Callable[..., tuple[Result, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("wrong.toml").write_text("[prase]\nthreshold = 1\n")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result, facts = document("--no-measure")
    assert result.status == 1
    assert not facts["ok"]
    assert [item for item in facts["problems"] if item["state"] == "broken" and found in item["text"]]
    assert facts["speed"] is None


@pytest.mark.usefixtures("_no_decoding")
def test_missing_weights_are_no_fault_where_they_can_be_downloaded(
    document: Callable[..., tuple[Result, dict[str, Any]]],
) -> None:
    result, facts = document("--no-measure")
    assert result.status == 0
    missing = {item["name"]: item["bytes"] for item in facts["weights"]["bundles"]["leap-llp"]["missing"]}
    assert missing["vggish-10086976.pth"] == 288567937
    assert sum(missing.values()) == facts["weights"]["bundles"]["leap-llp"]["download_bytes"]


def test_a_program_that_does_not_run_is_broken_and_the_variable_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nonexistent")
    monkeypatch.setenv("AVVP_FIND_LIMITS", "3")
    monkeypatch.setattr("avvp.pipeline.decode.ffmpeg.ffmpeg_binary", lambda: "/nonexistent")
    result = run("doctor", "--no-measure")
    assert result.status == 1
    assert "BROKEN the program ffmpeg does not run: " in result.out
    assert "unset IMAGEIO_FFMPEG_EXE, or let it name a program that works" in result.out
    assert "note   AVVP_FIND_LIMITS sets no option; did you mean AVVP_FIND_LIMIT?" in result.out
    assert "avvp cannot parse videos" in result.out


def test_a_check_that_fails_does_not_hide_the_others(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Section:
        raise RuntimeError("a bug")

    monkeypatch.setattr(decoding, "check_decoding", fail)
    result = run("doctor", "--no-measure")
    assert result.status == 1
    assert "BROKEN cannot be checked: RuntimeError: a bug" in result.out
    assert "\nWeights\n" in result.out


def test_codecs_are_read_from_what_ffmpeg_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(
        "#!/bin/sh\n[ \"$1\" = -version ] && echo 'ffmpeg version 9.9-test Copyright'\n"
        '[ "$2" = -codecs ] && '
        "printf ' DEV.LS h264  H.264\\n .EV.L. hevc  only encoded\\n D.A.L. aac  AAC\\n'\nexit 0\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr("avvp.pipeline.decode.ffmpeg.ffmpeg_binary", lambda: str(program))
    section = decoding.check_decoding()
    facts = section.facts["ffmpeg"]
    assert (facts["version"], facts["works"]) == ("9.9-test", True)
    assert {name for name, decoded in facts["decodes"].items() if decoded} == {"h264", "aac"}
    assert any("does not decode hevc, vp8" in text and state == "note" for text, state in states(section).items())


def test_a_decoder_that_fails_is_broken_and_decord_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_FRAMES", 8)
    monkeypatch.setattr("avvp.pipeline.decode.readers.build_reader", lambda *_, **__: [[0] * 5])
    section = decoding.check_decoding()
    assert broken(section) == [text for text in states(section) if "PyAV" in text]
    assert "does not work: 5 of 8 frames were decoded" in broken(section)[0]
    assert any(text.startswith("decord") and state == "note" for text, state in states(section).items())


def test_a_full_folder_for_temporary_files_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    section = decoding.check_decoding()
    assert broken(section) == ["the folder for temporary files cannot be used: No space left on device"]


def test_packages_that_are_missing_or_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = {
        "avvp": ["torch>=2.11", "absent-package>=1.2", "decord; sys_platform == 'win32'", "absent; extra == 'table'"],
        "torchvision": ["numpy", "torch (==1.2.3)"],
    }
    monkeypatch.setattr(metadata, "requires", requirements.get)
    section = installation.check_packages()
    assert broken(section) == ["absent-package is not installed"]
    assert next(finding.advice for finding in section.findings if finding.advice) == "pip install 'absent-package>=1.2'"
    assert any("is made for torch 1.2.3, and" in text for text in states(section))
    extras = installation.check_extras()
    assert extras.facts == {
        "table": {
            "installed": False, "for": "Parquet files", "missing": ["absent"], "install": "pip install 'avvp[table]'",
        }
    }  # fmt: skip


def test_every_extra_of_users_is_described() -> None:
    extras = read_toml(ROOT / "pyproject.toml")["project"]["optional-dependencies"]
    assert extras.keys() - {"dev", "docs", "all"} <= installation.EXTRAS.keys()


def test_a_torch_that_does_not_import_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise OSError(f"lib{name}.so: cannot open shared object file\nmore")

    monkeypatch.setattr("importlib.import_module", refuse)
    section = installation.check_machine()
    assert broken(section) == ["PyTorch does not work: libtorch.so: cannot open shared object file"]
    assert section.facts["cores"] == len(os.sched_getaffinity(0))


def test_gpus_are_listed_with_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA X")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3_000_000_000, 8_000_000_000))
    section = installation.check_machine()
    assert section.facts["devices"][1] == {
        "name": "cuda:0", "model": "NVIDIA X", "memory": 8_000_000_000, "free": 3_000_000_000,
    }  # fmt: skip
    assert "cuda:0: NVIDIA X, 3.0 of 8.0 GB free" in states(section)


def test_a_weight_file_of_another_size_is_broken(tmp_path: Path) -> None:
    for key in ("vggish", "resnet152", "r2plus1d_18", "leap_llp"):
        (tmp_path / list_files()[key].name).write_bytes(b"PK")
    section = weight_files.check_weights("leap-llp", WeightSource(tmp_path))
    name = list_files()["vggish"].name
    assert f"{tmp_path / name} has 2 bytes, expected 288567937" in broken(section)
    assert not section.facts["complete"]
    assert not weight_files.check_weights("untrained", WeightSource(tmp_path)).facts["bundles"]["leap-llp"]["complete"]
    assert broken(weight_files.check_weights("untrained", WeightSource(tmp_path))) == []


def test_bundles_that_are_not_in_use_share_a_line(tmp_path: Path) -> None:
    (tmp_path / list_files()["vggish"].name).write_bytes(b"PK")
    texts = [finding.text for finding in weight_files.check_weights("ave", WeightSource(tmp_path)).findings]
    assert texts[0].endswith("vggish-10086976.pth has 2 bytes, expected 288567937")
    assert texts[1].startswith("ave (in use): 2 of 3 files are missing, 86 MB: vgg19_weights_tf_dim")
    assert sum("has 2 bytes" in text for text in texts) == 1, "once for all bundles that share the file"
    (tmp_path / list_files()["vggish"].name).unlink()
    texts = [finding.text for finding in weight_files.check_weights("demo", WeightSource(tmp_path)).findings]
    partly, none = (text for text in texts if "missing" in text or "not downloaded" in text)
    assert partly.startswith("leap-llp: 4 of 5 files are missing, 871 MB")
    assert none.startswith("not downloaded: ave (374 MB), ave-weak (374 MB), dmrn (375 MB), psp (376 MB)")


def test_multiply_adds_of_vggish_computed_by_hand() -> None:
    pooled = [
        (96, 64, 1, 64),
        (48, 32, 64, 128),
        (24, 16, 128, 256),
        (24, 16, 256, 256),
        (12, 8, 256, 512),
        (12, 8, 512, 512),
    ]  # height, width, channels in and out of the 3 x 3 convolutions
    convolutions = sum(9 * height * width * read * written for height, width, read, written in pooled)
    dense = 12288 * 4096 + 4096 * 4096 + 4096 * 128
    assert speed.count_multiply_adds(["vggish"], "llp") == convolutions + dense == 863_895_552


def test_an_estimate_needs_networks_that_are_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_bundle: Path
) -> None:
    monkeypatch.setattr("avvp.pipeline.training.matmul_rate.matmul_rate", lambda _: 1e9)
    section = speed.check_speed(str(tiny_bundle), WeightSource(), "cpu")
    facts = section.facts["estimate"]
    assert facts["seconds"] == round(2 * facts["multiply_adds"] / 0.9e9, 2)
    assert any(text.startswith("ESTIMATE: about ") for text in states(section))
    section = speed.check_speed(str(tmp_path / "none"), WeightSource(), "cpu")
    assert section.facts["estimate"] is None
    assert broken(speed.check_speed("untrained", WeightSource(), "tpu")) != []


@pytest.fixture
def _quick_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one block a stage, for no time."""
    monkeypatch.setattr("avvp.pipeline.training.matmul_rate.matmul_rate", lambda _: 1e9)
    for name, value in (("_STAGES", (1, 1)), ("_CPU_PICTURES", 1), ("_SECONDS", 0.0)):
        monkeypatch.setattr(f"avvp.pipeline.computing.measure_extraction.{name}", value)


@pytest.mark.usefixtures("_no_decoding", "_quick_measurements")
def test_backends_are_compared_when_asked(run: Run, document: Callable[..., tuple[Result, dict[str, Any]]]) -> None:
    options = ("--device", "cpu", "--weights", "demo")
    assert "backends are not compared yet: avvp doctor --measure-again does" in run("doctor", *options).out
    assert document(*options)[1]["speed"]["backends"] is None
    found = document(*options, "--measure-again")[1]["speed"]["backends"]
    assert found["speeds"][0] == {
        "backend": "torch", "precision": "fp32", "times_fp32_by_torch": 1.0, "error": found["speeds"][0]["error"],
    }  # fmt: skip
    assert document(*options)[1]["speed"]["backends"] == found  # remembered
    remember_rates(10, 5, 12, 21)
    text = run("doctor", *options).out
    assert "bf16 0.50 times as fast, fp32 by openvino 1.20 times as fast, bf16 by openvino 2.10 times as fast" in text
    assert "--backend auto --precision auto computes in bf16 by openvino" in text
    refused = run("doctor", "--no-measure", "--measure-again")
    assert (refused.status, "exclude each other" in refused.err) == (2, True)


@pytest.mark.usefixtures("_no_decoding")
def test_credentials_are_not_printed(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVVP_EXTRACT_OUTPUT", "s3://name:secret@bucket/feats")
    monkeypatch.setenv("AVVP_SERVE_TOKEN", "secret")
    assert "secret" not in run("extract", "--help").out
    result = run("doctor", "--no-measure", "--json")
    assert "s3://***@bucket/feats" in result.out
    assert "secret" not in result.out + result.err
