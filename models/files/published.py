"""Load weight files published by the authors of parsers and localizers, with their original keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

from torch import Tensor

from ...weights.messages import shown
from ..labels import AVE_LABELS, LLP_LABELS
from ..localizers.localizer import EventLocalizer
from ..parser import AVParser
from .keys import check_state
from .published_localizers import SYSTEMS, load_localizer
from .published_parsers import FAMILIES, load_parser

ParserFamily = Literal[
    "leap", "mmpyr", "han", "valor", "ma", "jomold", "lsld", "cmpae", "coleaf", "cvcms", "uwav", "mgn", "dhhn"
]
LocalizerFamily = Literal["ave", "dmrn", "psp", "cmbs", "cpsp"]


@overload
def load_published(
    state_dict: Mapping[str, Tensor],
    *,
    family: ParserFamily,
    label_embeddings: Tensor | None = None,
    labels: Sequence[str] | None = None,
    heads: int | None = None,
    leap_heads: int | None = None,
    swap_modalities: bool | None = None,
    cross_attention: bool | None = None,
) -> AVParser: ...


@overload
def load_published(
    state_dict: Mapping[str, Tensor],
    *,
    family: LocalizerFamily,
    supervision: str | None = None,
    labels: Sequence[str] | None = None,
    heads: int | None = None,
    **settings: Any,
) -> EventLocalizer: ...


@overload
def load_published(
    state_dict: Mapping[str, Tensor],
    *,
    family: str,
    supervision: str | None = None,
    label_embeddings: Tensor | None = None,
    labels: Sequence[str] | None = None,
    heads: int | None = None,
    leap_heads: int | None = None,
    swap_modalities: bool | None = None,
    cross_attention: bool | None = None,
    **settings: Any,
) -> AVParser | EventLocalizer: ...


def load_published(
    state_dict: Mapping[str, Tensor],
    *,
    family: str,
    supervision: str | None = None,
    label_embeddings: Tensor | None = None,
    labels: Sequence[str] | None = None,
    heads: int | None = None,
    leap_heads: int | None = None,
    swap_modalities: bool | None = None,
    cross_attention: bool | None = None,
    **settings: Any,
) -> AVParser | EventLocalizer:
    """Build a parser or a localizer from a published state dict; it computes what the published program computes.

    Widths and the numbers of levels, layers and blocks are read from the shapes of the tensors.

    Args:
        state_dict: tensors under the published keys; the prefix ``module.`` of data-parallel training is removed. Of
            dhhn those of both scored networks, with the prefixes ``audio_net.`` and ``video_net.``, or of one file.
        family: of parsers "leap" (MM-Pyr + LEAP), "mmpyr" (MM-Pyr + MMIL), "han", "valor", "ma", "jomold", "lsld",
            "cmpae", "coleaf" (its anchor), "cvcms", "uwav", "mgn" or "dhhn"; of localizers "ave" (the attention network
            or DMRN, which the keys tell), "dmrn", "psp", "cmbs" or "cpsp"; see Source.
        supervision: of localizers only, "full" (also the meaning of None) or "weak": by which program the file was
            trained. The files of AVE and of CPSP have the same keys for both, so that nothing shows a mistake.
        label_embeddings: (C, W) float, for the family leap only.
        labels: C class names, in the order of the class axis, without the background; LLP's or AVE's when None.
        heads: attention heads of the encoder, which no shape shows; the family's published number when None.
        leap_heads: attention heads of the LEAP blocks; 8 when None.
        swap_modalities: for the family mmpyr only. Its program stacks visual before audio and then reads the first as
            audio; True (also the meaning of None) does the same, False reads each stream as what it is.
        cross_attention: for the families jomold, cmpae and coleaf only. False runs without cross-attention: JoMoLD's
            noise estimator. None is what the program scores: with it, for cmpae and coleaf 0.7 of the probabilities
            with it and 0.3 of those without; True gives those with it alone.
        settings: of localizers only, fields of `LocalizerConfig` that leave no trace in a file, with the published
            numbers as defaults: threshold (psp, cpsp); alpha, beta, gamma, interaction_heads, positions, decision
            (cmbs); dropouts; segments.

    Returns:
        The network in eval mode. Its `unused_keys` are the keys that the published forward pass never reads. Localizers
        have the type of the file's tensors: CMBS and CPSP are published and computed in float64.

    Raises:
        ValueError: the family is unknown, an argument is missing or not for this family, a key is unknown or missing,
            or a tensor has the wrong shape, another type than float32 (localizers: or float64), or values that are not
            finite.

    Source:
        leap: github.com/jasongief/LEAP; mmpyr: github.com/JustinYuu/MM_Pyramid;
        han: github.com/YapengTian/AVVP-ECCV20; valor: github.com/Franklin905/VALOR;
        ma: github.com/Yu-Wu/Modaily-Aware-Audio-Visual-Video-Parsing; jomold: github.com/MCG-NJU/JoMoLD;
        lsld: github.com/fyyCS/LSLD; cmpae: github.com/MengyuanChen21/CVPR2023-CMPAE;
        coleaf: github.com/faeghehsardari/coleaf; cvcms: github.com/GenjiB/CM-Co-Occurrence-AVVP;
        uwav: the program of Lai et al., CVPR 2025; mgn: github.com/stoneMo/MGN; dhhn: github.com/anonyUsr22/DHHN;
        ave, dmrn: github.com/YapengTian/AVE-ECCV18; psp: github.com/jasongief/PSP_CVPR_2021;
        cmbs: github.com/marmot-xy/CMBS; cpsp: github.com/jasongief/CPSP.
    """
    state = check_state(state_dict)
    if family in FAMILIES:
        if supervision is not None or settings:
            given = ["supervision"] * (supervision is not None) + sorted(settings)
            raise ValueError(f"{', '.join(given)}: not for family {family!r}, only for {', '.join(SYSTEMS)}")
        return load_parser(
            state,
            family,
            label_embeddings=label_embeddings,
            labels=LLP_LABELS if labels is None else labels,
            heads=heads,
            leap_heads=8 if leap_heads is None else leap_heads,
            swap_modalities=swap_modalities,
            cross_attention=cross_attention,
        )
    if family not in SYSTEMS:
        raise ValueError(f"unknown family {family!r}; known: {', '.join((*FAMILIES, *SYSTEMS))}")
    for name, value in (
        ("label_embeddings", label_embeddings), ("leap_heads", leap_heads), ("swap_modalities", swap_modalities),
        ("cross_attention", cross_attention),
    ):  # fmt: skip
        if value is not None:
            raise ValueError(f"{name}: not for family {family!r}")
    if supervision is not None and not isinstance(supervision, str):
        raise ValueError(f"supervision is {shown(supervision)}, expected 'full' or 'weak'")
    return load_localizer(
        state,
        family,
        supervision="full" if supervision is None else supervision,
        labels=AVE_LABELS if labels is None else labels,
        settings=settings if heads is None else {**settings, "heads": heads},
    )
