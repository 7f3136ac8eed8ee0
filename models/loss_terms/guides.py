"""What DHHN's network and the guides of its training learn from each other (Jiang et al., ACM MM 2022).

Shapes: B batch, C classes.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def guidance_losses(audio: Tensor, visual: Tensor, audio_guide: Tensor, visual_guide: Tensor) -> dict[str, Tensor]:
    """Compute what draws a network to its guides, and what keeps the modalities apart.

    The guides do not learn from the network: where it is drawn to them they have no gradient.

    Args:
        audio: (B, C), probabilities of the videos by the network's audio.
        visual: (B, C), the same of the picture.
        audio_guide: (B, C), probabilities by the guide of the audio.
        visual_guide: (B, C), the same of the picture.

    Returns:
        "audio_guidance" and "visual_guidance", mean squared errors of the network; "separation" and "guide_separation",
        the negative mean squared differences of the modalities, in the network and in the guides. Scalars.

    Source:
        Jiang et al., ACM MM 2022; github.com/anonyUsr22/DHHN.
    """
    return {
        "audio_guidance": F.mse_loss(audio, audio_guide.detach()),
        "visual_guidance": F.mse_loss(visual, visual_guide.detach()),
        "separation": -F.mse_loss(audio, visual),
        "guide_separation": -F.mse_loss(audio_guide, visual_guide),
    }
