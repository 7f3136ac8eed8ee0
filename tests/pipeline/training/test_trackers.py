"""Trackers: what they get, what happens when one fails, and the real packages where they are installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from avvp.pipeline.metrics import LEVELS, SCORE_NAMES
from avvp.pipeline.training.trackers import TRACKERS, epoch_values, run_id
from support.command import Run
from support.run_folders import train_options

RECORD: dict[str, Any] = {
    "epoch": 3, "learning_rate": 0.5, "seconds": 1.0, "losses": {"audio": 1.0, "total": 2.0}, "best": True,
    "validation": {**{level: {**dict.fromkeys(SCORE_NAMES, 40.0), "audio": None} for level in LEVELS}, "mean": 40.0},
}  # fmt: skip


class StandIn:
    """Stands for trackio and wandb, whose runs have the same methods."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.settings: dict[str, Any] = {}
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    def module(self, name: str) -> ModuleType:
        module = ModuleType(name)
        module.init = self.init  # pyright: ignore[reportAttributeAccessIssue]
        module.Settings = SimpleNamespace  # pyright: ignore[reportAttributeAccessIssue]
        return module

    def fail(self, where: str) -> None:
        if self.failing == where:
            raise ConnectionError(f"no server in {where}\nand more")

    def init(self, **settings: Any) -> StandIn:
        self.fail("init")
        self.settings = settings
        print("a line for standard output")  # noqa: T201
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self.fail("log")
        self.logged.append((step, values))

    def finish(self) -> None:
        self.fail("finish")
        self.finished += 1


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_trackers_get_settings_and_every_epoch(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, name, stand_in.module(name))
    root = tmp_path / "run"
    result = run(*train_options(data), "-o", root, "--epochs", 2, "--track", name, "--track", name, "-q")
    assert result.status == 0, result.err
    settings = stand_in.settings
    assert settings["project"] == "avvp"
    assert settings["resume"] == "allow"
    assert settings["config"]["training"]["epochs"] == 2
    assert settings["config"]["clips"] == 20
    assert str(tmp_path) not in json.dumps(settings["config"])  # no names of files leave the machine
    assert settings["name"].startswith("run")
    assert [step for step, _ in stand_in.logged] == [1, 2]
    log = [json.loads(line) for line in (root / "log.jsonl").read_text().splitlines()]
    assert stand_in.logged[1][1]["loss/total"] == log[1]["losses"]["total"]
    assert stand_in.logged[1][1]["validation segment/type_av"] == log[1]["validation"]["segment"]["type_av"]
    assert stand_in.finished == 1
    if name == "wandb":
        assert settings["dir"] == str(root)
        assert settings["settings"].console == "off"
    else:
        assert not result.out
    first = {key: settings[key] for key in ("id", "name") if key in settings}
    again = run("train", "-o", root, "--resume", "--epochs", 3, "--track", name, "-q")
    assert again.status == 0, again.err
    assert {key: stand_in.settings[key] for key in first} == first  # the same run there
    assert [step for step, _ in stand_in.logged] == [1, 2, 3]


@pytest.mark.parametrize("where", ["init", "log", "finish"])
def test_a_tracker_that_fails_does_not_end_the_training(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    broken, sound = StandIn(where), StandIn()
    monkeypatch.setitem(sys.modules, "wandb", broken.module("wandb"))
    monkeypatch.setitem(sys.modules, "trackio", sound.module("trackio"))
    options = [*train_options(data), "-o", tmp_path / "run", "--epochs", 2]
    result = run(*options, "--track", "wandb", "--track", "trackio")
    assert result.status == 0, result.err
    warning = f"warning: wandb failed (ConnectionError: no server in {where}); training goes on without it"
    assert " ".join(result.err.split()).count(warning) == 1
    assert len(sound.logged) == 2
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 2


def test_trackers_are_finished_where_training_stops(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "trackio", stand_in.module("trackio"))

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("avvp.pipeline.training.step.training_step", interrupt)
    assert run(*train_options(data), "-o", tmp_path / "run", "--track", "trackio", "-q").status == 130
    assert stand_in.finished == 1


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_package_that_is_not_installed_starts_nothing(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    result = run(*train_options(data), "-o", tmp_path / "run", "--track", name)
    assert result.status == 2
    assert f"{name} is not installed; pip install 'avvp[{name}]'" in result.err
    assert not (tmp_path / "run").exists()


def test_epoch_values() -> None:
    values = epoch_values(RECORD)
    assert values["learning_rate"] == 0.5
    assert values["loss/audio"] == 1.0
    assert values["validation event/type_av"] == 40.0
    assert "validation event/audio" not in values  # not defined
    assert set(epoch_values({**RECORD, "validation": None})) == {"learning_rate", "loss/audio", "loss/total"}
    scores = {"accuracy": 60.0, "events": 70.0, "background": None}  # of a localizer
    localized = epoch_values({**RECORD, "validation": scores})
    assert {name: value for name, value in localized.items() if name.startswith("validation")} == {
        "validation/accuracy": 60.0,
        "validation/events": 70.0,
    }


def test_a_run_has_its_id_until_it_is_started_anew(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "environment.json").write_text("{}")
    first = run_id(tmp_path / "one")
    assert first == run_id(tmp_path / "one")
    assert first != run_id(tmp_path / "two")
    (tmp_path / "one" / "environment.json").unlink()
    assert first != run_id(tmp_path / "one")


def test_command_line_and_table_name_the_same_trackers() -> None:
    from avvp.pipeline.cli.commands.training.train import TRACKERS as NAMES

    assert tuple(TRACKERS) == NAMES


def test_wandb_offline(run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    result = run(*train_options(data), "-o", tmp_path / "run", "--epochs", 1, "--track", "wandb", "-q")
    assert result.status == 0, result.err
    assert "failed" not in result.err
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))


def test_trackio_on_this_machine(run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    result = run(*train_options(data), "-o", tmp_path / "run", "--epochs", 1, "--track", "trackio")
    assert result.status == 0, result.err
    assert "failed" not in result.err
    assert not result.out
    assert (tmp_path / "trackio" / "avvp.db").stat().st_size
