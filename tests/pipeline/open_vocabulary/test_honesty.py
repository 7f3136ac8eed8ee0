"""What results say about classes that were found by their names: warnings, origins of thresholds, provenance."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import avvp
import numpy as np
import pytest
import torch
from avvp.pipeline.inference.bundle import load_networks
from avvp.pipeline.open_vocabulary.classes import read_vocabulary
from avvp.pipeline.open_vocabulary.logits import score_logits
from avvp.pipeline.open_vocabulary.network import OpenConfig, OpenVocabulary
from avvp.pipeline.open_vocabulary.sentences import embed_vocabulary
from avvp.pipeline.open_vocabulary.similarities import Similarities
from avvp.pipeline.open_vocabulary.valor_thresholds import with_valor_thresholds
from avvp.pipeline.open_vocabulary.vocabulary import OpenClass, Vocabulary
from avvp.pipeline.open_vocabulary.warnings import about_classes, same_pairs
from avvp.pipeline.outputs.html.summary import summarize
from numpy.typing import NDArray
from support.command import Result
from support.open_bundles import LOGIT_SCALE, write_open_bundle
from support.stand_in_teachers import TRUST, make_film, write_stand_ins
from torch import Tensor

Run = Callable[..., Result]
DEFAULT = (
    "the thresholds are defaults: scores compare the classes with each other and with a background list; nobody checked"
    " them on your videos: avvp calibrate"
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_ins(tmp_path_factory.mktemp("open") / "stand-ins")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scenes = [("red", "low tone", 2), ("blue", "high tone", 2)]
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", scenes)


def write_tiny_bundle(folder: Path) -> None:
    """Write a bundle of small CLIP and CLAP with random parameters."""
    folder.mkdir()
    names = '{ clap_tiny = "", clip_tiny = "" }'
    (folder / "bundle.toml").write_text(
        f'profile = "clip-clap"\nseed = 1\nextractors = {names}\ntexts = {names}\nparser = {{}}\n'
    )


class Directions:
    """A text encoder that knows the direction of each sentence in a plane, in degrees."""

    dim = 2

    def __init__(self, degrees: Mapping[str, float], max_tokens: int | None = 4) -> None:
        self.degrees, self.max_tokens = degrees, max_tokens

    def count_tokens(self, sentences: Sequence[str]) -> list[int]:
        return [len(sentence.split()) for sentence in sentences]

    def encode(self, sentences: Sequence[str]) -> Tensor:
        turned = torch.deg2rad(torch.tensor([self.degrees[sentence] for sentence in sentences]).float())
        return torch.stack([turned.cos(), turned.sin()], dim=1)


def seen(label: str, *sentences: str) -> OpenClass:
    return OpenClass(label, sentences or (label,), ())


def embed(vocabulary: Vocabulary, encoder: Directions) -> dict[str, NDArray[np.float32]]:
    return embed_vocabulary(vocabulary, {"audio": encoder, "visual": encoder})


def warn(vocabulary: Vocabulary, encoder: Directions, **weights: str) -> tuple[str, ...]:
    return about_classes(vocabulary, embed(vocabulary, encoder), {"visual": encoder}, weights)


def make_network(vocabulary: Vocabulary, **options: Any) -> OpenVocabulary:
    texts = {name: np.eye(len(vocabulary.everything), 8, dtype=np.float32) for name in ("audio", "visual")}
    return OpenVocabulary(OpenConfig(vocabulary, 8, 8), texts, **options)


def levels(vocabulary: Vocabulary, **changes: float) -> dict[str, NDArray[np.float64]]:
    return {name: np.array(vocabulary.thresholds(name)) + changes.get(name, 0) for name in ("audio", "visual")}


# Warnings


def test_classes_that_mean_the_same_are_named() -> None:
    """The cosine of 18 degrees is .951, of 19 degrees .946."""
    classes = (seen("a"), seen("b"), seen("c"), OpenClass("d", (), ("d",)))
    found = warn(Vocabulary(classes, (seen("e"),)), Directions({"a": 0, "b": 18, "c": 37, "d": 0, "e": 200}))
    assert found == ("'a' and 'b' can hardly be told apart when they are seen: their sentences mean nearly the same",)


def test_what_goes_for_pictures_and_sounds_is_said_once() -> None:
    classes = (OpenClass.named("a"), OpenClass.named("b"))
    degrees = {text: 0.0 for item in classes for text in (*item.seen, *item.heard)}
    found = warn(Vocabulary(classes), Directions(degrees, max_tokens=None))
    assert [line.split(":")[0] for line in found] == [
        "no background, and 2 classes to be seen and heard",
        "'a' and 'b' can hardly be told apart when they are seen or heard",
    ]


def test_of_many_classes_that_mean_the_same_three_pairs_are_named() -> None:
    rows = np.full((2000, 4), 0.5, np.float32)
    rows[3] = np.nan
    assert same_pairs(rows) == ([(0, 1), (0, 2), (0, 4)], 1999 * 1998 // 2)
    classes = tuple(seen(f"c{index}", "same") for index in range(5))
    (found,) = warn(Vocabulary(classes, (seen("e"),)), Directions({"same": 0, "e": 90}))
    assert found.startswith("'c0' and 'c1'; 'c0' and 'c2'; 'c0' and 'c3', and 7 more pairs, can hardly")


def test_a_sentence_that_is_cut_is_named() -> None:
    long = "one two three four five"
    classes = (seen("a", "a", long), seen("b"), seen("c"))
    degrees = {"a": 0.0, long: 10, "b": 90, "c": 180, "e": 270}
    vocabulary = Vocabulary(classes, (seen("e"),))
    assert warn(vocabulary, Directions(degrees)) == (
        "a sentence of 'a' to be seen has 5 tokens, of which the teacher reads 4: shorten it",
    )
    assert warn(vocabulary, Directions(degrees, max_tokens=5)) == ()  # read to its end
    assert warn(vocabulary, Directions(degrees, max_tokens=None)) == ()


def test_few_classes_without_a_background() -> None:
    degrees = {"a": 0.0, "b": 90, "c": 180, "d": 270}
    classes = tuple(map(seen, degrees))
    (found,) = warn(Vocabulary(classes[:3]), Directions(degrees))
    assert found.startswith("no background, and 3 classes to be seen: scores compare the classes with each other, and")
    assert warn(Vocabulary(classes), Directions(degrees)) == ()
    assert warn(Vocabulary(classes[:3], classes[3:]), Directions(degrees)) == ()
    assert warn(Vocabulary(classes[:3], scale="logits"), Directions(degrees)) == ()
    alone = "no background, and 1 class to be seen: it has nothing to be compared with, and is never found; name more,"
    for rule in ("scope", "ov-avel"):  # an entry without a weight, or the least one, is compared, too
        assert warn(Vocabulary(classes[:2]).with_rule(name=rule), Directions(degrees)) == ()
        (found,) = warn(Vocabulary(classes[:1]).with_rule(name=rule), Directions(degrees))
        assert found.startswith(alone)


def test_calibrated_thresholds_are_good_for_the_same_rule_background_and_teachers() -> None:
    degrees = {"a": 0.0, "b": 90, "c": 180, "d": 270}
    classes = tuple(map(seen, degrees))
    weights = {"audio": "1", "visual": "2"}
    found = Vocabulary(classes).with_thresholds({"visual": [0.5] * 4}, "calibrated", **weights)
    assert warn(found, Directions(degrees), **weights) == ()
    assert warn(found, Directions(degrees)) == ()
    assert warn(found.with_rule(name="scope"), Directions(degrees), audio="1", visual="3") == (
        "the thresholds were calibrated with another rule and another teacher for what is seen: calibrate again",
    )
    (other,) = warn(read_vocabulary_with_background(found), Directions({**degrees, "e": 45}))
    assert other == "the thresholds were calibrated with another background: calibrate again"


def read_vocabulary_with_background(vocabulary: Vocabulary) -> Vocabulary:
    return Vocabulary(**{**vars(vocabulary), "background": (seen("e"),)})


def test_an_entry_of_the_background_that_means_the_same_as_a_class_is_not_compared() -> None:
    """Else a dog would compete with itself."""
    background = (seen("a dog"), seen("cat"), seen("DOG"), seen("dog"))
    vocabulary = Vocabulary((seen("dog"),), background, background_name="mine.toml")
    texts = embed(vocabulary, Directions({"dog": 0, "a dog": 17, "cat": 80}))
    assert np.isnan(texts["visual"][:, 0]).tolist() == [False, True, False]
    network = OpenVocabulary(OpenConfig(vocabulary, 2, 2), texts)
    about = network.describe(levels(vocabulary))["background"]
    assert about == {
        "name": "mine.toml",
        "entries": 4,
        "left_out": ["a dog", "DOG", "dog"],
        "hash": vocabulary.background_hash,
    }


# Where thresholds come from


def test_default_thresholds_are_warned_of_until_others_are_given() -> None:
    vocabulary = read_vocabulary("a, b")
    network = make_network(vocabulary, warnings=["w"])
    assert network.warnings_with(levels(vocabulary)) == (DEFAULT, "w")
    assert network.warnings_with(levels(vocabulary, audio=0.1)) == ("w",)
    calibrated = vocabulary.with_thresholds({"audio": [0.5, 0.5]}, "calibrated")
    assert make_network(calibrated).warnings_with(levels(calibrated)) == ()
    assert make_network(calibrated).describe(levels(calibrated))["thresholds"] == "calibrated"
    assert make_network(calibrated).describe(levels(calibrated, visual=0.1))["thresholds"] == "given"


def test_the_terminal_the_file_and_python_say_it_once(run: Run, bundle: Path, film: Path, tmp_path: Path) -> None:
    options = ("--weights", bundle, *TRUST, "--classes", "red, low tone")
    result = run("parse", film, *options, "-o", tmp_path / "e.json")
    assert result.status == 0, result.err
    timeline = json.loads((tmp_path / "e.json").read_text())
    assert timeline["warnings"] == [DEFAULT]
    assert " ".join(result.err.split()).count("nobody checked them on your videos") == 1
    about = timeline["provenance"]["open_vocabulary"]
    assert about["rule"]["name"] == "av2a"
    assert about["thresholds"] == "default"
    assert about["scale"] == "relative"
    assert about["classes"][0] == {
        "label": "red", "seen": ["A photo of red."], "heard": ["This is a sound of red."]
    }  # fmt: skip
    assert about["background"]["name"] == "shipped"
    assert about["background"]["entries"] > 50
    with avvp.load(bundle, trust_parts=[TRUST[1]], classes="red, low tone") as parser:
        found = parser.parse(film)
        assert found.warnings == (DEFAULT,)
        assert found.provenance["open_vocabulary"]["background"] == about["background"]


def test_a_batch_says_it_once_for_all_files(run: Run, bundle: Path, film: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.mp4").symlink_to(film)
    options = ("--weights", bundle, *TRUST, "--classes", "red, a red thing", "--output-dir", tmp_path / "out")
    result = run("parse", *sorted(tmp_path.glob("*.mp4")), *options)
    assert result.status == 0, result.err
    text = " ".join(result.err.split())
    assert text.count("nobody checked them on your videos") == 1
    assert text.count("'red' and 'a red thing' can hardly be told apart when they are seen") == 1
    written = [path for path in (tmp_path / "out").glob("*.json") if path.stem[:1] in {"a", "b", "c"}]
    assert len(written) == 3
    for path in written:
        assert json.loads(path.read_text())["warnings"][0] == DEFAULT


def test_thresholds_on_the_command_line_are_given(run: Run, bundle: Path, film: Path, tmp_path: Path) -> None:
    options = ("--weights", bundle, *TRUST, "--classes", "red", "--threshold", "0.7")
    result = run("parse", film, *options, "-o", tmp_path / "e.json")
    assert result.status == 0, result.err
    timeline = json.loads((tmp_path / "e.json").read_text())
    assert timeline["warnings"] == []
    assert timeline["provenance"]["open_vocabulary"]["thresholds"] == "given"


def test_without_a_background_one_class_is_warned_of(run: Run, bundle: Path, film: Path, tmp_path: Path) -> None:
    options = ("--weights", bundle, *TRUST, "--classes", "red", "--background", "none")
    assert run("parse", film, *options, "-o", tmp_path / "e.json").status == 0
    timeline = json.loads((tmp_path / "e.json").read_text())
    assert timeline["warnings"][0].startswith(
        "the thresholds are defaults: scores compare the classes with each other;"
    )
    assert timeline["warnings"][1].startswith("no background, and 1 class to be seen and heard: ")
    assert timeline["provenance"]["open_vocabulary"]["background"]["name"] == "none"


# Thresholds of logits


def test_scores_of_logits_are_computed_as_valor_does() -> None:
    """Cosine 0.6 times 10 is a logit of 6, two above the threshold 4; 0.8 times 100 is 80, at its threshold."""
    classes = (OpenClass("a", ("a",), ("a",), 4, 80), OpenClass("b", (), ("b",), None, 90))
    vocabulary = Vocabulary(classes, scale="logits")
    texts = {
        "visual": np.array([[0.6, 0.8], [np.nan, np.nan]], np.float32).astype(np.float64),
        "audio": np.array([[0.8, 0.6], [0.0, 1.0]]),
    }
    rows = {"visual": np.array([[1.0, 0.0], [0.0, 0.0]]), "audio": np.array([[1.0, 0.0], [0.0, 1.0]])}
    found = score_logits(Similarities.of(rows, texts, 2), vocabulary, {"visual": 10, "audio": 100})
    assert found["visual"] == pytest.approx(np.array([[1 / (1 + np.exp(-2)), 0], [1 / (1 + np.exp(4)), 0]]), abs=1e-7)
    assert found["audio"][0] == pytest.approx([0.5, 1 / (1 + np.exp(90))])
    assert found["audio"][1] == pytest.approx([1 / (1 + np.exp(20)), 1 / (1 + np.exp(-10))])
    silent = score_logits(
        Similarities.of(rows, texts, 2).of_streams(audio=False, visual=True), vocabulary, {"visual": 1}
    )
    assert not silent["audio"].any()


def test_valors_thresholds_are_for_names_of_llp_its_teachers_and_the_fixed_rule() -> None:
    dog = read_vocabulary(["dog", "Vacuum cleaner"], name="fixed")
    found = with_valor_thresholds(dog, ["clap", "clip"])
    assert found.origin == "valor"
    assert found.scale == "logits"
    assert found.labels == ("dog", "Vacuum cleaner")
    assert found.classes[1].seen == ("A photo of a vaccum cleaner.",)
    assert found.logit_thresholds("visual") == [14, 15]
    assert found.thresholds("visual") == [0.5, 0.5]
    for other in (
        read_vocabulary(["dog", "elephant"], name="fixed"),
        read_vocabulary(["dog"], name="av2a"),
        read_vocabulary(["dog"], name="fixed").with_thresholds({"audio": [0.5]}),
    ):
        assert with_valor_thresholds(other, ["clap", "clip"]) is other
    assert with_valor_thresholds(dog, ["clip_b32", "clap"]) is dog


def test_logits_need_teachers_with_a_scale(run: Run, bundle: Path, film: Path, tmp_path: Path) -> None:
    path = tmp_path / "classes.toml"
    path.write_text(
        'scale = "logits"\n[rule]\nname = "fixed"\n[[class]]\nlabel = "red"\nseen_threshold = 5\nheard = false'
    )
    result = run("parse", film, "--weights", bundle, *TRUST, "--classes", f"@{path}")
    assert result.status == 2
    assert "thresholds are of logits, and extractor pitches has no number `logit_scale`" in result.err


def test_logits_of_random_parameters(run: Run, film: Path, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "tiny")
    path = tmp_path / "classes.toml"
    path.write_text("[[class]]\nlabel = 'a'\nseen_threshold = -20\nheard_threshold = 20\n")
    options = ("--weights", tmp_path / "tiny", "--classes", f"@{path}", "--rule", "fixed")
    result = run("parse", film, *options, "-o", tmp_path / "e.json")
    assert result.status == 0, result.err
    timeline = json.loads((tmp_path / "e.json").read_text())
    assert [(e["modality"], e["onset"], e["offset"]) for e in timeline["events"]] == [("visual", 0, 4)]
    about = timeline["provenance"]["open_vocabulary"]
    assert about["scale"] == "logits"
    assert about["logit_thresholds"] == {"visual": [-20], "audio": [20]}


def test_the_scale_of_logits_is_that_of_the_files(tmp_path: Path) -> None:
    """A picture in the direction of its sentence has the cosine 1, and the logit 10; a sound 5."""
    classes = (
        'scale = "logits"\n[rule]\nname = "fixed"\n[[class]]\nlabel = "a"\nseen_threshold = 9\nheard_threshold = 5'
    )
    folder = write_open_bundle(tmp_path / "tiny", classes=classes)
    network = load_networks(str(folder), device="cpu").parser
    assert isinstance(network, OpenVocabulary)
    found = network.predict([network.texts[name][:1] for name in ("audio", "visual")])
    assert found.visual == pytest.approx(np.array([[1 / (1 + np.exp(9 - LOGIT_SCALE))]]), abs=1e-3)
    assert found.audio == pytest.approx(np.array([[0.5]]), abs=1e-3)


def test_what_scores_of_logits_are_is_said_on_the_page() -> None:
    vocabulary = with_valor_thresholds(read_vocabulary(["dog"], name="fixed"), ["clap", "clip"])
    network = make_network(vocabulary, logit_scales={"audio": 1, "visual": 1})
    provenance = {
        "bundle": "open",
        "thresholds": {"audio_segment": 0.5},
        "open_vocabulary": network.describe(levels(vocabulary)),
    }
    said = summarize(provenance)
    assert said.startswith("Parsed with the bundle open, rule fixed, threshold 0.50 (valor).")
    assert said.endswith("Scores say how far the logit of a class is above its threshold; they are no probabilities.")


def test_other_classes_have_none_of_the_thresholds_of_the_list() -> None:
    vocabulary = with_valor_thresholds(read_vocabulary(["dog"], name="fixed"), ["clap", "clip"])
    other = vocabulary.with_classes(read_vocabulary("a").classes)
    assert (other.scale, other.origin, other.thresholds("audio")) == ("relative", "default", [0.9])
    calibrated = read_vocabulary("a").with_thresholds({"audio": [0.5]}, "calibrated")
    assert calibrated.with_classes(other.classes).calibrated_with == {}
