"""Parts of other packages that do not keep their contract, or that cannot be loaded: each is a message of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from avvp.extractors import Extractor
from avvp.extractors.inputs import FRAME, LOG_MEL, InputFormat
from avvp.extractors.registry import build_extractor
from avvp.models.config import ParserConfig
from avvp.models.decoder_output import DecoderOutput, ModalityPrediction
from avvp.models.loss_parts import load_loss, try_loss
from avvp.models.losses import Objective
from avvp.models.parser import AVParser, build_parser
from avvp.pipeline.errors import SetupError
from avvp.pipeline.inference.decisions import load_decision
from avvp.pipeline.inference.thresholds import Thresholds
from avvp.pipeline.timeline import SegmentLabels, SegmentProbabilities
from avvp.weights.parts import check_options, load_part, read_trust
from torch import Tensor, nn

TRUST = ("strange_parts",)
B, T, C, D = 2, 6, 3, 8


@pytest.fixture
def define(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], str]:
    """Put an object into a module and return its name as a part."""

    def put(value: object) -> str:
        module = ModuleType("strange_parts")
        module.Part = value  # pyright: ignore[reportAttributeAccessIssue]
        monkeypatch.setitem(sys.modules, "strange_parts", module)
        return "strange_parts:Part"

    return put


def config(**changes: object) -> ParserConfig:
    return ParserConfig(**{
        "labels": tuple("abc"), "audio_dim": 4, "visual_2d_dim": 5, "visual_3d_dim": 6, "hidden_dim": D, "heads": 2,
        "feedforward_dim": 8, "encoder": "han", "decoder": "mmil", **changes,
    })  # fmt: skip


class Calling(nn.Module):
    """A module that computes what a function does."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor | None) -> Any:
        return self.function(*tensors)


def fail(*_: object) -> None:
    raise RuntimeError("first line\nsecond line")


ENCODERS: dict[str, tuple[Callable[..., Any], str]] = {
    "no module": (lambda _: "text", "the encoder strange_parts:Part returned str, expected a torch.nn.Module"),
    "unknown setting": (
        lambda _, *, width: width,
        r"failed: TypeError: .* missing 1 required keyword-only argument: 'width'",
    ),
    "fails": (lambda _: Calling(fail), "the encoder strange_parts:Part failed: RuntimeError: first line$"),
    "one tensor": (
        lambda _: Calling(lambda audio, _visual, _valid: audio),
        rf"returned float32 of \({B}, {T}, {D}\), expected audio and visual of \({B}, {T}, {D}\) each",
    ),
    "wrong width": (
        lambda _: Calling(lambda audio, visual, _valid: (audio, visual[..., :5])),
        rf"returned float32 of \({B}, {T}, 5\) as visual, expected float of \({B}, {T}, {D}\)",
    ),
    "infinite": (
        lambda _: Calling(lambda audio, visual, _valid: (audio / 0, visual)),
        "returned values that are not finite as audio",
    ),
    "padding": (
        lambda _: Calling(lambda audio, visual, _valid: (audio + audio.mean(dim=1, keepdim=True), visual)),
        r"depends on padding: outputs of real segments change by .* use `valid` \(B, T\)",
    ),
}


@pytest.mark.parametrize("case", ENCODERS)
def test_wrong_encoders(case: str, define: Callable[[object], str]) -> None:
    part, message = ENCODERS[case]
    with pytest.raises(ValueError, match=message):
        build_parser(config(encoder=define(part)), trust=TRUST)


def prediction(video: Tensor, **changes: Any) -> ModalityPrediction:
    return ModalityPrediction(torch.zeros(B, T, C), video)._replace(**changes)


HALF = torch.full((B, C), 0.5)
DECODERS: dict[str, tuple[Callable[..., Any], str]] = {
    "another type": (lambda *_: (HALF, HALF), "returned 2 values, expected a DecoderOutput"),
    "a tuple in it": (
        lambda *_: DecoderOutput(prediction(HALF), HALF, HALF),  # pyright: ignore[reportArgumentType]
        r"returned float32 of \(2, 3\) as visual, expected a ModalityPrediction",
    ),
    "logits as probabilities": (
        lambda *_: DecoderOutput(prediction(HALF), prediction(HALF + 3), HALF),
        "returned 3.5 to 3.5 as visual.video_probs, expected probabilities",
    ),
    "logits of one modality": (
        lambda *_: DecoderOutput(prediction(HALF, video_logits=HALF), prediction(HALF), HALF),
        "has video_logits for one modality, expected them for both or for none",
    ),
    "classes of seconds": (
        lambda *_: DecoderOutput(prediction(HALF, segment_logits=torch.zeros(B, C, T)), prediction(HALF), HALF),
        rf"returned float32 of \({B}, {C}, {T}\) as audio.segment_logits, expected float of \({B}, {T}, {C}\)",
    ),
    "probabilities of seconds": (
        lambda *_: DecoderOutput(prediction(HALF), prediction(HALF, segment_probs=HALF), HALF),
        rf"returned float32 of \({B}, {C}\) as visual.segment_probs, expected float of \({B}, {T}, {C}\)",
    ),
}


@pytest.mark.parametrize("case", DECODERS)
def test_wrong_decoders(case: str, define: Callable[[object], str]) -> None:
    function, message = DECODERS[case]
    part = define(lambda _config, _embeddings: Calling(function))
    with pytest.raises(ValueError, match=message):
        build_parser(config(decoder=part, label_queries="learned"), trust=TRUST)


def test_a_decoder_gets_label_embeddings(define: Callable[[object], str]) -> None:
    given = []

    def part(_config: ParserConfig, embeddings: Tensor | None) -> nn.Module:
        given.append(embeddings)
        return Calling(lambda *_: DecoderOutput(prediction(HALF), prediction(HALF), HALF))

    embeddings = torch.randn(C, 300)
    build_parser(config(decoder=define(part)), embeddings, trust=TRUST)
    assert given[0] is embeddings
    with pytest.raises(ValueError, match=r"label embeddings are None, expected \(3, 300\)"):
        build_parser(config(decoder=define(part)), trust=TRUST)
    AVParser(config(decoder=define(part), label_queries="learned"), trust=TRUST)
    assert given[-1] is None


def test_trying_a_part_leaves_the_random_state_and_the_mode(define: Callable[[object], str]) -> None:
    def noisy(audio: Tensor, visual: Tensor, _valid: Tensor | None) -> tuple[Tensor, Tensor]:
        return audio + 0 * torch.rand(1), visual

    torch.manual_seed(1)
    state = torch.get_rng_state()
    parser = AVParser(config(encoder=define(lambda _: Calling(noisy))), trust=TRUST)
    state = torch.get_rng_state()
    parser.try_parts()
    assert torch.equal(torch.get_rng_state(), state)
    assert parser.encoder.training


LOSSES: dict[str, tuple[Callable[..., Any], str]] = {
    "a number": (lambda *_: 1.0, "the loss strange_parts:Part returned float, expected names and scalar tensors"),
    "nothing": (lambda *_: {}, "returned no terms, expected names and scalar tensors"),
    "a vector": (lambda output, *_: {"a": output.video_probs}, r"returned a: \(2, 3\), expected names and scalar"),
    "detached": (
        lambda output, *_: {"a": output.video_probs.detach().mean()},
        "the loss strange_parts:Part has no gradient",
    ),
    "fails": (fail, "the loss strange_parts:Part failed: RuntimeError: first line$"),
}


@pytest.mark.parametrize("case", LOSSES)
def test_wrong_losses(case: str, define: Callable[[object], str]) -> None:
    part, message = LOSSES[case]
    objective = Objective(loss=define(part))
    loss, _ = load_loss(objective, TRUST)
    with pytest.raises(ValueError, match=message):
        try_loss(loss, objective, config())


def test_the_targets_of_a_loss_follow_the_objective(define: Callable[[object], str]) -> None:
    """Weights of this program's terms do not ask for pseudo labels where another loss is used."""
    weak = Objective(loss=define(lambda *_: {}), targets="weak", video_targets="weak")
    assert not weak.needs_segment_labels
    assert Objective(loss=define(lambda *_: {})).needs_segment_labels
    assert "loss" not in Objective().to_dict()
    assert weak.to_dict()["loss"] == "strange_parts:Part"


DECISIONS: dict[str, tuple[Callable[..., Any], str]] = {
    "probabilities": (lambda probabilities, _: probabilities, "returned SegmentProbabilities, expected SegmentLabels"),
    "numbers": (
        lambda probabilities, _: SegmentLabels(probabilities.audio, probabilities.visual),
        r"returned float32 \(3, 3\), float32 \(3, 3\), expected SegmentLabels of bool \(3, 3\)",
    ),
    "one clip only": (
        lambda *_: SegmentLabels(np.zeros((3, 3), bool), np.zeros((3, 3), bool)),
        r"returned bool \(3, 3\), bool \(3, 3\), expected SegmentLabels of bool \(1, 3, 3\)",
    ),
    "fails": (fail, "the decision strange_parts:Part failed: RuntimeError: first line$"),
}


@pytest.mark.parametrize("case", DECISIONS)
def test_wrong_decisions(case: str, define: Callable[[object], str]) -> None:
    part, message = DECISIONS[case]
    with pytest.raises(SetupError, match=message):
        load_decision(config(decision=define(part)), TRUST)


def test_a_decision_gets_its_settings(define: Callable[[object], str]) -> None:
    def part(probabilities: SegmentProbabilities, _thresholds: object, *, level: float) -> SegmentLabels:
        return SegmentLabels(probabilities.audio > level, probabilities.visual > level)

    decide, found = load_decision(config(decision=define(part), decision_options={"level": 0.25}), TRUST)
    tables = [np.array([[0.2, 0.3]], np.float32)] * 4
    labels = decide(SegmentProbabilities(*tables), Thresholds.uniform(("Dog", "Cat")))
    assert labels.audio.tolist() == [[False, True]]
    assert found is not None


class OwnExtractor(Extractor):
    input_format = LOG_MEL

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=1)[:, : self.dim]


class OfUnknownFormat(OwnExtractor):
    input_format = InputFormat("own", "audio", (2,), np.float32, lambda seconds: seconds)


class OfFrames(OwnExtractor):
    input_format = FRAME


EXTRACTORS: dict[str, tuple[Callable[..., Any], str]] = {
    "a module": (lambda: nn.Linear(1, 1), "returned Linear, expected an avvp.extractors.Extractor"),
    "unknown format": (lambda: OfUnknownFormat(2), r"no input_format of .* \(log_mel, .*, clip_frame, .*\)"),
    "width": (lambda: OwnExtractor(0), "has dim 0, expected an integer from 1 to 65536"),
    "shape": (lambda: OwnExtractor(65), r"returned torch.float32 \(2, 64\) for 2 inputs of \(96, 64\), expected float"),
    "integers": (lambda: OfFrames(5), "the extractor strange_parts:Part failed: (Runtime|NotImplemented)Error: mean"),
    "settings": (OwnExtractor, "the extractor strange_parts:Part failed: TypeError"),
}


@pytest.mark.parametrize("case", EXTRACTORS)
def test_wrong_extractors(case: str, define: Callable[[object], str]) -> None:
    part, message = EXTRACTORS[case]
    with pytest.raises(ValueError, match=message):
        build_extractor("own", reference=define(part), trust=TRUST)


def test_an_extractor_of_this_program_cannot_be_replaced(define: Callable[[object], str]) -> None:
    with pytest.raises(ValueError, match="extractor vggish is one of this program and cannot be replaced"):
        build_extractor("vggish", reference=define(lambda: OwnExtractor(3)), trust=TRUST)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        (
            "import no_such_module",
            "No module named 'no_such_module'; install its package, or name its folder in PYTHON",
        ),
        ("", "cannot be imported: broken_part has no Part"),
        ("Part = 3", "broken_part:Part is 3, expected a class or a function"),
    ],
)
def test_modules_that_cannot_be_loaded(
    content: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_part.py").write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        with pytest.raises(ValueError, match=message):
            load_part("encoder", "broken_part:Part", (), ["broken_part"])
    finally:
        sys.modules.pop("broken_part", None)


@pytest.mark.parametrize(
    "name", ["os.path", ":x", "os:", "os:path.join", "os:a b", "a/b:C", "../x:C", "os:system\n", "x" * 300 + ":C", 3]
)
def test_names_that_are_no_part(name: object) -> None:
    with pytest.raises(ValueError, match="not one of mmpyr, han, mgn; nor module:Name of a package of yours"):
        config(encoder=name)


def test_the_attribute_of_a_module_is_one_name(define: Callable[[object], str]) -> None:
    """ "strange_parts:Part.system" would lead out of the trusted module."""
    define(SimpleNamespace(system=print))
    with pytest.raises(ValueError, match="nor module:Name"):
        load_part("encoder", "strange_parts:Part.system", (), TRUST)


def test_trust_is_of_whole_names(define: Callable[[object], str]) -> None:
    name = define(lambda *_: None)
    for trusted in ("strange", "strange_part", "strange_parts.inner", "STRANGE_PARTS"):
        with pytest.raises(ValueError, match="--trust-parts strange_parts"):
            load_part("encoder", name, (), [trusted])
    assert load_part("encoder", name, (), ["a, strange_parts"]).name == name
    with pytest.raises(ValueError, match="'a-b' is not the name of a package"):
        read_trust(["a-b"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "options is \\[\\], expected a table"),
        ({"a b": 1}, "options: 'a b' is not the name of a setting"),
        ({"a": float("nan")}, "options.a is nan, expected a number"),
        ({"a": [float("inf")]}, "expected a number, text, true or false, or a list of them"),
        ({"a": {"b": 1}}, "expected a number, text, true or false, or a list of them"),
        ({f"a{n}": n for n in range(65)}, "options has 65 settings, more than 64"),
        ({"a": "x" * 10_000}, "options has 10009 characters, more than 10000"),
        ({"a": 10**5000}, "options: Exceeds the limit"),
    ],
    ids=range(8),
)
def test_settings_that_are_refused(options: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_options("options", options)


def test_settings_are_for_parts_of_other_packages_only() -> None:
    with pytest.raises(
        ValueError, match="encoder_options are settings of parts of other packages; the encoder han is of"
    ):
        config(encoder_options={"layers": 2})
