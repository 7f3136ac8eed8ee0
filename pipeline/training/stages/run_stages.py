"""Run the stages of a recipe that come before its own training, each in a folder of its own: ROOT/stages/1-NAME/.

A training stage is a run like any other, with a bundle. What the other stages compute is a file with a record of what
it was made from. A run that was killed goes on in the stage in which it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ....models.denoising import NoiseRatios, RemovedLabels
from ....models.files.checkpoint import load_checkpoint
from ....models.parser import AVParser
from ....weights.safe_paths import UnsafePathError, inside
from ....weights.source import ANYWHERE, WeightSource
from ...datasets.clips import ModalityLabels
from ...errors import SetupError
from ...files import hash_file, make_folder, write_atomic
from ...text import escape
from ..fingerprints import ADVICE
from ..recipe import Recipe
from ..run_folder import BEST_FILE, CONFIG_FILE, check_files, lock_run, read_config
from ..settings.stage import Stage
from ..setup import PlanData, TrainingPlan, complete_bundle, data_needs, open_data, prepare_job, start_run
from ..train_parser import (
    RestoredRun,
    TrainingCallbacks,
    TrainingJob,
    check_denoising,
    restore_run,
    train_epochs,
)
from .estimate import estimate_ratios, remove_labels
from .products import (
    RATIOS_FILE,
    RECORD_FILE,
    REMOVED_FILE,
    describe_ratios,
    format_ratios,
    format_removed,
    read_ratios,
    read_record,
    read_removed,
    write_record,
)

STAGES_FOLDER = "stages"


@dataclass(frozen=True)
class StageCallbacks:
    """Callbacks that report the progress of stages.

    Attributes:
        training: called with the title and the recipe of a training stage; returns the callbacks of its run.
        progress: called with a title; returns a callback for the number of clips done and the total.
        info: called with a line for the user.
    """

    training: Callable[[str, Recipe], TrainingCallbacks] = lambda _title, _recipe: TrainingCallbacks()
    progress: Callable[[str], Callable[[int, int], None]] = lambda _title: lambda _done, _total: None
    info: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, eq=False)
class OpenStage:
    """A stage that can be run: all that can be wrong before it has been checked."""

    stage: Stage
    title: str
    root: Path
    restored: RestoredRun | None = None  # of a training stage
    training: TrainingCallbacks = field(default_factory=TrainingCallbacks)  # of its run
    inputs: Mapping[str, str] = field(default_factory=dict)  # of the others: fingerprints of what they read
    is_done: bool = False  # whether the file of one of the others is there


class StageRuns:
    """The stages of a run that come before the training of its own network.

    Attributes:
        earlier: these stages, in order; none for a recipe without stages.
    """

    def __init__(self, job: TrainingJob, plan: TrainingPlan, data: PlanData, source: WeightSource = ANYWHERE) -> None:
        """Plan the stages.

        Args:
            job: of the whole run, of `prepare_job`; the caller holds the lock of its folder.
            plan: of the job.
            data: of the plan.
            source: of weight files.

        Raises:
            SetupError: several processes are to run stages.
        """
        self._job, self._plan, self._data, self._source = job, plan, data, source
        self.earlier = plan.recipe.stages[:-1]
        self._parser: Path | None = None  # checkpoint of the last training stage
        self._ratios: NoiseRatios | None = None
        self._removed: RemovedLabels | None = None
        if self.earlier and job.ranks.count > 1:
            raise SetupError(f"recipe {escape(plan.recipe.name)} has stages: train it in one process, without torchrun")

    def check(self) -> None:
        """Check the configuration of every stage, and files that recipes name; write nothing. Raises SetupError."""
        for index, stage in enumerate(self.earlier):
            if stage.kind == "train":
                self._stage_job(self._stage_plan(stage), stage_folder(self._job.root, index, stage))
        job = self.last_job()
        if not self.earlier:
            check_denoising(job)

    def open(self, index: int, lock: contextlib.ExitStack, callbacks: StageCallbacks | None = None) -> OpenStage:
        """Check a stage, and restore what is done of it.

        Args:
            index: in `earlier`; the stages before it have been run.
            lock: holds the lock of its folder.
            callbacks: for the progress.

        Returns:
            What `run` runs.

        Raises:
            SetupError: the stage was started with other data or settings, or cannot be run.
            OutputError: its folder cannot be created.
        """
        callbacks = callbacks or StageCallbacks()
        stage = self.earlier[index]
        title = self.title(index)
        root = stage_folder(self._job.root, index, stage)
        if stage.kind != "train":
            inputs = self._inputs(stage)
            return OpenStage(stage, title, root, inputs=inputs, is_done=self._is_done(root, inputs, stage))
        plan = self._stage_plan(stage)
        job = self._stage_job(plan, root)
        make_folder(root.parent)
        if (root / CONFIG_FILE).exists():
            lock.enter_context(lock_run(root))
            if TrainingPlan.from_dict(read_config(root), plan.recipe.trust) != plan:
                raise SetupError(f"{escape(root)}: its settings are not those of the recipe; {ADVICE}")
            complete_bundle(job, plan, self._source)
        else:
            lock.enter_context(start_run(job, plan, self._source))
        reports = callbacks.training(title, plan.recipe)
        return OpenStage(stage, title, root, restore_run(job, reports), reports)

    def run(self, opened: OpenStage, callbacks: StageCallbacks | None = None) -> None:
        """Run what is left of a stage.

        Args:
            opened: of `open`.
            callbacks: for the progress.

        Raises:
            TrainingError: training diverged, or memory is exhausted.
            DatasetError: features cannot be read.
            OutputError: a file cannot be written.
        """
        callbacks = callbacks or StageCallbacks()
        stage, root = opened.stage, opened.root
        if opened.restored is not None:
            state = opened.restored.state
            recipe = opened.restored.job.recipe
            if not state.is_finished(recipe.training):
                train_epochs(opened.restored, opened.training)
                callbacks.info(f"{opened.title}: best epoch {state.best_epoch} of {state.epochs}")
            self._parser = root / BEST_FILE
        elif stage.kind == "estimate":
            self._ratios = self._estimate(opened, callbacks)
        else:
            self._removed = self._relabel(opened, callbacks)

    def title(self, index: int) -> str:
        """Return what a stage is called in lines for the user, such as "stage 1 of 3 (noisy)"."""
        stages = self._plan.recipe.stages
        return f"stage {index + 1} of {len(stages)} ({stages[index].name})"

    def last_job(self) -> TrainingJob:
        """Return the job of the run's own training, with what the stages have computed.

        Raises:
            SetupError: files that the recipe names cannot be read.
        """
        return self._denoised(self._job)

    def _stage_plan(self, stage: Stage) -> TrainingPlan:
        return replace(self._plan, recipe=self._plan.recipe.of_stage(stage))

    def _stage_job(self, plan: TrainingPlan, root: Path) -> TrainingJob:
        """Return the job of a training stage, with what earlier stages have computed."""
        data = self._data
        if data_needs(plan.recipe) != data_needs(self._plan.recipe):
            data = open_data(plan)  # its clips have other labels, or other rows of features
        job = prepare_job(plan, data, root, device=self._job.device, source=self._source, ranks=self._job.ranks)
        return self._denoised(job)

    def _denoised(self, job: TrainingJob) -> TrainingJob:
        """Return a job with the removed labels or the noise ratios that its recipe asks for, if there are any yet."""
        config, labels = job.recipe.training, job.config.labels
        if config.denoise == "batches":
            ratios = read_ratios(config.noise_ratios, labels) if config.noise_ratios else self._ratios
            return replace(job, noise=ratios)
        if config.denoise != "labels":
            return job
        named = Path(config.removed_labels) if config.removed_labels else None
        removed = self._removed if named is None else read_removed(named, job.clips, labels)
        if removed is None:
            return job
        kept = ModalityLabels(*(job.clips.video_labels & ~table for table in removed))
        return replace(job, clips=replace(job.clips, modality_labels=kept))

    def _inputs(self, stage: Stage) -> dict[str, str]:
        """Return fingerprints of what an estimate or a relabelling reads."""
        assert self._parser is not None  # the first stage trains
        clips, config = self._job.clips, self._job.config
        digest = hashlib.sha256(json.dumps([clips.filenames, clips.lengths.tolist(), config.labels]).encode())
        digest.update(np.ascontiguousarray(clips.video_labels).tobytes())
        settings = json.dumps([stage.to_dict(), self._plan.recipe.training.seed], sort_keys=True)
        return {
            "network": hash_file(self._parser),
            "labels of the training clips": digest.hexdigest(),
            "settings": hashlib.sha256(settings.encode()).hexdigest(),
        }

    def _is_done(self, root: Path, inputs: Mapping[str, str], stage: Stage) -> bool:
        """Return whether the file of a stage is there. Raises SetupError if it was made from something else."""
        if root.exists():
            check_files(root, [RECORD_FILE, RATIOS_FILE, REMOVED_FILE])
        record = read_record(root)
        if record is None:
            return False
        if changed := [what for what in inputs if record["inputs"].get(what) != inputs[what]]:
            raise SetupError(
                f"{escape(root)}: the {' and the '.join(changed)} are not those it was made from; {ADVICE}"
            )
        file = root / _FILES[stage.kind]
        if not file.is_file() or record["output"].get(file.name) != hash_file(file):
            raise SetupError(
                f"{escape(file)}: is missing or was changed; restore it, or start a new run that names your file with"
                f" --set training.{_SETTINGS[stage.kind]}=FILE"
            )
        return True

    def _load_parser(self) -> AVParser:
        assert self._parser is not None
        try:
            parser = load_checkpoint(self._parser, self._plan.recipe.trust).parser
        except ValueError as error:
            raise SetupError(escape(error)) from error
        assert isinstance(parser, AVParser)  # recipes of localizers have no stages
        return parser.to(self._job.device).eval()

    def _estimate(self, opened: OpenStage, callbacks: StageCallbacks) -> NoiseRatios:
        file, labels = opened.root / RATIOS_FILE, self._job.config.labels
        if opened.is_done:
            return read_ratios(str(file), labels)
        seed = self._plan.recipe.training.seed
        progress = callbacks.progress(f"{opened.title}: estimating noise ratios")
        try:
            ratios = estimate_ratios(self._load_parser(), self._job.clips, opened.stage, seed=seed, progress=progress)
        except ValueError as error:
            raise SetupError(f"{opened.title}: {error}") from error
        counts = {name: float(table.mean()) for name, table in ratios._asdict().items()}
        self._write(opened, file, format_ratios(ratios, labels), counts)
        callbacks.info(f"{opened.title}: {escape(describe_ratios(ratios, labels))}")
        return ratios

    def _relabel(self, opened: OpenStage, callbacks: StageCallbacks) -> RemovedLabels:
        file, clips = opened.root / REMOVED_FILE, self._job.clips
        if opened.is_done:
            return read_removed(file, clips, self._job.config.labels)
        seed = self._plan.recipe.training.seed
        progress = callbacks.progress(f"{opened.title}: exchanging sounds and pictures")
        removed, alone = remove_labels(self._load_parser(), clips, opened.stage, seed=seed, progress=progress)
        counts = {
            "labels": int(clips.video_labels.sum()),
            "audio": int(removed.audio.sum()),
            "visual": int(removed.visual.sum()),
            "clips_without_partner": alone,
        }
        self._write(opened, file, format_removed(removed, clips.filenames, self._job.config.labels), counts)
        callbacks.info(
            f"{opened.title}: of {counts['labels']} labels, {counts['audio']} removed from the sound,"
            f" {counts['visual']} from the picture"
        )
        if alone:
            callbacks.info(
                f"note: {alone} clip{'' if alone == 1 else 's'} share a label with every other clip and keep all labels"
            )
        return removed

    def _write(self, opened: OpenStage, file: Path, content: bytes, counts: Mapping[str, Any]) -> None:
        """Write the file of a stage, then its record, which makes it complete."""
        make_folder(file.parent)
        write_atomic(file, content)
        output = {file.name: hash_file(file)}
        record = {**opened.stage.to_dict(), "inputs": dict(opened.inputs), "output": output, "counts": dict(counts)}
        write_record(opened.root, record)


_FILES = {"estimate": RATIOS_FILE, "relabel": REMOVED_FILE}
_SETTINGS = {"estimate": "noise_ratios", "relabel": "removed_labels"}


def stage_folder(root: Path, index: int, stage: Stage) -> Path:
    """Return the folder of a stage.

    Args:
        root: folder of the run.
        index: of the stage, from 0.
        stage: of its recipe.

    Raises:
        SetupError: it would be outside the folder of the run, through a link.
    """
    try:
        return inside(root, f"{STAGES_FOLDER}/{index + 1}-{stage.name}")
    except UnsafePathError as error:
        raise SetupError(f"{escape(root)}: {escape(error)}") from error


def run_earlier_stages(
    job: TrainingJob,
    plan: TrainingPlan,
    data: PlanData,
    *,
    source: WeightSource = ANYWHERE,
    callbacks: StageCallbacks | None = None,
) -> TrainingJob:
    """Run all stages that come before the training of a run's own network, as far as they are not done.

    Args:
        job: of `prepare_job`; the caller holds the lock of its folder.
        plan: of the job.
        data: of the plan.
        source: of weight files.
        callbacks: for the progress.

    Returns:
        The job of its own training, for `restore_run`.

    Raises:
        SetupError: a stage was started with other data or settings, or cannot be run.
        TrainingError: training diverged.
        DatasetError: features cannot be read.
        OutputError: a file cannot be written.
    """
    stages = StageRuns(job, plan, data, source)
    with contextlib.ExitStack() as lock:
        for index in range(len(stages.earlier)):
            stages.run(stages.open(index, lock, callbacks), callbacks)
    return stages.last_job()
