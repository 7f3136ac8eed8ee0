"""The ML backend of Label Studio: predictions of files that are here or there, and of nothing else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from avvp.pipeline.errors import SetupError
from avvp.pipeline.outputs.formats.registry import FORMATS
from avvp.pipeline.serve import label_studio
from avvp.pipeline.serve.label_studio_media import LabelStudioHost, MediaAddressError, find_media
from support.serve import Running, make_timeline, running

HOST = LabelStudioHost.parse("http://labels.example:8080")
CONFIG = FORMATS["label-studio"].write(make_timeline("a.mp4"))[1].decode()


class FakeLabelStudio:
    """Serves media, and a redirect. `asked` holds the path and the key of each request."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.asked.append((self.path, self.headers.get("Authorization")))
                if self.path.startswith("/data/away"):
                    self.send_response(302)
                    self.send_header("Location", "http://127.0.0.1:1/secret")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                body = b"media" + bytes(2 << 20 if "large" in self.path else 10)
                self.send_response(404 if "lost" in self.path else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def studio() -> Iterator[FakeLabelStudio]:
    made = FakeLabelStudio()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def backend(tmp_path: Path, media: Path, studio: FakeLabelStudio) -> Iterator[Running]:
    host = LabelStudioHost.parse(studio.url, "key-of-a-user")
    with running(tmp_path / "results", media, label_studio=host) as server:
        yield server


def predict(server: Running, *values: Any) -> Any:
    """Send the request of Label Studio for tasks with these videos."""
    tasks = [{"id": number, "data": {"video": value}} for number, value in enumerate(values)]
    body = {"tasks": tasks, "project": "1.1700000000", "label_config": CONFIG, "params": {"login": None}}
    return server.client.post("/predict", json=body)


def test_health_and_setup(server: Running) -> None:
    assert server.client.get("/health").json()["status"] == "UP"
    setup = {"project": "1.17", "schema": CONFIG, "hostname": "http://169.254.169.254", "access_token": "x"}
    assert server.client.post("/setup", json=setup).json() == {"model_version": "fake-1"}


def test_predictions_are_those_of_the_format(server: Running) -> None:
    response = predict(server, "/data/local-files/?d=day%20two/c.mkv", "a.mp4")
    assert response.status_code == 200
    first, second = response.json()["results"]
    assert [region["value"]["labels"] for region in first["result"]] == [["Dog"], ["Dog"]]
    assert [(r["value"]["start"], r["value"]["end"]) for r in second["result"]] == [(0.0, 0.5), (1.0, 1.5)]
    assert {(r["from_name"], r["to_name"], r["type"]) for r in second["result"]} == {("audio", "sound", "labels")}
    assert (second["score"], second["model_version"]) == (0.75, "fake-1")
    assert 'name="sound"' in CONFIG  # the interface that these regions belong to


def test_a_file_is_parsed_once_and_its_corrections_count(server: Running) -> None:
    predict(server, "a.mp4")
    (job,) = server.client.get("/jobs").json()["jobs"]
    document = server.client.get(job["timeline"]).json()
    document["events"] = document["events"][:1]
    assert server.client.put(job["timeline"], json=document, headers={"if-match": '"1"'}).status_code == 200
    (result,) = predict(server, "a.mp4").json()["results"]
    assert len(result["result"]) == 1
    assert server.engine.parsed == ["a.mp4"]


def test_media_are_fetched_from_label_studio_once_with_its_key(backend: Running, studio: FakeLabelStudio) -> None:
    value = "/data/upload/3/0a1b2c3d-dog%20in%20the%20park.mp4"
    for address in (value, studio.url + value):
        assert len(predict(backend, address).json()["results"][0]["result"]) == 2
    assert studio.asked == [(value, "Token key-of-a-user")]
    assert backend.engine.parsed == ["0a1b2c3d-dog in the park.mp4"]


def test_local_files_that_are_not_here_are_fetched(backend: Running, studio: FakeLabelStudio) -> None:
    assert predict(backend, "/data/local-files/?d=elsewhere/dog.mp4").status_code == 200
    assert studio.asked == [("/data/local-files/?d=elsewhere/dog.mp4", "Token key-of-a-user")]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("/data/away.mp4", "answers 302"), ("/data/lost.mp4", "answers 404"), ("/data/large.mp4", "larger than 1 MiB"),
        ("broken.mp4", "is not a media file"), ("../secret.mp4", "leads out"), ("missing.mp4", "no such file"),
        ("http://169.254.169.254/latest/meta-data", "neither"), ("file:///etc/passwd", "neither"),
        ("gopher://127.0.0.1/", "neither"), ("s3://bucket/a.mp4", "neither"), ("//evil.example/a.mp4", "neither"),
        ("", "neither"), (7, "neither"), (None, "neither"), ("x" * 5000, "neither"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_an_error_that_says_why(backend: Running, value: Any, reason: str) -> None:
    response = predict(backend, value)
    assert response.status_code == 422
    assert reason in response.json()["detail"]
    first, second = predict(backend, value, "a.mp4").json()["results"]
    assert reason in first["error"]
    assert first["result"] == []
    assert len(second["result"]) == 2


@pytest.mark.parametrize(
    "value",
    [
        "http://evil.example/a.mp4", "http://labels.example:8081/a.mp4", "https://labels.example:8080/a.mp4",
        "http://labels.example:8080@evil.example/a.mp4", "http://user:x@labels.example:8080/a.mp4",
        "http://labels.example:8080.evil.example/a.mp4", "http://evil.example#@labels.example:8080/a.mp4",
        "http://evil.example\\@labels.example:8080/a.mp4", "http://[::1]/a.mp4", "http://[/a.mp4", "http:///a.mp4",
        "http://labels.example:99999/", "HTTP://EVIL.EXAMPLE/", "javascript:alert(1)", "http://labels.example/a.mp4",
        "\nhttp://evil.example/", "/\\evil.example/a.mp4\\..\\http://",
    ],
)  # fmt: skip
def test_addresses_elsewhere_never_become_addresses_of_others(value: str) -> None:
    """What is fetched begins with the host of --label-studio, or nothing is."""
    try:
        url = find_media({"data": {"video": value}}, HOST).url
    except MediaAddressError:
        return
    assert url == "" or url.startswith("http://labels.example:8080/")


def test_addresses_of_label_studio() -> None:
    found = find_media({"data": {"video": "http://LABELS.example:8080/data/a%20b.mp4?x=1#t"}}, HOST)
    assert found.url == "http://labels.example:8080/data/a%20b.mp4?x=1"
    assert find_media({"data": {"sound": "/data/\r\nevil: 1/a.mp4"}}, HOST).url.isprintable()
    with pytest.raises(MediaAddressError, match="neither"):
        find_media({"data": {"a": "x.mp4", "b": "y.mp4"}}, HOST)
    for url in ("labels.example", "ftp://labels.example", "http://", "http://u:p@x", "http://x:99999", "http://["):
        with pytest.raises(SetupError, match="--label-studio"):
            LabelStudioHost.parse(url)


def test_without_label_studio_nothing_is_fetched(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", refuse)
        with pytest.raises(MediaAddressError):
            find_media({"data": {"video": "http://evil.example/a.mp4"}}, None)
    assert predict(server, "/data/upload/1/a.mp4").status_code == 422


def test_a_job_that_takes_too_long_is_asked_for_again(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_studio, "MAX_TASK_SECONDS", 0.1)
    response = predict(server, "slow.mp4")
    assert (response.status_code, response.headers["retry-after"]) == (503, "10")
    assert response.json()["detail"] == "slow.mp4 is not parsed yet; ask again"
    server.engine.release.set()
    monkeypatch.setattr(label_studio, "MAX_TASK_SECONDS", 10)
    assert len(predict(server, "slow.mp4").json()["results"][0]["result"]) == 2
    assert server.engine.parsed == ["slow.mp4"]


@pytest.mark.parametrize("tasks", [None, {}, "x", [{}] * 51])
def test_requests_that_are_not_label_studios(server: Running, tasks: Any) -> None:
    assert server.client.post("/predict", json={"tasks": tasks}).status_code == 400
    assert server.client.post("/predict", json={"tasks": []}).json()["results"] == []
    for task in (None, 7, [], {"data": 7}, {"data": {}}):
        assert server.client.post("/predict", json={"tasks": [task]}).status_code == 422
