"""docs/teacher.md from top to bottom, with tiny CLIP and CLAP and a tiny teacher."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from avvp.models.labels import LLP_LABELS
from support.command import Result
from support.dense_data import SETTINGS
from support.media import ffmpeg
from support.paths import ROOT
from support.teachers import write_teachers

pytest.importorskip("transformers")
PAGE = (ROOT / "docs" / "teacher.md").read_text(encoding="utf-8")


def blocks(language: str) -> str:
    return "".join(re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's folders: dense/ with clips of unav.json, videos/ with clips of llp/."""
    for folder, names in (("dense", ("a1", "a2")), ("videos", ("t1", "v1"))):
        (tmp_path / folder).mkdir()
        for number, name in enumerate(names):
            inputs = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=8", "-f", "lavfi", "-i", f"sine=f={300 * number + 200}")
            coded = ("-t", 3, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac")
            ffmpeg(*inputs, *coded, tmp_path / folder / f"{name}.mp4")
    example = json.loads(blocks("json"))
    example["database"]["a2"] = {**example["database"]["a1"], "subset": "validation"}
    (tmp_path / "unav.json").write_text(json.dumps(example))
    llp = tmp_path / "llp"
    llp.mkdir()
    (llp / "AVVP_train.csv").write_text("filename\tevent_labels\nt1\tDog,Speech\n")
    (llp / "AVVP_val_pd.csv").write_text("filename\tevent_labels\nv1\tDog\n")
    for modality in ("audio", "visual"):
        (llp / f"AVVP_eval_{modality}.csv").write_text("filename\tonset\toffset\tevent_labels\nv1\t0\t2\tDog\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_from_top_to_bottom(run: Callable[..., Result], desk: Path) -> None:
    clip, clap = write_teachers(desk / "models")
    models = ("--clip-model", clip, "--clap-model", clap, "--offline")
    for line in blocks("bash").splitlines():
        program, command, *arguments = shlex.split(line)
        assert program == "avvp"
        resumed = "--resume" in arguments
        extra = [*(() if resumed else models), "--device", "cpu"]
        if command == "train-teacher" and not resumed:
            extra += [*SETTINGS, "--epochs", 1]
        result = run(command, *arguments, *extra)
        assert result.status == 0, (line, result.err)
    scores = np.load(desk / "data/CLIP/scores/t1.npy")
    assert scores.shape == (3, len(LLP_LABELS))
    assert json.loads((desk / "data/pseudo_labels.json").read_text())["thresholds"] == "dense"
