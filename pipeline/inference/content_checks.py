"""Check what published weight files hold, beyond their hashes; slow imports are inside the checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from ...weights.errors import WeightsError
from ...weights.manifest import WeightFile, list_bundles
from ..text import escape


def check_content(file: WeightFile, path: Path) -> str:
    """Check the tensors of a file whose size and hash are right.

    Args:
        file: of the manifest.
        path: where it is.

    Returns:
        What shows that it is the published file.

    Raises:
        WeightsError: it is not, or it cannot be read.
    """
    if check := CONTENT_CHECKS.get(file.key):
        return check(path)
    for bundle in list_bundles().values():
        if bundle.parser.get("file") == file.key and "supervision" in bundle.parser:
            held = _check_localizer(bundle.parser["family"], bundle.parser["supervision"], path)
            return f"matches the published hash; {held}" if file.is_hashed else f"{held}; no hash is published"
    return "matches the published hash" if file.is_hashed else "no hash is published"


def _check_vggish(path: Path) -> str:
    """Compare VGGish's outputs with published ones. Raises WeightsError if they differ."""
    from ...extractors.registry import build_extractor
    from ...weights.load import read_state_dict
    from .vggish_check import TOLERANCES, check_vggish

    try:
        differences = check_vggish(build_extractor("vggish", read_state_dict(path)))
    except ValueError as error:
        raise WeightsError(f"{escape(path)}: {error}") from error
    wrong = [name for name, difference in differences.items() if not difference <= TOLERANCES[name]]
    shown = ", ".join(f"{name} differs by {difference:.2g}" for name, difference in differences.items())
    if wrong:
        raise WeightsError(
            f"{escape(path)}: does not give the published answers ({shown}): it is not the pretrained VGGish"
        )
    return f"gives the published answers ({shown})"


def _check_leap(path: Path) -> str:
    """Check that the file holds every tensor of the published parser. Raises WeightsError if not."""
    import torch

    from ...models.files.published import load_published
    from ...models.labels import LLP_LABELS
    from ...weights.load import read_state_dict

    try:
        load_published(read_state_dict(path), family="leap", label_embeddings=torch.zeros(len(LLP_LABELS), 300))
    except ValueError as error:
        raise WeightsError(f"{escape(path)}: {error}") from error
    return "holds every tensor of the published MM-Pyr + LEAP; no hash is published"


def _check_features(name: str, path: Path) -> str:
    """Check that the file holds every tensor of an extractor. Raises WeightsError if not."""
    from ...extractors.registry import build_extractor, choose_wanted
    from ...weights.load import read_state_dict

    try:
        build_extractor(name, read_state_dict(path, keep=choose_wanted(name)))
    except ValueError as error:
        raise WeightsError(f"{escape(path)}: {error}") from error
    return f"holds every tensor of the extractor {name}"


def _check_localizer(family: str, supervision: str, path: Path) -> str:
    """Check that the file holds every tensor of a published localizer. Raises WeightsError if not."""
    from ...models.files.published import load_published
    from ...weights.load import read_state_dict

    try:
        load_published(read_state_dict(path, rounded=True), family=family, supervision=supervision)
    except ValueError as error:
        raise WeightsError(f"{escape(path)}: {error}") from error
    return f"holds every tensor of the published {family}, supervision {supervision}"


def _check_visual(name: str, path: Path) -> str:
    """Compare rows with those of torchvision's network. Raises WeightsError if they differ."""
    from ...weights.load import read_state_dict
    from .torchvision_check import TOLERANCE, check_visual

    matches = "matches the published hash"
    try:
        difference = check_visual(name, read_state_dict(path))
    except ImportError as error:
        return f"{matches}; not compared with torchvision's network: {escape(error)}"
    except ValueError as error:
        raise WeightsError(f"{escape(path)}: {error}") from error
    if not difference <= TOLERANCE:
        raise WeightsError(
            f"{escape(path)}: {matches}, but on this machine features differ from those of torchvision's network by"
            f" {difference:.2g} (relative); please report it"
        )
    return f"{matches}; features are those of torchvision's network (they differ by {difference:.2g})"


def _check_tokens(sentences: Mapping[str, Sequence[int]], path: Path) -> str:
    """Compare the tokens of sentences with published ones, if any are. Raises WeightsError if they differ."""
    from ...extractors.texts.tokens import FileTokenizer

    try:
        tokenizer = FileTokenizer(path)
        wrong = [text for text, tokens in sentences.items() if tokenizer.encode(text) != list(tokens)]
    except ValueError as error:
        raise WeightsError(str(error)) from error
    if wrong:
        raise WeightsError(
            f"{escape(path)}: does not give the published tokens of {wrong[0]!r}: it is another tokenizer"
        )
    held = "gives the published tokens" if sentences else "is a tokenizer"
    return f"{held}; its hash is not known here"


# In the documentation of transformers, of CLIPTokenizer and RobertaTokenizer.
_CLIP_TOKENS = {"a photo of a cat": (49406, 320, 1125, 539, 320, 2368, 49407)}
_ROBERTA_TOKENS = {"Hello world": (0, 31414, 232, 2), " Hello world": (0, 20920, 232, 2)}
CONTENT_CHECKS: dict[str, Callable[[Path], str]] = {
    "resnet152": partial(_check_visual, "resnet152"),
    "r2plus1d_18": partial(_check_visual, "r2plus1d_18"),
    "vgg19": partial(_check_visual, "vgg19"),
    "vgg19_caffe": partial(_check_visual, "vgg19"),
    "clip": lambda path: f"matches the published hash; {_check_features('clip', path)}",
    "clap": lambda path: f"{_check_features('clap', path)}; its hash is not known here",
    "clip_b32": lambda path: f"matches the published hash; {_check_features('clip_b32', path)}",
    "clap_unfused": lambda path: f"matches the published hash; {_check_features('clap_unfused', path)}",
    "clip_tokenizer": partial(_check_tokens, _CLIP_TOKENS),
    "roberta_tokenizer": partial(_check_tokens, _ROBERTA_TOKENS),
    "pe_av_tokenizer": partial(_check_tokens, {}),
    "pe_av": lambda path: (
        f"{_check_features('pe_av_audio', path)}; {_check_features('pe_av_video', path)}; its hash is not known here"
    ),
    "vggish": _check_vggish,
    "leap_llp": _check_leap,
}
