"""CLIP and CLAP asked as published programs do: one second at a time, the whole model with its sentences each time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from avvp.extractors.inputs import CLAP_MEL, CLIP_FRAME
from avvp.extractors.sampling import Stream
from avvp.pipeline.preprocess.teacher_inputs import TeacherInputs
from avvp.pipeline.pseudo_labeling.prompts import Prompts
from numpy.typing import NDArray
from torch import Tensor

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_CLAP_TOKENS = 77
_FUSED = 4  # spectrograms of CLAP's fusion model; of a short clip four times the same

Logits = dict[Stream, NDArray[np.float32]]


class PlainTeachers:
    """Both models, loaded.

    Args:
        clip: folder of CLIP and its tokenizer.
        clap: folder of CLAP and its tokenizer.
        prompts: C sentences for each of them.
    """

    def __init__(self, clip: Path, clap: Path, prompts: Prompts) -> None:
        self._clip: Any = transformers.CLIPModel.from_pretrained(clip).eval()
        self._clap: Any = transformers.ClapModel.from_pretrained(clap).eval()
        self._clip_tokenizer: Any = transformers.AutoTokenizer.from_pretrained(clip)
        self._clap_tokenizer: Any = transformers.AutoTokenizer.from_pretrained(clap)
        self._prompts = prompts

    def score(self, videos: Iterable[Path]) -> dict[str, Logits]:
        """Return, for each video's name without suffix, the logits (T, C) of both streams."""
        with torch.inference_mode():
            return {video.stem: self._score_video(video) for video in videos}

    def _score_video(self, video: Path) -> Logits:
        audio_rows, visual_rows = [], []
        for stream, inputs in TeacherInputs(video, [CLAP_MEL, CLIP_FRAME]):
            values = torch.from_numpy(inputs.copy())
            if stream == "audio":
                audio_rows.append(self._audio_logits(values))
            else:
                visual_rows.append(self._visual_logits(values))
        return {"audio": torch.cat(audio_rows).numpy(), "visual_2d": torch.cat(visual_rows).numpy()}

    def _visual_logits(self, images: Tensor) -> Tensor:
        tokens = self._clip_tokenizer(list(self._prompts.visual_prompts), padding=True, return_tensors="pt")
        pixels = ((images - torch.tensor(_MEAN)) / torch.tensor(_STD)).permute(0, 3, 1, 2)
        output = self._clip(pixel_values=pixels, input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        return output.logits_per_image

    def _audio_logits(self, spectrograms: Tensor) -> Tensor:
        tokens = self._clap_tokenizer(
            list(self._prompts.audio_prompts), padding="max_length", max_length=_CLAP_TOKENS, return_tensors="pt"
        )
        output = self._clap(
            input_features=spectrograms[:, None].expand(-1, _FUSED, -1, -1),
            is_longer=torch.zeros(len(spectrograms), 1, dtype=torch.bool),
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
        )
        return output.logits_per_audio
