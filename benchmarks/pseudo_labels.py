"""Pseudo labels by the batch engine against one segment at a time, as published programs go about it.

python benchmarks/pseudo_labels.py CLIP [--copies 3] [--rounds 2] [--size large|small]

Both run CLIP and CLAP of the same size with random parameters on the same clips; scores must agree. The plain way asks
the whole model, pictures and sentences, for every second, as `logits_per_image` is usually had. Printed are the ratio
of the times without loading the models, the best of each in rounds of both, and the largest difference of a logit.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from avvp.pipeline.cli.main import avvp
from avvp.pipeline.decode.jpeg_frames import JpegFrames
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.decode.process import available_cores
from avvp.pipeline.preprocess.teacher_inputs import CLAP_MEL, CLIP_PICTURE, TeacherInputs
from avvp.pipeline.pseudo_labeling import task as labelling
from avvp.pipeline.pseudo_labeling.prompts import read_prompts

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from teachers import write_tokenizer

_LARGE_VISION = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
_SMALL_VISION = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12, "num_attention_heads": 6}
_LARGE_TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_SMALL_TEXT = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 4}


def write_models(folder: Path, size: str) -> None:
    """ViT-L/14 and HTSAT-tiny with fusion, or smaller ones, with random parameters."""
    large = size == "large"
    torch.manual_seed(0)
    text = {**(_LARGE_TEXT if large else _SMALL_TEXT), "vocab_size": 300, "eos_token_id": 257, "pad_token_id": 257}
    vision = {**(_LARGE_VISION if large else _SMALL_VISION), "patch_size": 14 if large else 32, "image_size": 224}
    clip = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=768 if large else 256)
    transformers.CLIPModel(clip).save_pretrained(folder / "clip")
    clap = transformers.ClapConfig()
    clap.audio_config.enable_fusion = True
    transformers.ClapModel(clap).save_pretrained(folder / "clap")
    for name in ("clip", "clap"):
        write_tokenizer(folder / name, clip=name == "clip")


def plain(folder: Path, videos: list[Path]) -> tuple[dict[str, dict[str, np.ndarray]], float]:
    """Segment after segment, sentences and all; and the seconds that it took."""
    prompts = read_prompts()
    clip = transformers.CLIPModel.from_pretrained(folder / "clip").eval()
    clap = transformers.ClapModel.from_pretrained(folder / "clap").eval()
    seen_words, heard_words = (transformers.AutoTokenizer.from_pretrained(folder / name) for name in ("clip", "clap"))
    scores: dict[str, dict[str, np.ndarray]] = {}
    torch.set_num_threads(available_cores())  # the engine leaves one for each of its lanes
    started = time.monotonic()
    with torch.inference_mode():
        for video in videos:
            rows: dict[str, list[Any]] = {"visual_2d": [], "audio": []}
            for stream, inputs in TeacherInputs(video, [CLAP_MEL, CLIP_PICTURE]):
                given = torch.from_numpy(inputs.copy())
                if stream == "visual_2d":
                    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073))
                    deviation = torch.tensor((0.26862954, 0.26130258, 0.27577711))
                    words = seen_words(list(prompts.seen), padding=True, return_tensors="pt")
                    pixels = ((given - mean) / deviation).permute(0, 3, 1, 2)
                    answer = clip(
                        pixel_values=pixels, input_ids=words["input_ids"], attention_mask=words["attention_mask"]
                    )
                    rows[stream].append(answer.logits_per_image[0])
                else:
                    words = heard_words(list(prompts.heard), padding="max_length", max_length=77, return_tensors="pt")
                    asked = {key: words[key] for key in ("input_ids", "attention_mask")}
                    short = torch.zeros(1, 1, dtype=torch.bool)
                    answer = clap(input_features=given[:, None].expand(-1, 4, -1, -1), is_longer=short, **asked)
                    rows[stream].append(answer.logits_per_audio[0])
            scores[video.stem] = {stream: torch.stack(some).numpy() for stream, some in rows.items()}
    return scores, time.monotonic() - started


def batched(work: Path, output: Path) -> float:
    """The seconds that the program takes, but for loading the models."""
    loading, load = [0.0], labelling.load_teachers

    def timed(*given: Any, **options: Any) -> Any:
        started = time.monotonic()
        loaded = load(*given, **options)
        loading[0] = time.monotonic() - started
        return loaded

    labelling.load_teachers = timed
    command = ["pseudo-label", work / "videos", "--no-weak-labels", "-o", output]
    models = ["--clip-model", work / "clip", "--clap-model", work / "clap"]
    started = time.monotonic()
    avvp.main([*map(str, (*command, *models, "--offline", "-q"))], standalone_mode=False)
    return time.monotonic() - started - loading[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--copies", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--size", choices=["large", "small"], default="large")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "videos").mkdir()
        videos = [work / "videos" / f"v{number}{options.clip.suffix}" for number in range(options.copies)]
        for video in videos:
            shutil.copy(options.clip, video)
        write_models(work, options.size)
        alone, together, worst = [], [], 0.0
        for turn in range(options.rounds):
            output = work / f"data{turn}"
            expected, seconds = plain(work, videos)
            alone.append(seconds)
            together.append(batched(work, output))
            print(f"round {turn + 1}: x{alone[-1] / together[-1]:.2f}", flush=True)
            for teacher, stream in (("CLIP", "visual_2d"), ("CLAP", "audio")):
                for video in videos:
                    scores = np.load(output / teacher / f"scores/{video.stem}.npy")
                    worst = max(worst, float(np.abs(scores - expected[video.stem][stream]).max()))
    pictures = JpegFrames(probe(options.clip))
    seconds = options.copies * len(pictures) / 8
    pictures.close()
    print(f"{seconds:.0f} s of video, {os.cpu_count()} cores, {options.size}")
    print(f"batch engine x{min(alone) / min(together):.2f} the plain way; logits within {worst:.1e}")


if __name__ == "__main__":
    main()
