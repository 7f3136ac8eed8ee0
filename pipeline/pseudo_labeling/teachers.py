"""The teachers: CLIP on pictures, CLAP on sound, each with what it was asked, as networks for the batch engine."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ...extractors.base import normalize
from ...extractors.inputs import InputFormat
from ...extractors.sampling import Stream
from ...weights.errors import WeightsError
from ...weights.load import read_state_dict
from ..batch.journal import hash_values
from ..devices import ComputePrecision, resolve_devices
from ..errors import SetupError
from ..files import hash_file
from ..inference.bundle import DeviceNetworks
from ..preprocess.teacher_inputs import CLAP_MEL, CLIP_FRAME, SIZE
from ..text import escape
from .clap_checkpoint import convert_clap
from .prompts import Prompts

CLIP_MODEL = "openai/clip-vit-large-patch14"
CLAP_MODEL = "lukewys/laion_clap/630k-fusion-best.pt"  # VALOR's: fusion, trained on 630k pairs (laion_clap's model 2)
CLAP_TOKENIZER = "roberta-base"
_CLAP_TOKENS = 77
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_CONSTANTS = ("position_ids", "token_type_ids", "relative_position_index")  # which need not be in a file
_QUICK_GELU = 1.702
_FUSED = 4  # spectrograms of an input; those of short sounds are four times the same


class Teacher(nn.Module):
    """Inputs -> rows (N, C + D): the logits of C classes, then the normalised features.

    logits: the model's scale times the cosine with each class' sentence (`logits_per_image`, `logits_per_audio`).
    dim, stream, input_format: as an `Extractor` has them.
    """

    def __init__(self, model: nn.Module, form: InputFormat, sentences: Tensor, scale: Tensor) -> None:
        """sentences: (C, D), normalised; scale: the logarithm of the logits' scale."""
        super().__init__()
        self.model, self.input_format = model, form
        self.sentences = nn.Buffer(sentences)
        self.scale = nn.Buffer(scale.detach().exp())
        self.dim = sum(sentences.shape)

    @property
    def stream(self) -> Stream:
        """The part of a file that it looks at or listens to."""
        return self.input_format.stream

    def prepare(self, reduced: Tensor) -> Tensor:
        """Reduced inputs -> what the model computes with, on the device that they are on."""
        raise NotImplementedError

    def embed(self, x: Tensor) -> Tensor:
        """Prepared inputs -> (N, D)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        features = nn.functional.normalize(self.embed(x).float(), dim=-1)
        return torch.cat([self.scale * features @ self.sentences.T, features], dim=1)


class ClipTeacher(Teacher):
    """`transformers.CLIPModel` on pictures (N, 224, 224, 3) in [0, 1]."""

    def prepare(self, reduced: Tensor) -> Tensor:
        return normalize(reduced * 255, _CLIP_MEAN, _CLIP_STD).permute(0, 3, 1, 2).contiguous()

    def embed(self, x: Tensor) -> Tensor:
        return _pooled(self.model.get_image_features(pixel_values=x.to(_dtype(self.model))))  # type: ignore[operator]


class ClapTeacher(Teacher):
    """`transformers.ClapModel` on spectrograms (N, 1001, 64), as for sounds of at most ten seconds."""

    def prepare(self, reduced: Tensor) -> Tensor:
        return reduced.unsqueeze(1)

    def embed(self, x: Tensor) -> Tensor:
        longer = torch.zeros(len(x), 1, dtype=torch.bool, device=x.device)
        spectrograms = x.expand(-1, _FUSED, -1, -1).to(_dtype(self.model))
        return _pooled(self.model.get_audio_features(input_features=spectrograms, is_longer=longer))  # type: ignore[operator]


def _dtype(model: nn.Module) -> torch.dtype:
    return next(model.parameters()).dtype


def _pooled(answer: Any) -> Tensor:
    """Older versions of transformers return the features, newer ones an object that holds them."""
    return answer if isinstance(answer, Tensor) else answer.pooler_output


@dataclass(frozen=True)
class LoadedTeachers:
    """Teachers on their devices. hashes: "CLIP" and "CLAP" -> of their files."""

    networks: tuple[DeviceNetworks, ...]
    hashes: Mapping[str, str]

    @property
    def device(self) -> torch.device:
        return self.networks[0][0]


def load_teachers(
    prompts: Prompts,
    *,
    clip: str = CLIP_MODEL,
    clap: str = CLAP_MODEL,
    offline: bool = False,
    device: str = "auto",
    precision: ComputePrecision,
) -> LoadedTeachers:
    """Both teachers with their sentences encoded. clip, clap: names on the Hugging Face hub, or folders.

    A CLAP that ends in `.pt` is LAION's own file, by its repository and name or by its path. Raises SetupError naming
    what is missing, and where it would come from.
    """
    transformers = _import_transformers()
    devices = resolve_devices(device)
    for one in devices:
        precision.prepare(one)
    hashes: dict[str, str] = {}
    with torch.inference_mode():
        teachers = _each(
            partial(_load_clap, transformers, clap, prompts, hashes, offline=offline),
            partial(_load_clip, transformers, clip, prompts, hashes, offline=offline),
        )
    copies = [teachers, *(copy.deepcopy(teachers) for _ in devices[1:])]
    networks = tuple((one, _placed(own, one, precision)) for one, own in zip(devices, copies, strict=True))
    return LoadedTeachers(networks, hashes)


def _each(*loads: Callable[[], Any]) -> list[Any]:
    """What they load. Raises one SetupError for all that fail: nobody fetches a file only to hear of the next."""
    loaded, problems = [], []
    for load in loads:
        try:
            loaded.append(load())
        except SetupError as error:
            problems.append(str(error))
    if problems:
        raise SetupError("\n  ".join(problems))
    return loaded


def _placed(teachers: Sequence[Teacher], device: torch.device, precision: ComputePrecision) -> dict[Stream, Any]:
    for teacher in teachers:
        teacher.to(device).eval()
        teacher.model.to(precision.dtype)
    return {teacher.stream: teacher for teacher in teachers}


def _import_transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise SetupError("pseudo labels need transformers; install it with: pip install 'avvp[pseudo]'") from error
    transformers.utils.logging.disable_progress_bar()  # of parameters that are read from a file, in a second
    return transformers


def _load_clip(transformers: Any, name: str, prompts: Prompts, hashes: dict[str, str], *, offline: bool) -> ClipTeacher:
    model, tokenizer = _from_hub(transformers.CLIPModel, transformers.AutoTokenizer, name, offline=offline)
    if model.config.vision_config.image_size != SIZE:
        raise SetupError(f"{escape(name)}: looks at pictures of another size than {SIZE} x {SIZE}")
    hashes["CLIP"] = _identity(name, model)
    tokens = tokenizer(list(prompts.seen), padding=True, return_tensors="pt")
    most = model.config.text_config.max_position_embeddings
    if tokens["input_ids"].shape[1] > most:
        longest = max(prompts.seen, key=len)
        raise SetupError(f"{escape(name)}: reads at most {most} tokens, too few for {longest[:60]!r}...")
    sentences = _pooled(model.get_text_features(**_known(tokens)))
    fold_quick_gelu(model.vision_model)
    return ClipTeacher(model, CLIP_FRAME, nn.functional.normalize(sentences, dim=-1), model.logit_scale)


def fold_quick_gelu(transformer: Any) -> None:
    """Half of CLIP's activation, x sigmoid(1.702 x), into the layers around it; features stay equal within rounding.

    With y = 1.702 x it is silu(y) / 1.702: one pass over memory in place, not three into new memory.
    """
    if transformer.config.hidden_act != "quick_gelu":
        return
    with torch.no_grad():
        for layer in (block.mlp for block in transformer.encoder.layers):
            layer.fc1.weight.mul_(_QUICK_GELU)
            layer.fc1.bias.mul_(_QUICK_GELU)
            layer.fc2.weight.div_(_QUICK_GELU)
            layer.activation_fn = nn.SiLU(inplace=True)


def _load_clap(transformers: Any, name: str, prompts: Prompts, hashes: dict[str, str], *, offline: bool) -> ClapTeacher:
    if name.endswith(".pt"):
        path, (_, tokenizer) = _each(
            partial(_fetch, name, offline=offline),
            partial(_from_hub, None, transformers.AutoTokenizer, CLAP_TOKENIZER, offline=offline),
        )
        hashes["CLAP"] = hash_file(path)
        model = _laion_model(transformers, path)
    else:
        model, tokenizer = _from_hub(transformers.ClapModel, transformers.AutoTokenizer, name, offline=offline)
        hashes["CLAP"] = _identity(name, model)
    if not model.config.audio_config.enable_fusion:
        raise SetupError(f"{escape(name)}: is a CLAP without fusion, which VALOR's has")
    options = {"padding": "max_length", "truncation": True, "max_length": _CLAP_TOKENS, "return_tensors": "pt"}
    sentences = _pooled(model.get_text_features(**_known(tokenizer(list(prompts.heard), **options))))
    return ClapTeacher(model, CLAP_MEL, nn.functional.normalize(sentences, dim=-1), model.logit_scale_a)


def _identity(name: str, model: Any) -> str:
    """Of a folder its files, of a name on the hub its revision."""
    folder = Path(name)
    if not folder.is_dir():
        return str(getattr(model.config, "_commit_hash", None) or name)
    files = sorted(path for path in folder.iterdir() if path.suffix in {".json", ".safetensors", ".txt"})
    return hash_values({path.name: hash_file(path) for path in files})


def _known(tokens: Any) -> dict[str, Tensor]:
    return {key: tokens[key] for key in ("input_ids", "attention_mask")}


def _from_hub(kind: Any, tokenizers: Any, name: str, *, offline: bool) -> tuple[Any, Any]:
    """A model (None for no kind) and its tokenizer. Parameters that the files lack would be random: an error."""
    model, told = None, {}
    try:
        if kind is not None:
            options = {"use_safetensors": True, "local_files_only": offline, "output_loading_info": True}
            model, told = kind.from_pretrained(name, **options)
        tokenizer = tokenizers.from_pretrained(name, local_files_only=offline)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        files = "config.json, tokenizer files" + (", model.safetensors" if kind is not None else "")
        raise _missing(name, files, error, offline=offline) from error
    if wrong := sorted(map(str, [*told.get("missing_keys", ()), *told.get("mismatched_keys", ())])):
        what = f"{len(wrong)} parameters are missing or of another shape ({wrong[0]}, ...)"
        raise SetupError(f"{escape(name)}: does not fit the model: {escape(what)}")
    return None if model is None else model.eval(), tokenizer


def _missing(name: str, files: str, error: Exception, *, offline: bool) -> SetupError:
    reason = escape(str(error).strip().split("\n", 1)[0])
    if Path(name).exists():
        return SetupError(f"{escape(name)}: cannot be loaded ({files}): {reason}")
    advice = "put it into a folder, and name that"
    if offline:
        advice = "without --offline it comes from the Hugging Face hub"
    return SetupError(f"{escape(name)}: is not here ({files}); {advice}: {reason}")


def _fetch(name: str, *, offline: bool) -> Path:
    """LAION's file: one on this machine, or REPOSITORY/FILE on the hub."""
    if Path(name).is_file():
        return Path(name)
    from huggingface_hub import hf_hub_download

    repository, _, file = name.rpartition("/")
    if repository.count("/") != 1:
        raise SetupError(f"{escape(name)}: no such file here, and not OWNER/REPOSITORY/FILE on the Hugging Face hub")
    try:
        return Path(hf_hub_download(repository, file, local_files_only=offline))
    except (OSError, ValueError) as error:
        raise _missing(name, file, error, offline=offline) from error


def _laion_model(transformers: Any, path: Path) -> Any:
    """The port, filled from LAION's file, which is read without unpickling code."""
    config = transformers.ClapConfig()
    config.audio_config.enable_fusion = True
    model = transformers.ClapModel(config).eval()
    try:
        missing, unknown = model.load_state_dict(convert_clap(read_state_dict(path)), strict=False)
    except (RuntimeError, WeightsError, ValueError) as error:
        reason = escape(str(error).splitlines()[0])
        raise SetupError(f"{escape(path)}: not a CLAP of LAION's: {reason}") from error
    lacking = [key for key in missing if not key.endswith(_CONSTANTS)]
    if lacking or unknown:
        counts = f"{len(lacking)} keys missing, {len(unknown)} unknown"
        named = escape(", ".join([*lacking, *unknown][:3]))
        raise SetupError(f"{escape(path)}: not a CLAP of LAION's: {counts} ({named})")
    return model
