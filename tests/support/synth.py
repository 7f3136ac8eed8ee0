"""Small sets of generated clips."""

from __future__ import annotations

from pathlib import Path

from avvp.pipeline.synthetic.dataset import SynthJob, write_dataset


def write_clips(folder: Path, job: SynthJob) -> Path:
    """Generate clips and annotations in a new folder, in this process; return the folder."""
    folder.mkdir()
    write_dataset(folder, job, workers=1)
    return folder
