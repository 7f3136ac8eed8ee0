"""Files of training extractors. The folder is a bundle without a parser when training is complete.

extractors.json             what is trained on what; read by --resume
environment.json            versions, machine, threads
NAME.state.safetensors      state of an extractor after its last complete epoch; removed in the end
NAME.safetensors            parameters of an extractor
bundle.toml                 the bundle; written last
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...extractors.profiles import PROFILES
from ...extractors.sampling import Stream
from ...weights.messages import shown
from ..errors import SetupError
from ..text import escape
from .extractor_examples import Examples
from .extractor_state import check_state
from .run_folder import EXTRACTORS_CONFIG_FILE, lock_new_folder, lock_run, read_config, write_config, write_environment
from .settings.extractor_settings import EXTRACTOR_CONFIGS, SMALL, ExtractorTrainingConfig, small_networks

SPLITS = ("val", "test")  # those with labels per second
EXAMPLES_PREFIX = ".avvp-examples-"  # of folders with decoded examples
_NAMES = tuple(f"{name}{suffix}" for name in SMALL.values() for suffix in (".safetensors", ".state.safetensors"))


@dataclass(frozen=True, kw_only=True)
class ExtractorPlan:
    """What to train extractors on. Paths are absolute, so that a run can be resumed from any folder.

    Raises:
        ValueError: a value is of another type or out of range.
    """

    videos: Path
    annotations: Path
    splits: tuple[str, ...]
    profile: str
    epochs: Mapping[str, int]  # name of each extractor -> epochs
    seed: int

    def __post_init__(self) -> None:
        if not self.splits or not set(self.splits) <= set(SPLITS) or len(set(self.splits)) != len(self.splits):
            raise ValueError(f"splits must be among {', '.join(SPLITS)}")
        known = [name for name, profile in PROFILES.items() if profile.inputs == "networks"]
        if self.profile not in known:
            raise ValueError(f"profile is {shown(self.profile)}, not one of {', '.join(known)}")
        if set(self.epochs) != set(self.networks.values()):
            raise ValueError(f"epochs must be those of {', '.join(self.networks.values())}")
        for stream in self.networks:
            self.config(stream)

    @property
    def networks(self) -> Mapping[Stream, str]:
        """The extractors, by stream."""
        return small_networks(self.profile)

    def config(self, stream: Stream) -> ExtractorTrainingConfig:
        """Return the settings of a stream's extractor."""
        return replace(EXTRACTOR_CONFIGS[stream], seed=self.seed, epochs=self.epochs[self.networks[stream]])

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping; `from_dict` reverses it."""
        return {**asdict(self), "videos": str(self.videos), "annotations": str(self.annotations)}

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> ExtractorPlan:
        """Make a plan from the mapping of `to_dict`. Raises SetupError for any other mapping."""
        kinds = {"videos": str, "annotations": str, "splits": list, "profile": str, "epochs": dict, "seed": int}
        try:
            if wrong := sorted(kinds.keys() ^ mapping.keys()):
                raise ValueError(f"{shown(wrong[0])} is missing or unknown")
            for name, kind in kinds.items():
                if type(mapping[name]) is not kind:
                    raise ValueError(f"{name} is {shown(mapping[name])}")
            values = [*mapping["splits"], mapping["videos"], mapping["annotations"]]
            if not all(isinstance(value, str) and value and "\0" not in value for value in values):
                raise ValueError("its paths and splits must be text")
            if not all(type(value) is int for value in mapping["epochs"].values()):
                raise ValueError(f"epochs are {shown(mapping['epochs'])}")
            paths = {name: Path(mapping[name]) for name in ("videos", "annotations")}
            return cls(**{**mapping, **paths, "splits": tuple(mapping["splits"])})
        except ValueError as error:
            raise SetupError(
                f"{EXTRACTORS_CONFIG_FILE}: not the configuration of training extractors: {error}"
            ) from error


@contextlib.contextmanager
def start_extractors(root: Path, plan: ExtractorPlan) -> Iterator[None]:
    """Create and lock the folder of a new run.

    Args:
        root: a new folder, or one without a run or a bundle.
        plan: what is trained.

    Raises:
        OutputError: the folder cannot be created, or holds a run, a bundle or one of its files.
        SetupError: another process uses it.
    """
    with lock_new_folder(root, _NAMES):
        write_environment(root)
        save_plan(root, plan, complete=False)
        yield


@contextlib.contextmanager
def resume_extractors(root: Path) -> Iterator[tuple[ExtractorPlan, bool]]:
    """Lock the folder of a run.

    Args:
        root: of `start_extractors`.

    Yields:
        What the run was started with, and whether it is complete.

    Raises:
        SetupError: the folder does not hold such a run, or another process uses it.
    """
    with lock_run(root, EXTRACTORS_CONFIG_FILE, _NAMES):
        config = read_config(root, EXTRACTORS_CONFIG_FILE)
        complete = config.pop("complete", None)
        if not isinstance(complete, bool):
            raise SetupError(f"{escape(root / EXTRACTORS_CONFIG_FILE)}: complete is {shown(complete)}")
        for left in root.glob(f"{EXAMPLES_PREFIX}*"):  # of a killed run; the files in it had no names
            with contextlib.suppress(OSError):
                left.rmdir()
        yield ExtractorPlan.from_dict(config), complete


def save_plan(root: Path, plan: ExtractorPlan, *, complete: bool) -> None:
    """Write extractors.json.

    Args:
        root: folder of the run, locked.
        plan: what is trained.
        complete: whether all extractors are.

    Raises:
        OutputError: the file cannot be written.
    """
    write_config(root, {**plan.to_dict(), "complete": complete}, EXTRACTORS_CONFIG_FILE)


def state_file(root: Path, name: str) -> Path:
    """Return where the state of an extractor is saved while it is trained."""
    return root / f"{name}.state.safetensors"


def check_states(root: Path, plan: ExtractorPlan, examples: Mapping[Stream, Examples]) -> Sequence[str]:
    """Check that all extractors can be resumed.

    Args:
        root: folder of the run.
        plan: what is trained.
        examples: of each stream.

    Returns:
        Names of the extractors that are trained from their first epoch because their number of epochs has changed.

    Raises:
        SetupError: a state cannot be used, or the data are not those that it was made with.
    """
    return [
        name
        for stream, name in plan.networks.items()
        if check_state(state_file(root, name), name, examples[stream], plan.config(stream))
    ]


def remove_states(root: Path) -> None:
    """Remove the states of a complete run."""
    for name in SMALL.values():
        state_file(root, name).unlink(missing_ok=True)
