"""A bundle that finds any classes, of small networks with random parameters, in files as those of published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .teachers import transformers

_SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
_AUDIO = {"hidden_size": 16, "patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [1, 2],
          "num_hidden_layers": 2, "enable_fusion": True, "projection_dim": 12, "aff_block_r": 2}  # fmt: skip
LOGIT_SCALE = 10.0  # of CLIP; CLAP's is a half of it


def write_tokenizer(path: Path, begin: int, end: int) -> None:
    """Write a `tokenizer.json` of bytes, with the numbers of a published one's marks."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    first = 300  # no number of a mark
    vocabulary = {token: first + index for index, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made: Any = Tokenizer(models.BPE(vocabulary | {"<begin>": begin, "<end>": end}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.RobertaProcessing(("<end>", end), ("<begin>", begin), add_prefix_space=False)
    made.save(str(path))


def write_open_bundle(folder: Path, *, classes: str | None = None) -> Path:
    """Write the bundle; `classes` is the content of its classes.toml."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    torch.manual_seed(1)
    vision = {**_SMALL, "image_size": 224, "patch_size": 56}
    clip = transformers.CLIPModel(
        transformers.CLIPConfig(text_config={**_SMALL, "eos_token_id": 49_407}, vision_config=vision, projection_dim=12)
    )
    text = {**_SMALL, "projection_dim": 12}
    clap = transformers.ClapModel(transformers.ClapConfig(audio_config=_AUDIO, text_config=text, projection_dim=12))
    clip.logit_scale.data = torch.tensor(LOGIT_SCALE).log()
    clap.logit_scale_a.data = torch.tensor(LOGIT_SCALE / 2).log()
    for name, model in (("clip", clip), ("clap", clap)):
        state = {key: tensor.contiguous() for key, tensor in model.state_dict().items() if tensor.is_floating_point()}
        save_file(state, folder / f"{name}.safetensors")
    write_tokenizer(folder / "clip.json", 49_406, 49_407)
    write_tokenizer(folder / "clap.json", 0, 2)
    parser = "{}"
    if classes is not None:
        (folder / "classes.toml").write_text(classes)
        parser = '{ classes = "classes.toml" }'
    (folder / "bundle.toml").write_text(
        'description = "small ones"\nprofile = "clip-clap"\n'
        'extractors = { clap_tiny = "clap.safetensors", clip_tiny = "clip.safetensors" }\n'
        f'texts = {{ clap_tiny = "clap.json", clip_tiny = "clip.json" }}\nparser = {parser}\n'
    )
    return folder
