"""Timelines on the server: corrections, history, two people at the same time, full disks, kills."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from avvp.pipeline.errors import OutputError
from avvp.pipeline.outputs.formats.events_json import to_json
from avvp.pipeline.serve.jobs import timeline_store
from avvp.pipeline.serve.jobs.timeline_store import (
    ConflictError,
    InvalidTimelineError,
    TimelineStore,
    UnknownTimelineError,
)
from support.serve import Running, make_timeline, running

ID = "0123456789abcdef"


def correct(server: Running, address: str, events: int, version: str, by: str = "") -> Any:
    """Save a timeline with as many events, as corrected by somebody."""
    document = json.loads(to_json(make_timeline("a.mp4", events)))
    if by:
        document["processing"] = [{"step": "correct", "edits": 1, "by": by, "at": "2026-01-01T00:00:00Z"}]
    return server.client.put(address, json=document, headers={"if-match": f'"{version}"'})


@pytest.fixture
def address(server: Running) -> str:
    return server.done(server.post("a.mp4"))["timeline"]


def test_a_correction_is_a_new_version(server: Running, address: str, tmp_path: Path) -> None:
    saved = correct(server, address, 5, "1", by="Ada")
    assert (saved.status_code, saved.json(), saved.headers["etag"]) == (200, {"version": "2"}, '"2"')
    assert len(server.client.get(address).json()["events"]) == 5
    (entry,) = server.client.get("/timelines").json()["timelines"]
    assert (entry["version"], entry["author"], entry["events"], entry["name"]) == (2, "Ada", 5, "a.mp4")
    folder = tmp_path / "results" / address.lstrip("/")
    (current,) = (tmp_path / "results" / "events").iterdir()
    assert current.name == f"a-{folder.name}.events.json"
    assert current.read_bytes() == (folder / "000002.json").read_bytes() != (folder / "000001.json").read_bytes()


def test_the_history_is_listed_read_and_restored(server: Running, address: str) -> None:
    correct(server, address, 5, "1", by="Ada")
    correct(server, address, 0, "2", by="Ben <b>")
    versions = server.client.get(f"{address}/history").json()["versions"]
    assert [(v["version"], v["author"], v["events"]) for v in versions] == [
        ("3", "Ben <b>", 0),
        ("2", "Ada", 5),
        ("1", "avvp", 2),
    ]
    assert len(server.client.get(f"{address}/history/2").json()["events"]) == 5
    assert server.client.get(f"{address}/history/9").status_code == 404
    assert server.client.get(f"{address}/history/x").status_code == 422
    restore = f"{address}/history/2"
    assert server.client.post(restore).status_code == 428
    assert server.client.post(restore, headers={"if-match": '"2"'}).status_code == 412
    assert server.client.post(restore, headers={"if-match": '"3"'}).json() == {"version": "4"}
    assert len(server.client.get(address).json()["events"]) == 5


def test_the_second_of_two_savers_is_told_who_was_first(server: Running, address: str) -> None:
    assert correct(server, address, 5, "1", by="Ada").status_code == 200
    late = correct(server, address, 1, "1", by="Ben")
    assert late.status_code == 412
    assert late.json()["version"] == "2"
    assert "version 2 was saved by Ada at " in late.json()["detail"]
    assert len(server.client.get(address).json()["events"]) == 5


def test_of_many_savers_at_the_same_moment_one_is_first(server: Running, address: str) -> None:
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(correct(server, address, 3, "1").status_code)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [412] * 7
    assert len(server.client.get(f"{address}/history").json()["versions"]) == 2


@pytest.mark.parametrize(
    ("header", "status"), [(None, 428), ("*", 412), ('"x"', 412), ("", 412), ('"9"', 412), ('W/"1"', 200), ("1", 200)]
)
def test_the_version_must_be_named(server: Running, address: str, header: str | None, status: int) -> None:
    headers = {} if header is None else {"if-match": header}
    document = json.loads(to_json(make_timeline("a.mp4")))
    assert server.client.put(address, json=document, headers=headers).status_code == status


EVENT = {"modality": "audio", "label": "Dog", "onset": 0, "offset": 1, "score": 0.5}
DOCUMENTS: dict[str, bytes] = {
    "nothing": b"", "no JSON": b"{", "a list": b"[]", "no events": b"{}", "not UTF-8": b"\xff\xfe\xfa",
    "a key twice": b'{"events": [], "events": []}', "deep": b'{"events": ' + b"[" * 9000,
    "NaN": b'{"events": [], "media": {"duration": NaN}}',
    "too many events": json.dumps({"events": [EVENT] * 100_001}).encode(),
    "backwards": json.dumps({"events": [{**EVENT, "offset": -1}]}).encode(),
    "another modality": json.dumps({"events": [{**EVENT, "modality": "smell"}]}).encode(),
    "years": json.dumps({"events": [{**EVENT, "offset": 1e12}]}).encode(),
    "a long label": json.dumps({"events": [{**EVENT, "label": "x" * 2000}]}).encode(),
    "a path": json.dumps({"events": [], "media": {"path": "x" * 9000}}).encode(),
}  # fmt: skip


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_what_is_not_a_timeline_is_not_saved(server: Running, address: str, kind: str) -> None:
    before = server.client.get(address).content
    response = server.client.put(address, content=DOCUMENTS[kind], headers={"if-match": '"1"'})
    assert response.status_code == 422, response.text
    assert len(response.json()["detail"]) < 600
    assert "\n" not in response.json()["detail"]
    assert server.client.get(address).content == before


def test_documents_that_are_too_large_are_refused(
    server: Running, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avvp.pipeline.serve.timeline_routes.MAX_TIMELINE_BYTES", 1000)
    response = server.client.put(address, content=b" " * 1001, headers={"if-match": '"1"'})
    assert response.status_code == 413
    chunks = iter([b" " * 600, b" " * 600])
    assert server.client.put(address, content=chunks, headers={"if-match": '"1"'}).status_code == 413


@pytest.mark.parametrize("name", ["x", "..%2f..", "%2e%2e", "0" * 15, "0" * 17, "0123456789ABCDEF", "0" * 16])
def test_unknown_timelines(server: Running, address: str, name: str) -> None:
    assert address
    for path in (
        f"/timelines/{name}",
        f"/timelines/{name}/history",
        f"/timelines/{name}/page",
        f"/timelines/{name}/media",
    ):
        assert server.client.get(path).status_code in {404, 405}
    assert correct(server, f"/timelines/{name}", 1, "1").status_code in {404, 405}


def test_a_timeline_is_removed_with_its_upload_and_stays_removed(tmp_path: Path) -> None:
    with running(tmp_path / "results") as server:
        job = server.done(server.send("a.mp4"))
        correct(server, job["timeline"], 1, "1")
        assert server.client.delete(job["timeline"]).status_code == 428
        assert server.client.delete(job["timeline"], headers={"if-match": '"1"'}).status_code == 412
        assert server.client.delete(job["timeline"], headers={"if-match": '"2"'}).status_code == 204
        assert not [path for path in (tmp_path / "results").rglob("*") if job["id"] in path.name]
    with running(tmp_path / "results") as server:
        assert server.client.get("/timelines").json() == {"timelines": []}
        assert server.client.get(job["timeline"]).status_code == 404


@pytest.fixture
def store(tmp_path: Path) -> TimelineStore:
    made = TimelineStore(tmp_path / "timelines", tmp_path / "events")
    made.first_version(ID).write_bytes(to_json(make_timeline("a.mp4")))
    made.add_first(ID, "a.mp4", 2)
    return made


def save(store: TimelineStore, events: int, *, expected: int) -> int:
    return store.save(ID, content(events), name="a.mp4", expected=expected, author="Ada")


def published(store: TimelineStore) -> bytes:
    return (store.folder(ID).parents[1] / "events" / f"a-{ID}.events.json").read_bytes()


def content(events: int) -> bytes:
    return to_json(make_timeline("a.mp4", events))


def test_old_versions_go_but_the_first_one_stays(store: TimelineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline_store, "MAX_VERSIONS", 3)
    for number in range(1, 7):
        assert save(store, number, expected=number) == number + 1
    assert [version.number for version in store.history(ID)] == [1, 6, 7]
    assert len(list(store.folder(ID).glob("0*.json"))) == 3


@pytest.mark.parametrize("full", ["finish_part", "create_part"])
def test_a_full_disk_saves_nothing(store: TimelineStore, monkeypatch: pytest.MonkeyPatch, full: str) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = {path.name: path.read_bytes() for path in store.folder(ID).iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(f"avvp.pipeline.files.{full}", refuse)
        with pytest.raises(OutputError, match="No space left"):
            save(store, 5, expected=1)
    assert {path.name: path.read_bytes() for path in store.folder(ID).iterdir()} == before
    assert save(store, 5, expected=1) == 2


def test_a_kill_between_the_version_and_its_name_loses_nothing(
    store: TimelineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows the rename of the version is repeated at the next start."""

    class KilledError(BaseException):
        pass

    def kill(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(timeline_store, "_write_versions", kill)
        with pytest.raises(KilledError):
            save(store, 5, expected=1)
    (store.folder(ID) / ".avvp-x.part").write_bytes(b"half")
    assert published(store) == content(2)
    store.repair({ID: "a.mp4"}, complete=True)
    assert published(store) == content(5)
    assert [(version.number, version.events) for version in store.history(ID)] == [(1, 2), (2, -1)]
    assert not list(store.folder(ID).glob(".avvp*"))
    with pytest.raises(ConflictError):
        save(store, 1, expected=1)


def test_without_hard_links_the_current_version_is_copied(
    store: TimelineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    save(store, 5, expected=1)
    assert published(store) == content(5)


def test_damaged_files_are_named_without_a_traceback(store: TimelineStore) -> None:
    (store.folder(ID) / "versions.json").write_bytes(b"[" * 100_000)
    assert [version.events for version in store.history(ID)] == [-1]
    (store.folder(ID) / "000001.json").write_bytes(b"{}")
    with pytest.raises(InvalidTimelineError):
        store.read(store.current(ID)[1])
    for name in ("..", "x", "0" * 16):
        with pytest.raises(UnknownTimelineError):
            store.current(name)
