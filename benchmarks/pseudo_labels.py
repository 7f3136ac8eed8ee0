"""Time pseudo labels by the batch engine against asking the teachers one second at a time.

    python benchmarks/pseudo_labels.py CLIP [--copies 3] [--rounds 2] [--size large|small|tiny]

Both run CLIP and CLAP of the same size with the same random parameters on the same clips; the logits must agree. The
plain program asks the whole model, image and sentences, for every second, as `logits_per_image` is usually computed.
Prints the ratio of the times without loading the models, the best of each over rounds of both, and the largest
difference of a logit.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from avvp.extractors.sampling import Stream
from avvp.pipeline.batch.task import ComputeSettings
from avvp.pipeline.decode.options import DecodeOptions
from avvp.pipeline.decode.process import available_cores
from avvp.pipeline.pseudo_labeling.prompts import read_prompts
from avvp.pipeline.pseudo_labeling.task import PseudoLabelTask
from avvp.pipeline.pseudo_labeling.threshold_scores import LabelingConfig
from avvp.weights.source import WeightSource
from measure.batch import kept_threads, time_batch
from measure.from_tests import write_teachers, write_tokenizer
from measure.inputs import generate_clip
from measure.options import make_parser
from measure.timing import time_call
from reference.teachers import Logits, PlainTeachers

MAX_ERROR = 1e-3  # of a logit; larger is a defect of one of the two
_LARGE_VISION = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
_SMALL_VISION = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12, "num_attention_heads": 6}
_LARGE_TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_SMALL_TEXT = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 4}


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("clip", nargs="?", type=Path, help="by default a generated clip")
    parser.add_argument("--copies", type=int, help="videos in a round [default: 3]")
    parser.add_argument("--rounds", type=int, help="[default: 2]")
    parser.add_argument("--size", choices=["large", "small", "tiny"], help="of the models [default: large]")
    options = parser.parse_args(argv)
    copies, rounds, size = (1, 1, "tiny") if options.smoke else (3, 2, "large")
    copies, rounds, size = options.copies or copies, options.rounds or rounds, options.size or size
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        seconds, frame = (2, "160x120") if options.smoke else (10, "640x360")
        clip = options.clip or generate_clip(work / "generated.mp4", seconds=seconds, size=frame)
        videos = [work / f"video{number}{clip.suffix}" for number in range(copies)]
        for video in videos:
            shutil.copy(clip, video)
        measure(work, videos, rounds, size)


def measure(work: Path, videos: Sequence[Path], rounds: int, size: str) -> None:
    """Print the ratio of each round, then of the best times, and the largest difference of a logit."""
    prompts = read_prompts()
    clip, clap = write_models(work, size)
    plain = PlainTeachers(clip, clap, prompts)
    task = PseudoLabelTask(
        settings=ComputeSettings(DecodeOptions()),
        source=WeightSource(offline=True),
        config=LabelingConfig(prompts=prompts),
        clip=str(clip),
        clap=str(clap),
    )
    loaded = task.load()
    plain_times, batch_times, errors, seconds = [], [], [], 0
    for number in range(rounds):
        logits: dict[str, Logits] = {}
        with kept_threads():
            torch.set_num_threads(available_cores())
            plain_times.append(time_call(lambda logits=logits: logits.update(plain.score(videos))))
        output = work / f"data{number}"
        batch_times.append(time_batch(task, loaded, videos, output))
        print(f"round {number + 1}: x{plain_times[-1] / batch_times[-1]:.2f}", flush=True)
        errors.append(largest_error(output, logits))
        seconds = sum(len(rows["visual_2d"]) for rows in logits.values())
    print(f"{seconds} s of video, {available_cores()} cores, {size} models")
    print(f"batch engine x{min(plain_times) / min(batch_times):.2f} the plain program; logits within {max(errors):.1e}")
    if max(errors) > MAX_ERROR:
        sys.exit("the logits of the two programs differ")


def largest_error(output: Path, expected: dict[str, Logits]) -> float:
    """Return the largest difference of a logit that the batch run has written."""
    streams: dict[str, Stream] = {"CLIP": "visual_2d", "CLAP": "audio"}
    return max(
        float(np.abs(np.load(output / teacher / "scores" / f"{video}.npy") - logits[stream]).max())
        for video, logits in expected.items()
        for teacher, stream in streams.items()
    )


def write_models(folder: Path, size: str) -> tuple[Path, Path]:
    """Write CLIP and CLAP with random parameters; return their folders.

    Args:
        folder: the models' folders are made in it.
        size: "large" for ViT-L/14 and HTSAT-tiny with fusion; "small" for a smaller CLIP; "tiny" for both tiny.
    """
    if size == "tiny":
        return write_teachers(folder)
    large = size == "large"
    torch.manual_seed(0)
    text = {**(_LARGE_TEXT if large else _SMALL_TEXT), "vocab_size": 300, "eos_token_id": 257, "pad_token_id": 257}
    vision = {**(_LARGE_VISION if large else _SMALL_VISION), "patch_size": 14 if large else 32, "image_size": 224}
    clip = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=768 if large else 256)
    transformers.CLIPModel(clip).save_pretrained(folder / "clip")
    clap = transformers.ClapConfig(audio_config={"enable_fusion": True})
    transformers.ClapModel(clap).save_pretrained(folder / "clap")
    for name in ("clip", "clap"):
        write_tokenizer(folder / name, clip=name == "clip")
    return folder / "clip", folder / "clap"


if __name__ == "__main__":
    main()
