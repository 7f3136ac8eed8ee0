"""Jobs through the API: sent and named files, progress, cancel, limits, and what a restart keeps."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from avvp.pipeline.errors import OutputError, SetupError
from avvp.pipeline.serve.jobs import job_queue, uploads
from avvp.pipeline.serve.jobs.job import Job
from avvp.pipeline.serve.jobs.limits import MAX_STARTS
from avvp.pipeline.serve.jobs.uploads import clean_name
from support.serve import Running, running, wait_for

LISTED = ["a.mp4", "b.wav", "broken.mp4", "day two/c.mkv", "slow.mp4", "slower.mp4"]


FORM = {"content-type": "multipart/form-data; boundary=x"}


def post_name(server: Running, name: object) -> httpx.Response:
    """Name a file in JSON whose names need not be text."""
    content = json.dumps({"path": name})
    return server.client.post("/parse", content=content, headers={"content-type": "application/json"})


def statuses(server: Running) -> dict[str, str]:
    return {job["name"]: job["status"] for job in server.client.get("/jobs").json()["jobs"]}


def test_media_of_the_folder_are_listed_without_hidden_ones_and_links_out(server: Running) -> None:
    assert server.client.get("/files").json() == {"files": LISTED, "complete": True}
    assert server.client.get("/files?search=TWO").json()["files"] == ["day two/c.mkv"]
    assert server.client.get("/files?limit=2").json() == {"files": LISTED[:2], "complete": False}
    assert server.client.get("/files?limit=0").status_code == 422


def test_a_folder_with_too_many_files_is_listed_in_part(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avvp.pipeline.serve.jobs.media_folder.MAX_LISTED", 3)
    assert not server.client.get("/files").json()["complete"]


def test_a_named_file_becomes_a_timeline(server: Running) -> None:
    response = server.post("day two/c.mkv")
    job = server.done(response)
    assert response.headers["location"] == f"/jobs/{job['id']}"
    assert (job["status"], job["events"], job["duration"], job["cause"]) == ("done", 2, 10.0, None)
    timeline = server.client.get(job["timeline"])
    assert timeline.json()["media"]["path"] == "day two/c.mkv"
    assert timeline.headers["etag"] == '"1"'


def test_a_sent_file_becomes_a_timeline_and_is_played(server: Running) -> None:
    job = server.done(server.send("mein Hund.mp4", b"media" * 1000))
    assert (job["name"], job["size"]) == ("mein Hund.mp4", 5000)
    assert server.client.get(f"{job['timeline']}/media").content == b"media" * 1000


def test_a_broken_file_fails_its_own_job(server: Running) -> None:
    broken, whole = server.post("broken.mp4"), server.post("a.mp4")
    assert server.done(broken)["cause"] == "is not a media file"
    assert server.done(whole)["status"] == "done"
    assert server.client.get(f"/timelines/{broken.json()['id']}").status_code == 404


def test_what_runs_says_how_far_it_is_and_what_waits_says_how_many_are_before_it(server: Running) -> None:
    first = wait_for(server.client, server.post("slow.mp4").json()["id"], {"running"})
    while first["progress"]["stage"] == "loading":
        first = server.client.get(f"/jobs/{first['id']}").json()
    assert first["progress"] == {"stage": "video", "done": 3.0, "total": 10.0}
    assert [server.post(name).json()["ahead"] for name in ("a.mp4", "b.wav")] == [1, 2]
    assert [job["name"] for job in server.client.get("/jobs").json()["jobs"]] == ["b.wav", "a.mp4", "slow.mp4"]
    server.engine.release.set()
    for name in ("a.mp4", "b.wav"):
        assert server.done(server.post(name))["status"] == "done"
    assert server.engine.parsed[:3] == ["slow.mp4", "a.mp4", "b.wav"]


def test_a_job_is_cancelled_while_it_runs_and_while_it_waits(server: Running) -> None:
    running_id = wait_for(server.client, server.post("slow.mp4").json()["id"], {"running"})["id"]
    waiting = server.send("slow two.mp4").json()["id"]
    assert server.client.delete(f"/jobs/{waiting}").json()["status"] == "cancelled"
    assert not server.desk.uploads.path(waiting).exists()
    assert server.client.delete(f"/jobs/{running_id}").status_code == 202
    assert wait_for(server.client, running_id)["status"] == "cancelled"
    assert server.done(server.post("a.mp4"))["status"] == "done"
    again = server.client.delete(f"/jobs/{running_id}")
    assert (again.status_code, again.json()["detail"]) == (409, f"job {running_id} has ended already: cancelled")
    assert server.client.delete("/jobs/0000000000000000").status_code == 404


def test_too_many_jobs_that_wait_are_refused(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_queue, "MAX_QUEUED", 1)
    wait_for(server.client, server.post("slow.mp4").json()["id"], {"running"})
    assert server.post("a.mp4").status_code == 202
    refused = server.send("b.mp4")
    assert refused.status_code == 503
    assert "wait already" in refused.json()["detail"]
    assert len(list((server.desk.uploads.path("x").parent).glob("*"))) == 0


def test_too_many_timelines_are_refused(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_queue, "MAX_TIMELINES", 1)
    server.done(server.post("a.mp4"))
    assert "timelines are kept already" in server.post("b.wav").json()["detail"]


def test_old_jobs_without_a_timeline_are_forgotten(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_queue, "MAX_ENDED", 2)
    ids = [server.done(server.post("broken.mp4"))["id"] for _ in range(4)]
    assert [job["id"] for job in server.client.get("/jobs").json()["jobs"]] == ids[:1:-1]


BODIES: dict[str, tuple[dict[str, Any], int, str]] = {
    "no JSON": ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "not JSON"),
    "a list": ({"json": []}, 400, "expected a JSON object"),
    "other keys": ({"json": {"path": "a.mp4", "url": "http://x"}}, 400, "expected an object"),
    "deep": ({"content": b"[" * 5000, "headers": {"content-type": "application/json"}}, 400, "not JSON"),
    "large": ({"content": b" " * (1 << 21), "headers": {"content-type": "application/json"}}, 413, "larger than"),
    "text": ({"content": b"a.mp4", "headers": {"content-type": "text/plain"}}, 415, "Content-Type"),
    "no file": ({"files": {}, "data": {"path": "a.mp4"}}, 415, "Content-Type"),
    "a field": ({"files": {"file": (None, b"media")}}, 422, "without a file name"),
    "two files": ({"files": [("file", ("a.mp4", b"media")), ("file", ("b.mp4", b"media"))]}, 422, "more than one"),
    "too large": ({"files": {"file": ("a.mp4", b"media" + bytes(1 << 20))}}, 413, "larger than 1 MiB"),
    "no boundary": ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 422, "boundary"),
    "no form": (
        {"content": b"nothing", "headers": FORM}, 422, "not a form",
    ),
    "cut off": (
        {
            "content": b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.mp4"\r\n\r\nmedia',
            "headers": FORM,
        },
        422, "ended before",
    ),
    "many headers": (
        {
            "content": b"--x\r\n" + b"".join(b"a%d: b\r\n" % number for number in range(5000)),
            "headers": FORM,
        },
        422, "not a form",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BODIES)
def test_hostile_bodies_are_refused_and_leave_nothing(server: Running, kind: str) -> None:
    request, status, reason = BODIES[kind]
    response = server.client.post("/parse", **request)
    assert response.status_code == status, response.text
    assert reason in response.json()["detail"]
    uploaded = server.desk.uploads.path("x").parent
    assert not uploaded.exists() or not list(uploaded.iterdir())


def test_a_file_larger_than_its_declared_length_is_cut_off(server: Running) -> None:
    """Sent in chunks, without a length: it is counted while it arrives."""
    head = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    chunks = iter([head, *[bytes(1 << 16)] * 40])
    response = server.client.post("/parse", content=chunks, headers=FORM)
    assert response.status_code == 413


NAMES = {
    "../../etc/passwd": "passwd", "C:\\Users\\me\\dog.mp4": "dog.mp4", "": "_", ".mp4": "mp4",
    "a\x00b\n.mp4": "a_b_.mp4",
    "x" * 300 + ".mp4": "x" * 196 + ".mp4", "\u202egpj.mp4": "_gpj.mp4", "ü" * 150 + ".mkv": "ü" * 98 + ".mkv",
    "<img src=x>.mp4": "<img src=x>.mp4", "..": "_", "a.": "a.", "/": "_", "n." + "s" * 300: "n." + "s" * 198,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_of_sent_files_become_names_in_a_folder(name: str) -> None:
    assert clean_name(name) == NAMES[name]
    assert len(clean_name(name).encode()) <= 200


@pytest.mark.parametrize(
    "name",
    [
        "../secret.mp4", "/etc/passwd", "out.mp4", "far/secret.mp4", "day two/../../secret.mp4", "", ".", "a.mp4/x",
        "missing.mp4", "a\0.mp4", "x" * 5000, "\udcff.mp4", "day two", 7, None, ["a.mp4"], {"a": 1}, "a.mp4\n",
        "http://127.0.0.1/a.mp4", "file:///etc/passwd", "pipe.mp4",
    ],
)  # fmt: skip
def test_names_that_lead_out_of_the_folder_are_refused(server: Running, media: Path, name: object) -> None:
    os.mkfifo(media / "pipe.mp4")
    response = server.client.post(
        "/parse", content=json.dumps({"path": name}), headers={"content-type": "application/json"}
    )
    assert response.status_code == 422
    assert len(response.json()["detail"]) < 500
    assert statuses(server) == {}


def test_names_that_are_not_text_are_listed_and_parsed(server: Running, media: Path) -> None:
    (media / os.fsdecode(b"caf\xe9.mp4")).write_bytes(b"media")
    (name,) = server.client.get("/files?search=caf").json()["files"]
    response = server.client.post(
        "/parse", content=json.dumps({"path": name}), headers={"content-type": "application/json"}
    )
    job = server.done(response)
    assert job["name"] == name
    assert server.client.get(f"{job['timeline']}/page").status_code == 200
    assert server.client.get(f"{job['timeline']}/media").status_code == 200


def test_an_upload_without_a_byte_for_a_while_is_given_up(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "UPLOAD_SECONDS", 0.05)

    def slowly() -> Any:
        yield b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
        time.sleep(0.3)
        yield b"media"

    response = server.client.post(
        "/parse", content=slowly(), headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert "no byte has arrived" in response.json()["detail"]


def test_a_full_disk_refuses_a_file_and_fails_a_job_but_not_the_server(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(uploads, "finish_part", full)
        response = server.send("a.mp4")
    assert (response.status_code, response.json()["detail"]) == (
        507,
        "a.mp4: cannot be stored: No space left on device",
    )
    with monkeypatch.context() as patch:
        patch.setattr("avvp.pipeline.files.finish_part", full)
        assert "No space left on device" in server.done(server.post("a.mp4"))["cause"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)  # of the journal
        assert server.post("a.mp4").status_code == 507
    assert server.done(server.post("a.mp4"))["status"] == "done"


def test_what_the_journal_cannot_be_told_has_failed(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the next start would parse it again, over the corrections."""
    job_id = wait_for(server.client, server.post("slow.mp4").json()["id"], {"running"})["id"]

    def refuse(_: Job) -> None:
        raise OutputError("the journal cannot be written: No space left on device")

    monkeypatch.setattr(server.desk.queue._journal, "append", refuse)
    server.engine.release.set()
    assert "No space left on device" in wait_for(server.client, job_id)["cause"]
    assert server.client.get("/timelines").json() == {"timelines": []}


def test_a_restart_keeps_everything_and_runs_again_what_ran(tmp_path: Path, media: Path) -> None:
    with running(tmp_path / "results", media) as first:
        done = first.done(first.post("a.mp4"))
        sent = first.done(first.send("sent.mp4"))
        failed = first.done(first.post("broken.mp4"))
        ran = wait_for(first.client, first.post("slow.mp4").json()["id"], {"running"})
        waiting = first.post("b.wav").json()
        part = first.desk.uploads.path("0123456789abcdef")
        part.mkdir()
        (part / ".avvp-x.part").write_bytes(b"med")
    assert not list((tmp_path / "results" / "jobs").glob("*2.jsonl"))
    with running(tmp_path / "results", media) as second:
        assert not part.exists()
        assert wait_for(second.client, ran["id"], {"running"})["name"] == "slow.mp4"
        assert {job["id"]: job["status"] for job in second.client.get("/jobs").json()["jobs"]} == {
            done["id"]: "done", sent["id"]: "done", failed["id"]: "failed", ran["id"]: "running",
            waiting["id"]: "queued",
        }  # fmt: skip
        assert second.client.get(f"{sent['timeline']}/media").content == b"media"
        second.engine.release.set()
        assert wait_for(second.client, waiting["id"])["status"] == "done"
    assert [path.name for path in (tmp_path / "results" / "jobs").iterdir()] == ["000000002.jsonl"]


def test_a_file_with_which_the_server_ends_again_and_again_is_given_up(tmp_path: Path, media: Path) -> None:
    job_id = ""
    for _ in range(MAX_STARTS):
        with running(tmp_path / "results", media) as server:
            if not statuses(server):
                server.post("slow.mp4")
            job_id = server.client.get("/jobs").json()["jobs"][0]["id"]
            wait_for(server.client, job_id, {"running"})
    with running(tmp_path / "results", media) as server:
        job = server.client.get(f"/jobs/{job_id}").json()
    assert job["cause"] == f"the server has ended {MAX_STARTS} times while it parsed this file"


def test_lines_of_strangers_in_the_journal_are_ignored(tmp_path: Path, media: Path) -> None:
    good = Job(
        id="0" * 16, name="a.mp4", source="folder", path="a.mp4", size=1, mtime_ns=1, created=1.0, status="failed"
    )
    lines = [
        good.to_line(),
        good.to_line().replace(b'"0000000000000000"', b'"../../00000000000"'),
        good.to_line().replace(b'"path": "a.mp4"', b'"path": "../secret.mp4"'),
        good.to_line().replace(b'"folder"', b'"network"'),
        good.to_line().replace(b'"size": 1', b'"size": -1'),
        b"[" * 100_000 + b"\n",
        b'{"id": 1}\n',
        b"\xff\xfe\n",
        good.to_line()[:-10],
    ]
    (tmp_path / "results" / "jobs").mkdir(parents=True)
    (tmp_path / "results" / "jobs" / "x.jsonl").write_bytes(b"".join(lines))
    with running(tmp_path / "results", media) as server:
        assert statuses(server) == {"a.mp4": "failed"}


def test_a_bug_is_answered_in_one_line_and_told_to_the_terminal(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("secret of the server")

    monkeypatch.setattr(server.desk.queue, "snapshot", fail)
    response = server.client.get("/jobs")
    assert response.status_code == 500
    assert response.json()["detail"].startswith("internal error, please report it")
    assert "secret" not in response.text
    while not server.errors:  # told after the answer
        time.sleep(0.01)
    assert isinstance(server.errors.pop(), ZeroDivisionError)


@pytest.mark.usefixtures("server")
def test_two_servers_do_not_share_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="in use by another process"), running(tmp_path / "results"):
        raise AssertionError


def test_without_a_folder_files_can_only_be_sent(tmp_path: Path) -> None:
    with running(tmp_path / "results") as server:
        assert server.client.get("/files").status_code == 404
        assert "without a folder" in server.post("a.mp4").json()["detail"]
        assert server.done(server.send("a.mp4"))["status"] == "done"


def test_the_document_of_the_api_names_every_route(server: Running) -> None:
    paths = server.client.get("/openapi.json").json()["paths"]
    assert {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods} == {
        "GET /files", "POST /parse", "GET /jobs", "GET /jobs/{job_id}", "DELETE /jobs/{job_id}", "GET /timelines",
        "GET /timelines/{job_id}", "PUT /timelines/{job_id}", "DELETE /timelines/{job_id}",
        "GET /timelines/{job_id}/history", "GET /timelines/{job_id}/history/{number}",
        "POST /timelines/{job_id}/history/{number}", "GET /timelines/{job_id}/page", "GET /timelines/{job_id}/media",
        "GET /health", "POST /setup", "POST /predict",
    }  # fmt: skip
    assert server.client.get("/docs").status_code == 404
