"""How fast matrix products are here, and what that says about the time that a clip takes."""

from __future__ import annotations

from collections.abc import Iterable

from ...extractors.profiles import get_profile
from ...extractors.sampling import POOLED_STREAMS, rows_per_segment
from ...weights.errors import WeightsError
from ...weights.messages import first_line
from ...weights.remote.bundles import load_bundle
from ...weights.source import WeightSource
from ..errors import SetupError
from .backend_speed import add_backend_speeds
from .section import Section

CLIP_SECONDS = 10
_EFFICIENCY = 0.9  # share of the rate of large matrix products that the networks reach on CPUs: docs/performance.md
_ROUNDS = 3  # of which the best is taken: other programs disturb


def check_speed(bundle_name: str, source: WeightSource, device_name: str, *, again: bool = False) -> Section:
    """Measure the rate of matrix products, and estimate the time of a clip from the multiply-adds of the networks.

    What is remembered of the speeds of backends is added.

    Args:
        bundle_name: whose extractors are counted; weight files are not needed.
        source: where a bundle may come from; nothing is downloaded.
        device_name: as of --device.
        again: measure the backends, too, and remember what comes out.

    Returns:
        The section.
    """
    section = Section("Speed")
    try:
        import torch

        from ..devices import resolve_devices
        from ..training.matmul_rate import matmul_rate

        device = resolve_devices(device_name)[0]
        rate = max(matmul_rate(device) for _ in range(_ROUNDS))
    except (SetupError, RuntimeError, ImportError, OSError) as error:
        section.facts = {"device": device_name, "gflops": None, "backends": None, "estimate": None}
        section.add(f"cannot be measured on {device_name}: {first_line(error)}", "broken")
        return section
    threads = f" with {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    section.facts = {"device": str(device), "gflops": float(f"{rate / 1e9:.3g}"), "estimate": None}
    section.add(f"matrix products in float32 on {device}{threads}: {rate / 1e9:.0f} GFLOP/s")
    add_backend_speeds(section, device, again=again)
    try:
        bundle = load_bundle(bundle_name, WeightSource(source.folder, True, None))
        multiply_adds = CLIP_SECONDS * count_multiply_adds(bundle.extractors, bundle.profile)
    except (WeightsError, ValueError, RuntimeError, NotImplementedError) as error:
        section.add(f"no estimate for {bundle_name}: {first_line(error)}", "note")
        return section
    on_cpu = device.type == "cpu"
    about = "about" if on_cpu else "at least"
    share = _EFFICIENCY if on_cpu else 1.0  # of GPUs none has been measured
    seconds = 2 * multiply_adds / rate / share
    section.facts["estimate"] = {
        "clip_seconds": CLIP_SECONDS, "bundle": bundle.name, "multiply_adds": multiply_adds,
        "seconds": round(seconds, 2), "lower_bound": not on_cpu,
    }  # fmt: skip
    section.add(
        f"ESTIMATE: {about} {seconds:.1f} s for {CLIP_SECONDS} s of video with {bundle.name}:"
        f" {2 * multiply_adds / 1e9:.0f} GFLOP in its extractors at {share:.0%} of that rate;"
        " loading the networks and decoding come on top"
    )
    return section


def count_multiply_adds(extractors: Iterable[str], profile: str) -> int:
    """Count the multiply-adds of feature extractors for a second of video, without computing anything.

    Args:
        extractors: names, as in `extractors.registry`.
        profile: key in `PROFILES`, for the number of frames.

    Returns:
        Multiply-adds of convolutions and matrix products.

    Raises:
        ValueError: a name is unknown, or an extractor's is of another package.
    """
    import numpy as np
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from ...extractors.registry import meta_extractor

    total, sampled = 0, get_profile(profile)
    for name in extractors:
        extractor = meta_extractor(name).eval()
        form = extractor.input_format
        dtype = torch.from_numpy(np.zeros(0, form.dtype)).dtype
        pooled = form.stream in POOLED_STREAMS
        count = sampled.frames_per_segment if pooled else rows_per_segment(form.stream, sampled.rows_per_segment)
        counter = FlopCounterMode(display=False)
        with torch.inference_mode(), counter:
            extractor(extractor.prepare(torch.zeros((1, *form.shape), dtype=dtype, device="meta")))
        total += count * counter.get_total_flops() // 2
    return total
