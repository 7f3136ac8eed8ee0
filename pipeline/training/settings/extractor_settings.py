"""Settings of training an extractor."""

from __future__ import annotations

from dataclasses import dataclass

from ....extractors.profiles import get_profile
from ....extractors.sampling import Stream
from .training_config import MAX_EPOCHS, MAX_SEED


@dataclass(frozen=True)
class ExtractorTrainingConfig:
    """Settings of training an extractor.

    Raises:
        ValueError: the number of epochs or the seed is out of range.
    """

    epochs: int = 6
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    per_epoch: int | None = None  # examples per epoch, drawn anew for each; None for all
    mixed: float = 0.0  # share of the audio examples that another one is mixed into
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.epochs <= MAX_EPOCHS or not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"epochs must be from 1 to {MAX_EPOCHS}, the seed from 0 to {MAX_SEED}")


# The demo bundle's extractors were trained with these; the number and the cost of examples differ between streams.
EXTRACTOR_CONFIGS: dict[Stream, ExtractorTrainingConfig] = {
    "audio": ExtractorTrainingConfig(epochs=15, learning_rate=1e-3, mixed=0.5),
    "visual_2d": ExtractorTrainingConfig(epochs=5, per_epoch=12_000),
    "visual_3d": ExtractorTrainingConfig(epochs=5, per_epoch=4_000),
    "visual_map": ExtractorTrainingConfig(epochs=5, per_epoch=6_000),
}
SMALL: dict[Stream, str] = {
    "audio": "vggish_small",
    "visual_2d": "resnet_small",
    "visual_3d": "r2plus1d_small",
    "visual_map": "vgg19_small",
}


def small_networks(profile: str) -> dict[Stream, str]:
    """Return the extractors that are trained for a profile, a key of `PROFILES`: stream -> name."""
    return {stream: SMALL[stream] for stream in get_profile(profile).streams}
