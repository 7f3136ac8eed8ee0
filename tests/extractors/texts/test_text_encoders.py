"""Text halves of CLIP and CLAP against the whole models of transformers, with the same parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from avvp.extractors.texts.registry import TEXT_MODELS, build_text_encoder, is_of_text, untrained_text_encoder
from avvp.weights.load import read_state_dict
from safetensors.torch import save_file
from support.teachers import transformers
from support.text_models import write_byte_tokens
from torch import Tensor

SENTENCES = ("a dog", "a dog barks in the street", "Straße, naïve", "applause", "a" * 200, "")
SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
CLIP_ENDS, CLAP_ENDS = (49_406, 49_407), (0, 2)


def whole_clip(*, eos: int = 49_407) -> Any:
    torch.manual_seed(1)
    config = transformers.CLIPConfig(
        text_config={**SMALL, "eos_token_id": eos},
        vision_config={**SMALL, "image_size": 224, "patch_size": 56},
        projection_dim=12,
    )
    return transformers.CLIPModel(config).eval()


def whole_clap() -> Any:
    torch.manual_seed(2)
    audio = {"hidden_size": 16, "patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [1, 2],
             "num_hidden_layers": 2, "enable_fusion": True, "projection_dim": 12, "aff_block_r": 2}  # fmt: skip
    config = transformers.ClapConfig(audio_config=audio, text_config={**SMALL, "projection_dim": 12}, projection_dim=12)
    return transformers.ClapModel(config).eval()


def expected(model: Any, tokenizer: Path, padding: int, length: int | None) -> Tensor:
    """Embeddings by the whole model, of sentences that transformers cuts and fills up."""
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tokenizer))
    rows = []
    for sentence in SENTENCES:
        ids = fast(sentence, truncation=True, max_length=77)["input_ids"]
        fill = (length or len(ids)) - len(ids)
        tokens = {"input_ids": torch.tensor([[*ids, *[padding] * fill]])}
        tokens["attention_mask"] = torch.tensor([[*[1] * len(ids), *[0] * fill]])
        with torch.no_grad():
            output = model.get_text_features(**tokens)
        rows.append(output if isinstance(output, Tensor) else output.pooler_output)
    return torch.nn.functional.normalize(torch.cat(rows), dim=-1)


def laion_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The text half under the keys of LAION's program, in a file of a training run that used several GPUs."""
    renamed = {}
    for key, tensor in state.items():
        if key.startswith("text_model."):
            renamed[f"module.text_branch.{key.removeprefix('text_model.')}"] = tensor
        elif key.startswith("text_projection."):
            rest = key.removeprefix("text_projection.linear")
            renamed[f"module.text_projection.{'0' if rest[0] == '1' else '2'}{rest[1:]}"] = tensor
    positions = torch.arange(514)[None]
    return {**renamed, "module.text_branch.embeddings.position_ids": positions, "module.logit_scale_t": torch.zeros(())}


@pytest.fixture(scope="module")
def clip_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_byte_tokens(tmp_path_factory.mktemp("clip") / "tokenizer.json", CLIP_ENDS)


@pytest.fixture(scope="module")
def clap_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_byte_tokens(tmp_path_factory.mktemp("clap") / "tokenizer.json", CLAP_ENDS)


@pytest.mark.parametrize("eos", [49_407, 2])  # OpenAI's files on the hub have 2 in their config, which is another rule
def test_clip_text_equals_the_whole_model(clip_tokenizer: Path, eos: int) -> None:
    model = whole_clip(eos=eos)
    encoder = build_text_encoder("clip_tiny", model.state_dict(), clip_tokenizer)
    rows = encoder.encode(SENTENCES)
    torch.testing.assert_close(rows, expected(model, clip_tokenizer, CLIP_ENDS[1], 77), atol=1e-5, rtol=0)
    assert rows.std(dim=0).min() > 0.01  # sentences differ
    assert rows.dtype == torch.float32


def test_clap_text_equals_the_whole_model(clap_tokenizer: Path) -> None:
    model = whole_clap()
    encoder = build_text_encoder("clap_tiny", model.state_dict(), clap_tokenizer)
    rows = encoder.encode(SENTENCES)
    torch.testing.assert_close(rows, expected(model, clap_tokenizer, 1, 77), atol=1e-5, rtol=0)
    assert rows.std(dim=0).min() > 1e-3


def test_clap_text_of_laions_file(clap_tokenizer: Path, tmp_path: Path) -> None:
    state = whole_clap().state_dict()
    path = tmp_path / "best.pt"
    torch.save({"epoch": 3, "state_dict": laion_keys(state)}, path)
    read = read_state_dict(path, keep=lambda key: is_of_text("clap_tiny", key))
    rows = build_text_encoder("clap_tiny", read, clap_tokenizer).encode(SENTENCES)
    assert torch.equal(rows, build_text_encoder("clap_tiny", state, clap_tokenizer).encode(SENTENCES))


def test_text_of_old_files_with_position_ids(clip_tokenizer: Path) -> None:
    state = whole_clip().state_dict()
    old = {**state, "text_model.embeddings.position_ids": torch.arange(77)[None]}
    rows = build_text_encoder("clip_tiny", old, clip_tokenizer).encode(SENTENCES)
    assert torch.equal(rows, build_text_encoder("clip_tiny", state, clip_tokenizer).encode(SENTENCES))


def test_only_the_text_half_of_a_file_is_read(clip_tokenizer: Path, tmp_path: Path) -> None:
    """What is beside it may even be damaged."""
    state = whole_clip().state_dict()
    path = tmp_path / "model.safetensors"
    broken = {
        key: tensor if is_of_text("clip_tiny", key) else tensor.float() * torch.nan for key, tensor in state.items()
    }
    save_file(broken, path)
    read = read_state_dict(path, keep=lambda key: is_of_text("clip_tiny", key))
    assert set(read) == {key for key in state if key.startswith(("text_model.", "text_projection."))}
    assert all(torch.equal(read[key], state[key]) for key in read)
    assert build_text_encoder("clip_tiny", read, clip_tokenizer).dim == 12


@pytest.mark.parametrize("name", ["clip_tiny", "clap_tiny"])
def test_an_embedding_does_not_depend_on_the_list(name: str) -> None:
    encoder = untrained_text_encoder(name, 5)
    sentences = [f"{'very ' * (index % 7)}thing {index}" for index in range(40)]
    rows = encoder.encode(sentences)
    assert torch.equal(encoder.encode(sentences[::-1]).flip(0), rows)
    assert torch.equal(encoder.encode(sentences[11:12]), rows[11:12])
    assert encoder.encode([]).shape == (0, 12)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(40))


@pytest.mark.parametrize("name", ["clip_tiny", "clap_tiny"])
def test_long_sentences_are_cut_and_counted(name: str) -> None:
    encoder = untrained_text_encoder(name, 5)
    assert encoder.count_tokens(["abc", "a" * 200]) == [5, 202]
    assert encoder.max_tokens == 77
    assert torch.equal(encoder.encode(["a" * 75]), encoder.encode(["a" * 200]))


def test_text_parameters_that_do_not_fit_are_named(clip_tokenizer: Path) -> None:
    state = whole_clip().state_dict()
    with pytest.raises(ValueError, match=r"lacks text_projection\.weight"):
        build_text_encoder("clip_tiny", {k: v for k, v in state.items() if "projection" not in k}, clip_tokenizer)
    with pytest.raises(ValueError, match="has no text encoder; those of clip, clip_b32"):
        build_text_encoder("resnet_tiny", state, clip_tokenizer)


def test_every_text_model_is_of_an_extractor() -> None:
    from avvp.extractors import EXTRACTORS

    assert set(TEXT_MODELS) <= set(EXTRACTORS)
