"""Text encoders of other packages: what they answer is checked, and errors name the part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from avvp.extractors.registry import build_extractor
from avvp.extractors.texts.parts import PartTextEncoder
from support.command import Result
from support.stand_in_teachers import SeenColours, make_film, write_stand_ins

Run = Callable[..., Result]
SENTENCES = ["a photo of red", "a photo of a dog"]


class Answering(SeenColours):
    """A stand-in whose answers a test may replace."""

    answers: dict[str, Any] = {}  # noqa: RUF012

    def encode(self, sentences: Sequence[str]) -> Any:
        return self.answers.get("encode", super().encode)(sentences)

    def count_tokens(self, sentences: Sequence[str]) -> Any:
        return self.answers.get("count_tokens", super().count_tokens)(sentences)


def load(**answers: Any) -> PartTextEncoder:
    reference = f"{__name__}:Answering"
    extractor = build_extractor("colours", {"scale": torch.ones(1)}, reference=reference, trust=[__name__])
    object.__setattr__(extractor, "answers", answers)
    if "max_tokens" in answers:
        object.__setattr__(extractor, "max_tokens", answers["max_tokens"])
    return PartTextEncoder(extractor)


def fail(_: object) -> None:
    raise KeyError("dog")


def test_rows_get_the_length_one() -> None:
    rows = torch.zeros(2, 32, dtype=torch.bfloat16, requires_grad=True)
    encoder = load(encode=lambda _: rows + torch.eye(2, 32) * torch.tensor([[3.0], [0.5]]))
    assert torch.equal(encoder.encode(SENTENCES), torch.eye(2, 32))
    assert (encoder.dim, encoder.max_tokens, encoder.logit_scale) == (32, 16, None)
    assert encoder.count_tokens(SENTENCES) == [6, 7]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "too narrow": (
        {"encode": lambda _: torch.ones(2, 5)},
        r"returned torch.float32 \(2, 5\) for 2 sentences",
    ),
    "too few": ({"encode": lambda _: torch.ones(1, 32)}, r"returned torch.float32 \(1, 32\) for 2 sentences"),
    "whole numbers": ({"encode": lambda _: torch.ones(2, 32).long()}, r"returned torch.int64 \(2, 32\)"),
    "a list": ({"encode": lambda _: [[1.0] * 32] * 2}, "returned list for 2 sentences"),
    "NaN": ({"encode": lambda _: torch.full((2, 32), torch.nan)}, "not finite, or zeros"),
    "zeros": ({"encode": lambda _: torch.zeros(2, 32)}, "not finite, or zeros"),
    "an exception": ({"encode": fail}, "failed: KeyError: 'dog'"),
    "texts for numbers": ({"count_tokens": lambda _: "ab"}, "returned no list of 2 numbers of tokens"),
    "one number": ({"count_tokens": lambda _: [1]}, "returned no list of 2 numbers of tokens"),
    "no limit": ({"max_tokens": 0}, "has no max_tokens: a number, or None"),
    "an odd limit": ({"max_tokens": "77"}, "has no max_tokens"),
}


@pytest.mark.parametrize(("answers", "message"), BAD.values(), ids=BAD)
def test_answers_are_checked(answers: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"the extractor {__name__}:Answering .*{message}"):
        encoder = load(**answers)
        encoder.encode(SENTENCES)
        encoder.count_tokens(SENTENCES)


class Forgetful(SeenColours):
    """It was written for pictures alone."""

    encode = None  # pyright: ignore[reportAssignmentType]


class Loud(SeenColours):
    """Its features are beyond float16."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1e6 * super().forward(x)


FAULTS = {
    "Forgetful": "the extractor {}:Forgetful has no function `encode` for sentences",
    "Loud": "features for visual are not finite, or too large for float16",
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.filterwarnings("error")
def test_the_command_names_the_fault(run: Run, tmp_path: Path, name: str) -> None:
    film = make_film(tmp_path / "film.mp4", [("red", "low tone", 1)])
    description = write_stand_ins(tmp_path / "bundle") / "bundle.toml"
    stand_in = f"{SeenColours.__module__}:SeenColours"
    description.write_text(description.read_text().replace(stand_in, f"{__name__}:{name}"))
    trust = ("--trust-parts", f"{SeenColours.__module__},{__name__}")
    result = run("parse", film, "--weights", tmp_path / "bundle", *trust, "--classes", "red", "--no-embeddings")
    assert result.status != 0
    assert FAULTS[name].format(__name__) in " ".join(result.err.split())
    assert "internal error" not in result.err
