"""Parser configuration: everything that fixes an architecture, stored in every checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..weights.messages import escape, shown
from ..weights.parts import check_part

# Names of this program in each field that can name a part of another package.
PARTS = {
    "encoder": ("mmpyr", "han", "mgn"),
    "decoder": ("leap", "mmil", "evidence", "classwise", "groups"),
    "decision": ("thresholds",),
}
# Decoders with video probabilities of their own for both modalities together; they read no label embeddings.
_POOLING = ("mmil", "evidence", "classwise", "groups")
# Allowed values of each field that names a choice.
CHOICES = {
    "han_order": ("parallel", "sequential"),
    "leap_variant": ("published", "paper"),
    "leap_prediction": ("first", "last", "average"),
    "label_queries": ("embeddings", "learned"),
    "stem": ("linear", "elu", "mlp"),
    "video_filter": ("default", "pooled", "own", "union"),
}

FRAME_STEMS = frozenset({"elu"})  # with an activation before the mean of a second

MAX_WIDTH = 1 << 16  # of features and layers; the largest published is 2048
MAX_LEVELS = 16  # of the pyramid; its last window reaches nine hours to each side
MAX_LAYERS = 64  # HAN layers
MAX_BLOCKS = 64  # LEAP blocks, blocks of grouping
MAX_SCALES = 3  # of temporal convolutions, as published
GUIDE_HEADS = 8  # attention heads of the guides
MAX_SEGMENTS = 14_400  # seconds in a window, four hours: masks have the square of them
MAX_LABELS = 10_000  # classes
MAX_CLASSWISE_LABELS = 1_000  # of the decoders classwise and groups, in which every class attends to every other
MAX_LABEL_CHARACTERS = 1_000  # in the name of a class

_LIMITS = {
    "audio_dim": MAX_WIDTH,
    "visual_2d_dim": MAX_WIDTH,
    "visual_3d_dim": MAX_WIDTH,
    "hidden_dim": MAX_WIDTH,
    "feedforward_dim": MAX_WIDTH,
    "label_embedding_dim": MAX_WIDTH,
    "heads": MAX_WIDTH,
    "leap_heads": MAX_WIDTH,
    "levels": MAX_LEVELS,
    "layers": MAX_LAYERS,
    "leap_blocks": MAX_BLOCKS,
    "segments": MAX_SEGMENTS,
    "stem_hidden_dim": MAX_WIDTH,
    "class_dim": MAX_WIDTH,
    "scales": MAX_SCALES,
    "group_blocks": MAX_BLOCKS,
    "cross_group_blocks": MAX_BLOCKS,
}
_RATES = ("dropout", "attention_dropout", "visual_dropout", "path_dropout", "class_dropout", "evidence_dropout")
_FLAGS = ("swap_modalities", "strict_thresholds", "cross_attention", "modality_networks", "guides")
_SHARES = ("segment_threshold", "video_threshold", "cross_share", "self_attention_share")
# Fields that older versions lack; left out of files where they have their default, so that those versions read them.
_ADDED_FIELDS = {
    "stem", "stem_hidden_dim", "cross_attention", "cross_share", "scales", "group_blocks", "cross_group_blocks",
    "path_dropout", "visual_dropout", "class_dim", "class_dropout", "evidence_dropout", "self_attention_share",
    "modality_networks", "guides", "video_filter", "segment_threshold", "video_threshold", "strict_thresholds",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LeapConfig:
    """Sizes of a LEAP decoder, which parsers and localizers share; their configurations check the values."""

    width: int  # D, of the memory and of the label queries
    feedforward: int  # width between the two linear layers of a block
    heads: int
    blocks: int
    variant: str  # "published" or "paper", see `leap.BLOCKS`
    prediction: str  # block whose logits predict the segments: first, last or average
    dropout: float
    attention_dropout: float


@dataclass(frozen=True, kw_only=True)
class ParserConfig:
    """Architecture of a parser. The defaults are the published MM-Pyr + LEAP on LLP features.

    Raises:
        ValueError: a value is out of range, or two values contradict each other.
    """

    labels: tuple[str, ...]  # C class names; their order is the order of every class axis
    audio_dim: int = 128  # width of the audio features (VGGish)
    visual_2d_dim: int = 2048  # width of the per-frame features (ResNet-152)
    visual_3d_dim: int = 512  # width of the per-second features (R(2+1)D-18); 0: there are none (LSLD)
    hidden_dim: int = 512  # D
    feedforward_dim: int = 512
    # Projection of the features: "linear"; "elu", of each frame, before the mean of a second (CMPAE); "mlp", two layers
    # for the audio and one for both visual streams (UWAV).
    stem: str = "linear"
    stem_hidden_dim: int = 1024  # mlp: width between its layers
    encoder: str = "mmpyr"
    heads: int = 8  # attention heads of the encoder
    levels: int = 4  # MM-Pyr: pyramid levels; level l attends to 2^l seconds on each side
    layers: int = 1  # HAN: number of layers
    han_order: str = "parallel"  # HAN: both modalities attend to the layer's input; "sequential" (VALOR): audio first
    cross_attention: bool = True  # HAN: attend to the other modality
    cross_share: float = 1.0  # HAN: share of the encoding with cross-attention, beside one without (CMPAE)
    scales: int = 1  # temporal convolutions of strides 1, 2, 5 before the encoder, one encoding each (DHHN)
    group_blocks: int = 3  # MGN: blocks of a modality
    cross_group_blocks: int = 6  # MGN: blocks of both modalities
    path_dropout: float = 0.0  # MGN: rate of dropping the whole branch of a block, of a clip
    decoder: str = "leap"
    label_queries: str = "embeddings"  # LEAP: projected label embeddings; or "learned" from scratch (paper, Table 8)
    label_embedding_dim: int = 300  # LEAP: width of the label embeddings (GloVe)
    leap_blocks: int = 2  # LEAP: blocks per modality (paper, Table 1)
    leap_heads: int = 8  # attention heads of the LEAP blocks
    leap_variant: str = "published"  # or "paper": Eq. 2-7 as printed
    leap_prediction: str = "last"  # block whose logits predict the segments: first, last or average (paper, Table 7)
    swap_modalities: bool = False  # MMIL: treat the visual stream as audio and vice versa, as published MM-Pyr does
    class_dim: int = 128  # classwise: width of the vector of a class in a second
    class_dropout: float = 0.25  # classwise: of the attention between classes
    evidence_dropout: float = 0.2  # evidence: of the projection of both modalities
    visual_dropout: float = 0.0  # of the encoded visual segments, before all heads (JoMoLD)
    self_attention_share: float = 0.0  # share of a pass without cross-attention in scored probabilities (CMPAE)
    modality_networks: bool = False  # two whole networks: audio predictions of the first, visual of the second (DHHN)
    guides: bool = False  # networks of one modality that guide the training; checkpoints leave them out (DHHN)
    dropout: float = 0.2
    attention_dropout: float = 0.1
    segments: int = 10  # T in training; longer videos are parsed in windows of this length
    decision: str = "thresholds"  # how probabilities become labels, see pipeline/inference/decisions.py
    # A class is active in a second only if the video has it: by the probability pooled over both modalities ("pooled"),
    # by that of the modality ("own"), or by that of either ("union"); "default": union for LEAP, pooled for others.
    video_filter: str = "default"
    segment_threshold: float = 0.5  # published thresholds of the probabilities of segments
    video_threshold: float = 0.5  # and of videos
    strict_thresholds: bool = False  # active above a threshold, not at it
    # Settings of an encoder, a decoder or a decision of another package, its keyword arguments.
    encoder_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    decoder_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    decision_options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check_labels(self.labels)
        for name, known in PARTS.items():
            check_part(name, getattr(self, name), getattr(self, f"{name}_options"), known)
        check_choices(self, CHOICES)
        # Networks on CLIP and CLAP may have no features of clips of frames.
        absent = ("visual_3d_dim",) if type(self.visual_3d_dim) is int and self.visual_3d_dim == 0 else ()
        check_sizes(self, {name: limit for name, limit in _LIMITS.items() if name not in absent})
        used = {"heads": self.encoder in PARTS["encoder"], "leap_heads": self.decoder == "leap"}
        for name in (name for name, is_used in used.items() if is_used):
            if self.hidden_dim % getattr(self, name):
                raise ValueError(f"{name} {getattr(self, name)} does not divide hidden_dim {self.hidden_dim}")
        check_rates(self, _RATES)
        check_shares(self, _SHARES)
        for name in _FLAGS:
            if type(getattr(self, name)) is not bool:
                raise ValueError(f"{name} is {shown(getattr(self, name))}, expected true or false")
        if self.swap_modalities and self.decoder != "mmil":
            raise ValueError("swap_modalities is for the decoder mmil; leap has a separate decoder for each modality")
        self._check_cross_attention()
        self._check_scales_and_groups()
        if self.decoder in {"classwise", "groups"} and len(self.labels) > MAX_CLASSWISE_LABELS:
            raise ValueError(
                f"the decoder {self.decoder} reads at most {MAX_CLASSWISE_LABELS:,} labels, not {len(self.labels):,}"
            )

    def _check_cross_attention(self) -> None:
        """Raise ValueError for shares of passes that the encoder does not have."""
        if not self.cross_attention and self.encoder != "han":
            raise ValueError("cross_attention = false is for the encoder han")
        for name, unused in (("cross_share", 1), ("self_attention_share", 0)):
            if getattr(self, name) != unused and (self.encoder != "han" or not self.cross_attention):
                raise ValueError(f"{name} is for the encoder han with cross-attention")

    def _check_scales_and_groups(self) -> None:
        """Raise ValueError for settings of MGN and of DHHN that contradict others."""
        if (self.encoder == "mgn") != (self.decoder == "groups"):
            raise ValueError("the encoder mgn and the decoder groups need each other")
        if self.scales > 1 and (self.encoder != "han" or self.self_attention_share):
            raise ValueError("scales are for the encoder han, without self_attention_share")
        if self.visual_dropout and (self.decoder == "groups" or (self.scales > 1 and self.decoder == "mmil")):
            raise ValueError("visual_dropout is not for the decoder groups, nor for mmil with scales")
        if self.guides and self.modality_networks:
            raise ValueError("guides are for the training of one network, not for modality_networks")
        if self.guides and self.hidden_dim % GUIDE_HEADS:
            raise ValueError(
                f"the {GUIDE_HEADS} attention heads of the guides do not divide hidden_dim {self.hidden_dim}"
            )

    @property
    def leap(self) -> LeapConfig:
        """Sizes of the LEAP decoder of a modality."""
        return LeapConfig(
            width=self.hidden_dim,
            feedforward=self.feedforward_dim,
            heads=self.leap_heads,
            blocks=self.leap_blocks,
            variant=self.leap_variant,
            prediction=self.leap_prediction,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
        )

    @property
    def stream_dims(self) -> dict[str, int]:
        """Widths of the features by stream, in the order of the network's arguments."""
        dims = {"audio": self.audio_dim, "visual_2d": self.visual_2d_dim, "visual_3d": self.visual_3d_dim}
        return {stream: width for stream, width in dims.items() if width}

    @property
    def needs_frames(self) -> bool:
        """Whether the stem reads each frame of a second; others read their mean, which is the same function."""
        return self.stem in FRAME_STEMS

    @property
    def has_other_parts(self) -> bool:
        """Whether the encoder or the decoder is of another package."""
        return self.encoder not in PARTS["encoder"] or self.decoder not in PARTS["decoder"]

    @property
    def pools(self) -> bool:
        """Whether the decoder is one of this program that gives the whole video probabilities of their own."""
        return self.decoder in _POOLING

    @property
    def needs_label_embeddings(self) -> bool:
        """Whether the decoder reads label embeddings (C, label_embedding_dim)."""
        return not self.pools and self.label_queries == "embeddings"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping that `from_dict` reads.

        Settings of parts of other packages are left out where there are none: versions of this program that do not know
        them read the others.
        """
        values = asdict(self) | {"labels": list(self.labels)}
        unused = {f"{name}_options" for name in PARTS if not values[f"{name}_options"]}
        if self.decision in PARTS["decision"]:
            unused.add("decision")
        unused |= {
            entry.name for entry in fields(self) if entry.name in _ADDED_FIELDS and values[entry.name] == entry.default
        }
        return {name: value for name, value in values.items() if name not in unused}

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> ParserConfig:
        """Rebuild a configuration from `to_dict`.

        Args:
            mapping: field name -> value; absent fields take their defaults.

        Returns:
            The configuration.

        Raises:
            ValueError: a name is unknown (written by a newer version), or a value is invalid.
        """
        return cls(**read_fields(cls, mapping, "parser"))


def read_fields(kind: type[Any], mapping: Mapping[str, Any], network: str) -> dict[str, Any]:
    """Check the names in a mapping that a configuration is built from.

    Args:
        kind: dataclass of the configuration.
        mapping: field name -> value, as it was read from a file.
        network: "parser" or "localizer", for messages.

    Returns:
        The mapping with `labels` as a tuple.

    Raises:
        ValueError: it is no mapping, a name is unknown, or there is no list of labels.
    """
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{network} settings are {shown(mapping)}, expected a mapping")
    unknown = sorted(map(str, set(mapping) - {entry.name for entry in fields(kind)}))
    if unknown:
        raise ValueError(f"unknown {network} settings: {escape(', '.join(unknown[:5])[:200])}")
    labels = mapping.get("labels")
    if not isinstance(labels, list | tuple):
        raise ValueError(f"labels are {shown(labels)}, expected a list of names")
    return {**mapping, "labels": tuple(labels)}


def check_choices(config: object, choices: Mapping[str, tuple[str, ...]]) -> None:
    """Check fields that name a choice. Raises ValueError for a value that is not one of `choices`."""
    for name, allowed in choices.items():
        value = getattr(config, name)
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"{name} is {shown(value)}, not one of {', '.join(allowed)}")


def check_sizes(config: object, limits: Mapping[str, int]) -> None:
    """Check fields that are whole numbers of at least 1. Raises ValueError for others, and beyond `limits`."""
    for name, largest in limits.items():
        value = getattr(config, name)
        if type(value) is not int:
            raise ValueError(f"{name} is {shown(value)}, expected a whole number")
        if not 1 <= value <= largest:
            raise ValueError(f"{name} is {shown(value)}; it must be at least 1 and at most {largest}")


def check_rates(config: object, names: Iterable[str]) -> None:
    """Check fields that are dropout rates. Raises ValueError unless they are in [0, 1)."""
    for name in names:
        value = getattr(config, name)
        if type(value) not in {int, float} or not 0 <= value < 1:
            raise ValueError(f"{name} is {shown(value)}; it must be a number of at least 0 and below 1")


def check_shares(config: object, names: Iterable[str]) -> None:
    """Check fields that are shares or probabilities. Raises ValueError unless they are in [0, 1]."""
    for name in names:
        value = getattr(config, name)
        if type(value) not in {int, float} or not 0 <= value <= 1:
            raise ValueError(f"{name} is {shown(value)}; it must be a number from 0 to 1")


def check_labels(labels: object) -> None:
    """Check class names. Raises ValueError unless they are a tuple of different names within the limits."""
    if not isinstance(labels, tuple) or not labels or not all(isinstance(label, str) for label in labels):
        raise ValueError("labels must be a non-empty list of names")
    if len(labels) > MAX_LABELS:
        raise ValueError(f"{len(labels)} labels are more than {MAX_LABELS}, the most that a parser may have")
    if len(set(labels)) != len(labels):
        raise ValueError("labels must be a list without duplicates")
    for label in labels:
        if not label or len(label) > MAX_LABEL_CHARACTERS:
            raise ValueError(
                f"labels have at least 1 and at most {MAX_LABEL_CHARACTERS} characters, not {shown(label)}"
            )
