"""A tiny CLIP and a tiny CLAP with random parameters, in folders that transformers loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from avvp.extractors.torchaudio_import import import_torchaudio

import_torchaudio()  # before transformers, which fails with it
import transformers  # noqa: E402

CLASSES = ("Dog", "Speech")
PROMPTS = """
[[class]]
label = "Dog"
seen = "A photo of a dog."
seen_threshold = 0.5
heard = "This is a sound of dog"
heard_threshold = -0.25

[[class]]
label = "Speech"
seen = "A photo of people talking."
seen_threshold = -1
heard = "This is a sound of speech"
heard_threshold = 0.1
"""


def small_clip() -> Any:
    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": 300, "max_position_embeddings": 77, "eos_token_id": 257, "bos_token_id": 256}
    config = transformers.CLIPConfig(
        text_config={**text, "pad_token_id": 257}, vision_config={**sizes, "image_size": 224, "patch_size": 56},
        projection_dim=12,
    )  # fmt: skip
    return transformers.CLIPModel(config).eval()


def small_clap() -> Any:
    torch.manual_seed(2)
    audio = {"hidden_size": 32, "patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [1, 2],
             "num_hidden_layers": 2, "enable_fusion": True, "projection_dim": 12, "aff_block_r": 2}  # fmt: skip
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "vocab_size": 300, "max_position_embeddings": 80, "pad_token_id": 1}  # fmt: skip
    config = transformers.ClapConfig(audio_config={**audio, "hidden_size": 16}, text_config=text, projection_dim=12)
    return transformers.ClapModel(config).eval()


def write_tokenizer(folder: Path, *, clip: bool) -> None:
    """Bytes as tokens, in the form of the model's own tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "<pad>", "</s>", "<unk>"] if not clip else []
    vocabulary = {token: index for index, token in enumerate([*special, *alphabet])}
    ends = ("<|startoftext|>", "<|endoftext|>") if clip else ("<s>", "</s>")
    for end in ends:
        vocabulary.setdefault(end, len(vocabulary))
    made = Tokenizer(models.BPE(vocabulary, [], unk_token=None))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(
        single=f"{ends[0]} $A {ends[1]}", special_tokens=[(end, vocabulary[end]) for end in ends]
    )
    pad = ends[1] if clip else "<pad>"
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token=pad, bos_token=ends[0], eos_token=ends[1], model_max_length=77
    ).save_pretrained(folder)


def write_teachers(folder: Path) -> tuple[Path, Path]:
    """The folders of CLIP and CLAP, with tokenizers."""
    for name, model in (("clip", small_clip()), ("clap", small_clap())):
        model.save_pretrained(folder / name)
        write_tokenizer(folder / name, clip=name == "clip")
    return folder / "clip", folder / "clap"
