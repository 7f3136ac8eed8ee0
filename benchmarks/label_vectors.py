"""Write weights/llp_glove.safetensors: a vector for each of the 25 labels of LLP, the mean of GloVe's over its words.

    python benchmarks/label_vectors.py glove.6B.300d.txt
    python benchmarks/label_vectors.py llp_label_glove_embeddings.pt

The first reads GloVe's own vectors (nlp.stanford.edu/projects/glove, in the public domain under PDDL 1.0). The second
takes the 25 means from the file that LEAP's authors publish, in float32 as they computed them; it wrote the file that
is shipped. The size and the sha256 that are printed belong into weights/manifest.toml.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from pathlib import Path

from avvp.models.labels import LLP_LABELS
from avvp.pipeline.datasets.label_embeddings import load_label_embeddings
from avvp.weights.locate import SHIPPED
from safetensors.torch import save

# What LEAP's authors looked up for the labels of LLP, in their order: "fry" for "frying", "infancy" for "infant".
WORDS = (
    "speech", "car", "cheering", "dog", "cat", "fry food", "basketball bounce", "fire alarm", "chainsaw", "cello",
    "banjo", "singing", "chicken rooster", "violin fiddle", "vacuum cleaner", "baby laughter", "accordion",
    "lawn mower", "motorcycle", "helicopter", "acoustic guitar", "telephone bell ringing", "baby cry infancy cry",
    "blender", "clapping",
)  # fmt: skip


def write_vectors(source: Path, target: Path) -> None:
    """Write a vector for each label, under the label's name."""
    vectors = load_label_embeddings(str(source), WORDS)
    named = {label: vector.clone() for label, vector in zip(LLP_LABELS, vectors, strict=True)}
    content = save(named)
    target.write_bytes(content)
    print(f"{target}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="?", help="GloVe's text file, or the file of LEAP's authors")
    parser.add_argument("--smoke", action="store_true", help="write vectors of two numbers to a temporary folder")
    options = parser.parse_args(argv)
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            words = sorted({word for words in WORDS for word in words.split()})
            text = Path(folder) / "glove.txt"
            text.write_text("".join(f"{word} {index} 1\n" for index, word in enumerate(words)), encoding="utf-8")
            write_vectors(text, Path(folder) / "vectors.safetensors")
    elif options.source is None:
        parser.error("name the file with the vectors")
    else:
        write_vectors(options.source, SHIPPED / "llp_glove.safetensors")


if __name__ == "__main__":
    main()
