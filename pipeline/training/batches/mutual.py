"""CMPAE's mutual learning as a loss term, which depends on the number of the batch."""

from __future__ import annotations

from torch import Tensor

from ....models.decoder_output import ParserOutput
from ....models.losses import Targets, mutual_learning_loss


def mutual_terms(output: ParserOutput, targets: Targets, weight: float, step: int) -> dict[str, Tensor]:
    """Compute the weighted term "mutual".

    Args:
        output: of a parser whose decoder gives uncertainties.
        targets: of the same batch; the labels of the videos decide which classes a clip has.
        weight: of the term.
        step: number of the batch in its epoch, from 0.

    Returns:
        Term name -> scalar.

    Raises:
        ValueError: the decoder gives no uncertainties.
    """
    of_audio, of_visual, of_video = output.audio_uncertainty, output.visual_uncertainty, output.video_uncertainty
    if of_audio is None or of_visual is None or of_video is None:
        raise ValueError("objective.mutual_weight needs uncertainties, which the decoder evidence gives")
    loss = mutual_learning_loss(
        targets.video, output.video_probs, output.audio_video_probs, output.visual_video_probs,
        of_audio, of_visual, of_video, step,
    )  # fmt: skip
    return {"mutual": weight * loss}
