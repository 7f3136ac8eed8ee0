"""Time the bootstrap intervals of avvp compare on generated decisions.

    python benchmarks/comparison.py
    python benchmarks/comparison.py --clips 1200 --classes 25 --systems 2 --resamples 10000

It prints the time of counting what the scores are made of, from decisions of 10 seconds, and that of resampling, with
the ten F-scores of all clips, of overlapping and other clips, and of every class.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from avvp.pipeline.comparison.bootstrap import Resampling, bootstrap
from avvp.pipeline.comparison.ratios import PARSING, parsing_ratios
from avvp.pipeline.timeline import SegmentLabels

SECONDS = 10


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1200)
    parser.add_argument("--classes", type=int, default=25)
    parser.add_argument("--systems", type=int, default=2)
    parser.add_argument("--resamples", type=int, nargs="+", default=[1000, 2000, 10_000])
    parser.add_argument("--smoke", action="store_true", help="20 clips, 3 classes, 10 resamples")
    options = parser.parse_args(argv)
    if options.smoke:
        options.clips, options.classes, options.resamples = 20, 3, [10]
    rng = np.random.default_rng(0)
    shape = (options.clips, SECONDS, options.classes)
    truth = SegmentLabels(rng.random(shape) < 0.06, rng.random(shape) < 0.06)
    systems = [SegmentLabels(*(table ^ (rng.random(shape) < 0.03) for table in truth)) for _ in range(options.systems)]
    start = time.perf_counter()
    ratios = [parsing_ratios(system, truth, range(options.classes)) for system in systems]
    print(f"{options.systems} systems, {options.clips:,} clips, {options.classes} classes")
    print(f"counting: {time.perf_counter() - start:.2f} s")
    for resamples in options.resamples:
        start = time.perf_counter()
        found = bootstrap(ratios, PARSING, np.arange(options.clips), Resampling(resamples=resamples))
        low, high = found.differences.low[0, 0, -1], found.differences.high[0, 0, -1]
        print(f"{resamples:,} resamples: {time.perf_counter() - start:.2f} s; mean {low:+.2f} to {high:+.2f}")


if __name__ == "__main__":
    main()
