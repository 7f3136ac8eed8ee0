"""docs/own-data.md from top to bottom, on generated clips, with teachers whose errors are known."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avvp.extractors.base import Extractor
from avvp.extractors.inputs import CLAP_MEL, CLIP_FRAME
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.pseudo_labels import read_pseudo_labels
from avvp.pipeline.metrics import score
from avvp.pipeline.outputs.formats.registry import FORMATS
from avvp.pipeline.preprocess.teacher_inputs import TeacherInputs
from avvp.pipeline.pseudo_labeling import task as labelling
from avvp.pipeline.pseudo_labeling.prompts import VALOR, Prompts
from avvp.pipeline.pseudo_labeling.teachers import LoadedTeachers
from avvp.pipeline.segments import runs
from avvp.pipeline.synthetic.dataset import SynthJob, write_dataset
from avvp.pipeline.timeline import Event, Modality, SegmentLabels, Timeline
from support.command import Result
from support.paths import ROOT

PAGE = ROOT / "docs" / "own-data.md"
SECONDS = 3


class Knowing(Extractor):
    """Knows its inputs by heart: logits far above or below the thresholds, and one feature."""

    def __init__(self, form: Any, answers: Mapping[bytes, np.ndarray], thresholds: tuple[float, ...]) -> None:
        super().__init__(len(thresholds) + 1)
        self.input_format = form  # pyright: ignore[reportAttributeAccessIssue] - a ClassVar of the others
        self._answers, self._thresholds = answers, np.array(thresholds, np.float32)

    def prepare(self, reduced: torch.Tensor) -> torch.Tensor:
        return reduced

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nothing = np.zeros(self.dim - 1, bool)
        said = np.stack([self._answers.get(one.tobytes(), nothing) for one in x.numpy()])
        logits = np.where(said, self._thresholds + 3, self._thresholds - 3).astype(np.float32)
        return torch.from_numpy(np.concatenate([logits, np.ones((len(x), 1), np.float32)], axis=1))


def mistaken(truth: np.ndarray) -> np.ndarray:
    """What the teachers say: in second 1 they deny what is there."""
    said = truth.copy()
    said[1] = False
    return said


@pytest.fixture
def truth(tmp_path: Path) -> dict[str, SegmentLabels]:
    """The page's folders and tables, and what is really in the clips, by name."""
    job = SynthJob({"train": 4, "val": 2, "test": 0}, seed=4, seconds=SECONDS)
    (tmp_path / "set").mkdir()
    write_dataset(tmp_path / "set", job, workers=1)
    annotations = read_annotations(tmp_path / "set" / "annotations")
    found: dict[str, SegmentLabels] = {}
    val = annotations.split("val")
    audio, visual = (annotations.modality_labels(val, modality, SECONDS) for modality in ("audio", "visual"))
    for folder, table in (("videos", "labels.csv"), ("checked", "checked.csv")):
        (tmp_path / folder).mkdir()
        rows = ["filename,event_labels"]
        split = annotations.split("train" if folder == "videos" else "val")
        for number, (filename, has) in enumerate(zip(split.filenames, split.labels, strict=True)):
            name = f"{folder[0] if folder == 'videos' else 'w'}{number + 1}"
            clip = filename.rsplit("_", 2)[0]
            shutil.copy(tmp_path / "set" / "videos" / f"{clip}.mp4", tmp_path / folder / f"{name}.mp4")
            classes = ",".join(LLP_LABELS[index] for index in np.flatnonzero(has).tolist())
            rows.append(f'{name}.mp4,"{classes}"')
            if folder == "checked":
                found[name] = SegmentLabels(audio[number], visual[number])
            else:  # what is in it by second is in the (noisy) pseudo labels alone: take those for the truth
                tables = [
                    read_pseudo_labels(tmp_path / "set" / "pseudo_labels", m, [clip], [SECONDS], 25)[0][0]
                    for m in ("audio", "visual")
                ]
                found[name] = SegmentLabels(tables[0], tables[1])
        (tmp_path / table).write_text("\n".join(rows) + "\n")
    shutil.copy(VALOR, tmp_path / "classes.toml")
    return found


def correct(folder: Path, truth: Mapping[str, SegmentLabels]) -> None:
    """Write the corrected events that a user would save from the pages of the checked clips."""
    folder.mkdir()
    for name in ("w1", "w2"):
        tables: dict[Modality, np.ndarray] = {"audio": truth[name].audio, "visual": truth[name].visual}
        events = [
            Event(modality, LLP_LABELS[index], float(start), float(stop), 1.0)
            for modality, table in tables.items()
            for index in range(len(LLP_LABELS))
            for start, stop in runs(table[:, index])
        ]
        timeline = Timeline.of_events(events, path=f"{name}.mp4", duration=float(SECONDS), labels=LLP_LABELS)
        (folder / f"{name}.events.json").write_bytes(FORMATS["json"].write(timeline)[0])


@pytest.mark.timeout(300)
def test_own_data_page_from_top_to_bottom(
    run: Callable[..., Result], truth: dict[str, SegmentLabels], tmp_path: Path, tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    answers: dict[str, dict[bytes, np.ndarray]] = {"audio": {}, "visual_2d": {}}
    for name, clip in truth.items():
        place = {"audio": 0, "visual_2d": 0}
        folder = "videos" if name.startswith("v") else "checked"
        for stream, inputs in TeacherInputs(tmp_path / folder / f"{name}.mp4", [CLAP_MEL, CLIP_FRAME]):
            said = mistaken(clip.audio if stream == "audio" else clip.visual)
            for one in inputs:
                answers[stream][one.tobytes()] = said[place[stream]]
                place[stream] += 1

    def load(prompts: Prompts, **_: Any) -> LoadedTeachers:
        audio = Knowing(CLAP_MEL, answers["audio"], prompts.audio_thresholds)
        visual = Knowing(CLIP_FRAME, answers["visual_2d"], prompts.visual_thresholds)
        networks: Any = ((torch.device("cpu"), {"audio": audio, "visual_2d": visual}),)
        return LoadedTeachers(networks, {"CLIP": "1", "CLAP": "2"})

    monkeypatch.setattr(labelling, "load_teachers", load)
    monkeypatch.chdir(tmp_path)
    lines = "".join(re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)).splitlines()
    results: dict[str, Result] = {}
    for line in lines:
        if "corrected/" in line and not Path("corrected").exists():
            correct(tmp_path / "corrected", truth)
        arguments = [str(tiny_bundle) if word == "leap-llp" else word for word in shlex.split(line)[1:]]
        if arguments[0] == "train":
            arguments += ["--epochs", "1", "--set", "model.hidden_dim=16", "--set", "model.feedforward_dim=16"]
        results[line] = run(*arguments)
        assert results[line].status == 0, (line, results[line].err)
    for name in ("v1", "v4"):
        for modality, table in (("audio", truth[name].audio), ("visual", truth[name].visual)):
            labels, problems = read_pseudo_labels(Path("data"), modality, [name], [SECONDS], 25)
            assert not problems
            np.testing.assert_array_equal(labels[0], mistaken(table))
    real = [np.stack([getattr(truth[name], modality) for name in ("w1", "w2")]) for modality in ("audio", "visual")]
    found = [np.stack([mistaken(table) for table in tables]) for tables in real]
    expected = score(*found, *real)
    assert expected.segment.type_av < 100
    told = next(result.out for line, result in results.items() if "--pseudo-labels check/" in line)
    assert f"{expected.segment.type_av:.1f}" in told
    assert [path.name for path in sorted(Path("data/review").iterdir())] == [
        "index.html", "v1.html", "v2.html", "v3.html", "v4.html",
    ]  # fmt: skip
    assert Path("report.html").stat().st_size > 10_000
