"""Servers that find any classes: those that they were started with, and those of a request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from avvp.pipeline.open_vocabulary.classes import read_vocabulary
from avvp.pipeline.serve.jobs.engine import Engine
from avvp.pipeline.serve.jobs.job import Job, new_id
from avvp.pipeline.serve.jobs.limits import MAX_CLASS_CHARACTERS, MAX_CLASSES
from avvp.weights.remote.bundles import load_bundle
from playwright.sync_api import Browser
from support.command import Result
from support.pages import open_page
from support.paths import ROOT
from support.serve import SETTINGS, Running, running
from support.stand_in_teachers import TRUST, make_film, write_stand_ins

VOCABULARY = read_vocabulary(["red", "Dog, barking"]).to_dict()


@pytest.fixture
def any_classes(tmp_path: Path, media: Path) -> Iterator[Running]:
    """A server that finds any classes, with an engine that finds none."""
    with running(tmp_path / "results", media, vocabulary=VOCABULARY) as opened:
        yield opened


def test_a_request_may_name_classes(any_classes: Running) -> None:
    client, engine = any_classes.client, any_classes.engine
    answers = [
        client.post("/parse", json={"path": "a.mp4"}),
        client.post("/parse", json={"path": "a.mp4", "classes": "applause , glass breaking,"}),
        client.post("/parse", json={"path": "a.mp4", "classes": ["rain, heavy"]}),
        client.post("/parse", files={"file": ("b.mp4", b"media")}, data={"classes": "applause"}),
        client.post("/parse", files={"file": ("b.mp4", b"media"), "classes": (None, "thunder")}),
        client.post("/parse", files={"file": ("b.mp4", b"media")}, data={"classes": " "}),
    ]
    jobs = [any_classes.done(answer) for answer in answers]
    expected = [(), ("applause", "glass breaking"), ("rain, heavy",), ("applause",), ("thunder",), ()]
    assert engine.classes == expected
    assert [tuple(job["classes"] or ()) for job in jobs] == expected
    assert client.get("/state").json()["classes"] == ["red", "Dog, barking"]


@pytest.mark.parametrize(
    ("classes", "cause"),
    [
        ("@/etc/passwd", "files of classes are for --classes"),
        ("red, RED", "is named twice"),
        (["a\nb"], "cannot be the name of a class"),
        ([3], "expected"),
        ({"a": 1}, "expected"),
        (["a"] * (MAX_CLASSES + 1), "201 classes are more than 200"),
        (["a" * (MAX_CLASS_CHARACTERS + 1)], "a class has more than 200 characters"),
        ([], "name at least one class"),
    ],
)
def test_classes_of_strangers_are_names(any_classes: Running, classes: Any, cause: str) -> None:
    answer = any_classes.client.post("/parse", json={"path": "a.mp4", "classes": classes})
    assert (answer.status_code, cause in answer.json()["detail"]) == (422, True), answer.text


def test_a_file_with_classes_that_cannot_be_leaves_nothing(any_classes: Running, tmp_path: Path) -> None:
    send = any_classes.client.post
    for fields in ({"classes": "@secret.txt"}, {"classes": ["a", "b"]}, {"other": "a"}):
        assert send("/parse", files={"file": ("b.mp4", b"media")}, data=fields).status_code == 422
    after = send("/parse", files=[("file", ("b.mp4", b"media")), ("classes", (None, "@secret.txt"))])
    assert after.status_code == 422
    assert any_classes.client.get("/jobs").json()["jobs"] == []
    assert [path for path in (tmp_path / "results" / "uploads").rglob("*") if path.is_file()] == []


def test_a_server_with_trained_networks_refuses_classes(server: Running) -> None:
    answer = server.client.post("/parse", json={"path": "a.mp4", "classes": "red"})
    assert (answer.status_code, "trained on" in answer.json()["detail"]) == (422, True)
    assert server.client.get("/state").json()["classes"] is None


def test_label_studio_gets_the_classes_of_the_server(any_classes: Running) -> None:
    any_classes.done(any_classes.client.post("/parse", json={"path": "a.mp4", "classes": "other"}))
    task = {"data": {"video": "/data/local-files/?d=a.mp4"}}
    any_classes.client.post("/predict", json={"tasks": [task]})
    any_classes.client.post("/predict", json={"tasks": [task]})
    assert any_classes.engine.classes == [("other",), ()]


def test_jobs_of_earlier_versions_have_no_classes() -> None:
    job = Job(id=new_id(), name="a", source="folder", path="a", size=1, mtime_ns=1, created=1.0, classes=("a", "b"))
    assert Job.from_line(job.to_line()) == job
    earlier = {name: value for name, value in asdict(job).items() if name != "classes"}
    assert Job.from_line(json.dumps(earlier).encode()) == replace(job, classes=())
    for classes in (["a"] * (MAX_CLASSES + 1), "a", [1]):
        with pytest.raises(ValueError):
            Job.from_line(json.dumps({**asdict(job), "classes": classes}).encode())


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_ins(tmp_path_factory.mktemp("open") / "stand-ins")


def test_the_engine_finds_the_classes_of_each_request(
    stand_ins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    film = make_film(tmp_path / "film.mp4", [("red", "low tone", 3), ("blue", "high tone", 3)])
    vocabulary = read_vocabulary(["red"], name="fixed").to_dict()
    engine = Engine(
        replace(SETTINGS, weights=str(stand_ins), threads=1, threshold=None, trust=(TRUST[1],), vocabulary=vocabulary)
    )
    found: list[set[tuple[str, str, float]]] = []
    try:
        for classes in ((), ("blue", "low tone"), (), ("elephant",)):
            target = tmp_path / "out.json"
            engine.parse(
                film, "film.mp4", target, report=lambda _: None, is_stopped=lambda: False, seconds=60, classes=classes
            )
            document = json.loads(target.read_bytes())
            found.append({(event["modality"], event["label"], event["onset"]) for event in document["events"]})
            assert document["provenance"]["open_vocabulary"]["rule"]["name"] == "fixed"
    finally:
        engine.close()
    red = {("visual", "red", 0)}
    assert found == [red, {("visual", "blue", 3), ("audio", "low tone", 0)}, red, set()]


def test_the_command_passes_its_classes_on(
    run: Callable[..., Result], stand_ins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Any] = []
    monkeypatch.setattr("avvp.pipeline.serve.server.serve", lambda _socket, *settings, **_: served.append(settings))
    monkeypatch.chdir(tmp_path)
    with_classes = ("--classes", "red, blue", "--rule", "fixed", "--background", "none")
    result = run("serve", "--port", 0, "--weights", stand_ins, *TRUST, *with_classes)
    assert result.status == 0, result.err
    engine = served[0][1].engine
    assert engine.weights == str(stand_ins)
    bundle = load_bundle(str(stand_ins))
    assert engine.vocabulary == read_vocabulary("red, blue", background="none", name="fixed").to_dict()
    assert bundle.is_open
    assert run("serve", "--port", 0, "--weights", "demo", "--classes", "red").status == 2
    without = run("serve", "--port", 0, "--weights", stand_ins, *TRUST)
    assert without.status == 2
    assert "finds the classes that you name" in without.err


@pytest.mark.browser
def test_the_start_page_asks_for_classes(any_classes: Running, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "mine.mp4").write_bytes(b"media")
    opened = open_page(browser, any_classes.url)
    field = opened.page.get_by_label("Classes to find, by their names")
    opened.until("!document.getElementById('classes-part').hidden")
    assert field.input_value() == "red, Dog, barking"
    opened.page.get_by_label("Choose files…").set_input_files(tmp_path / "mine.mp4")
    opened.until("document.getElementById('said').textContent.includes('2 events')")
    field.fill("applause, rain")
    opened.page.get_by_label("Choose files…").set_input_files(tmp_path / "mine.mp4")
    opened.page.get_by_role("button", name="Parse a.mp4").click()
    opened.until("document.querySelectorAll('#timelines tbody tr').length === 3")
    opened.page.get_by_role("button", name="Back to those of the server").click()
    assert field.input_value() == "red, Dog, barking"
    field.fill("x" * 300)
    opened.page.get_by_role("button", name="Parse a.mp4").click()
    opened.until("document.getElementById('jobs').textContent.includes('more than 200 characters')")
    opened.complaints.clear()  # the browser complains of the answer 422
    asked = ("applause", "rain")
    assert sorted(any_classes.engine.classes) == [(), asked, asked]
    opened.page.context.close()
