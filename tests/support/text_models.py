"""A `tokenizer.json` for text models with random parameters."""

from __future__ import annotations

from pathlib import Path


def write_byte_tokens(path: Path, ends: tuple[int, int]) -> Path:
    """A token for each byte, and marks of beginning and end that have the numbers of the published ones."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    first = 300  # no number of a mark
    vocabulary = {token: first + index for index, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocabulary |= {"<begin>": ends[0], "<end>": ends[1]}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    marks = [("<begin>", ends[0]), ("<end>", ends[1])]
    made.post_processor = processors.TemplateProcessing(single="<begin> $A <end>", special_tokens=marks)
    made.save(str(path))
    return path
