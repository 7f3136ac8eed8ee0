"""What must not go: corrections, uploads of jobs that the journal cannot name, connections for other people."""

from __future__ import annotations

import json
import resource
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from avvp.pipeline.outputs.formats.events_json import to_json
from avvp.pipeline.serve import server as server_module
from avvp.pipeline.serve.jobs.job_queue import JobQueue
from avvp.pipeline.serve.jobs.limits import MAX_VERSIONS
from avvp.pipeline.serve.jobs.media_folder import MediaFolder
from avvp.pipeline.serve.jobs.timeline_store import TimelineStore
from avvp.pipeline.serve.jobs.uploads import _Receiver
from support.serve import Running, make_timeline, running, wait_for

ID = "0123456789abcdef"


def correct(server: Running, address: str, version: int, by: str = "") -> Any:
    document = json.loads(to_json(make_timeline("a.mp4", 1)))
    document["processing"] = [{"step": "correct", "edits": 1, **({"by": by} if by else {})}]
    return server.client.put(address, json=document, headers={"if-match": f'"{version}"'})


def test_the_newest_hundred_versions_stay(tmp_path: Path) -> None:
    store = TimelineStore(tmp_path / "timelines", tmp_path / "events")
    store.first_version(ID).write_bytes(to_json(make_timeline("a.mp4")))
    store.add_first(ID, "a.mp4", 2)
    content = to_json(make_timeline("a.mp4", 1))
    for number in range(1, MAX_VERSIONS + 20):
        store.save(ID, content, name="a.mp4", expected=number, author="Ada")
        kept = [version.number for version in store.history(ID)]
        newest = number + 1
        assert kept == [1, *range(max(2, newest - MAX_VERSIONS + 2), newest + 1)]


def test_the_history_names_who_saved_a_version(server: Running) -> None:
    address = server.done(server.post("a.mp4"))["timeline"]
    assert correct(server, address, 1, by="Ada").status_code == 200
    assert correct(server, address, 2).status_code == 200  # by somebody who gave no name
    assert server.client.post(f"{address}/history/2", headers={"if-match": '"3"'}).status_code == 200
    authors = [version["author"] for version in server.client.get(f"{address}/history").json()["versions"]]
    assert authors == ["127.0.0.1", "127.0.0.1", "Ada", "avvp"]


def test_a_journal_that_cannot_be_read_removes_nothing(tmp_path: Path, media: Path) -> None:
    """A line of another version of the program: its upload stays, and the line too."""
    results = tmp_path / "results"
    with running(results, media) as first:
        job = first.done(first.send("sent.mp4"))
    (journal,) = (results / "jobs").iterdir()
    journal.write_bytes(journal.read_bytes().replace(b'"status"', b'"state"'))
    upload = results / "uploads" / job["id"] / "sent.mp4"
    for _ in range(2):
        with running(results, media) as server:
            assert server.desk.unreadable > 0
            assert server.client.get("/jobs").json()["jobs"] == []
        assert upload.read_bytes() == b"media"
        assert (results / "timelines" / job["id"] / "000001.json").is_file()
        assert any(b'"state"' in path.read_bytes() for path in (results / "jobs").iterdir())


def test_corrections_outlive_a_damaged_line_of_the_journal(tmp_path: Path, media: Path) -> None:
    """The line "done" is lost, so the journal says that the job runs: it is not run again over its corrections."""
    results = tmp_path / "results"
    with running(results, media) as first:
        job = first.done(first.post("a.mp4"))
        assert correct(first, job["timeline"], 1, by="Ada").status_code == 200
    (journal,) = (results / "jobs").iterdir()
    lines = [line for line in journal.read_bytes().splitlines(keepends=True) if b'"done"' not in line]
    journal.write_bytes(b"".join(lines))
    with running(results, media) as server:
        found = server.client.get(f"/jobs/{job['id']}").json()
        assert (found["status"], found["duration"]) == ("done", 10.0)
        assert server.client.get(job["timeline"]).headers["etag"] == '"2"'
        assert server.engine.parsed == []


def test_what_is_left_of_removed_timelines_goes(tmp_path: Path, media: Path) -> None:
    """After a kill between the line of the journal and the removal of the files."""
    results = tmp_path / "results"
    with running(results, media) as first, pytest.MonkeyPatch.context() as patch:
        job = first.done(first.post("a.mp4"))
        kept = first.done(first.post("b.wav"))
        patch.setattr(first.desk.queue, "_forget", lambda _: None)
        removed = first.client.delete(job["timeline"], headers={"if-match": '"1"'})
        assert removed.status_code == 204
    assert len(list((results / "events").iterdir())) == 2
    with running(results, media):
        assert [path.name for path in (results / "events").iterdir()] == [f"b-{kept['id']}.events.json"]
        assert [path.name for path in (results / "timelines").iterdir()] == [kept["id"]]


def test_a_cancelled_job_is_not_run_again(tmp_path: Path, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path / "results", media) as first:
        job = wait_for(first.client, first.post("slow.mp4").json()["id"], {"running"})
        with monkeypatch.context() as patch:  # the server ends before the engine has stopped
            patch.setattr(JobQueue, "is_cancelled", lambda queue, _: queue.is_closed)
            assert first.client.delete(f"/jobs/{job['id']}").status_code == 202
            first.desk.queue.close()
            first.desk._thread.join()
    with running(tmp_path / "results", media) as second:
        assert second.client.get(f"/jobs/{job['id']}").json()["status"] == "cancelled"


def test_a_full_disk_leaves_nothing_of_a_file(tmp_path: Path) -> None:
    """Also where the buffer of the file cannot be written when it is closed."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        with pytest.raises(Exception, match="cannot be stored"), _Receiver(tmp_path / ID, 1 << 20) as receiver:
            receiver.begin("a.mp4")
            for _ in range(100):
                receiver.write(b"x" * 1460)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not (tmp_path / ID).exists()


def test_connections_without_a_request_are_closed(tmp_path: Path, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "FIRST_REQUEST_SECONDS", 0.2)
    with running(tmp_path / "results", media) as server:
        address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        with socket.create_connection(address) as silent, socket.create_connection(address) as slow:
            slow.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
            began = time.monotonic()
            for connection in (silent, slow):
                connection.settimeout(5)
                assert connection.recv(10) == b""
            assert time.monotonic() - began < 3
        assert server.client.get("/jobs").status_code == 200


def test_requests_whose_body_does_not_arrive_are_given_up(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avvp.pipeline.serve.answers.UPLOAD_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as connection:
        host = server.url.removeprefix("http://")
        connection.sendall(f"POST /login HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\ntoken=".encode())
        connection.settimeout(5)
        assert b" 408 " in connection.recv(100)


@pytest.mark.parametrize("form", ["&".join("a" * 9), "token=x&" * 9])
def test_forms_with_many_fields_are_no_token(server: Running, form: str) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert server.client.post("/login", content=form, headers=headers).status_code == 403


@pytest.mark.parametrize("value", ["/data/local-files/?d=", "/data/local-files/", "/data/local-files/?d=x" + "&a" * 8])
def test_a_task_that_names_no_file_gets_no_events(server: Running, value: str) -> None:
    server.done(server.send("other.mp4"))
    tasks = [{"id": 1, "data": {"video": value}}, {"id": 2, "data": {"video": "a.mp4"}}]
    first, second = server.client.post("/predict", json={"tasks": tasks}).json()["results"]
    assert (first["result"], "local-files" in first["error"]) == ([], True)
    assert len(second["result"]) == 2


def test_a_proxy_with_https_makes_the_cookie_secure(tmp_path: Path) -> None:
    token = "a-token-of-sixteen-characters"  # noqa: S105
    with running(tmp_path / "results", token=token) as server:
        for headers, secure in (({"x-forwarded-proto": "https"}, True), ({}, False)):
            cookie = server.client.post("/login", data={"token": token}, headers=headers).headers["set-cookie"]
            assert ("secure" in cookie.lower()) == secure


def test_results_beside_the_media_are_not_listed(tmp_path: Path) -> None:
    """`avvp serve videos -o videos`: the media are there, what the server keeps is not."""
    for name in ("a.mp4", "uploads/x/b.mp4", "more/c.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"media")
    for media in (tmp_path, tmp_path / "more"):
        folder = MediaFolder(media, without=[tmp_path / "uploads"])
        names = folder.list().names
        assert names == (("a.mp4", "more/c.mp4") if media == tmp_path else ("c.mp4",))
        assert all(folder.find(name).is_file() for name in names)
