"""The page about the server: its commands run, its tests exist, its routes are those of the API."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command import Result
from support.paths import ROOT
from support.serve import Running

PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_the_requests_by_example(server: Running, tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_bytes(b"media")
    environment = dict(os.environ)
    requests = [line for line in LINES if line.startswith("curl")]
    assert len(requests) == 8
    for line in requests:
        command = line.replace("http://localhost:9090", server.url).replace("curl ", "curl -sS --fail-with-body ", 1)
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        if "/parse" in line:
            environment["ID"] = wait_for_newest(server)["id"]
    assert (tmp_path / "events.json").is_file()
    versions = server.client.get(f"/timelines/{environment['ID']}/history").json()["versions"]
    assert [version["version"] for version in versions] == ["3", "2", "1"]


def wait_for_newest(server: Running) -> dict[str, Any]:
    """Wait for the newest job."""
    while (job := server.client.get("/jobs").json()["jobs"][0])["status"] != "done":
        pass
    return job


def test_the_commands(
    server: Running, run: Callable[..., Result], tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of `avvp serve`, all but the server itself; corrections become a data set."""
    served: list[Any] = []
    monkeypatch.setattr("avvp.pipeline.serve.server.serve", lambda _socket, *settings, **_: served.append(settings))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token.txt").write_text("a-token-in-a-file\n")
    server.done(server.post("a.mp4"))
    server.done(server.post("day two/c.mkv"))
    (tmp_path / "avvp-serve").symlink_to(tmp_path / "results")
    commands = [shlex.split(line)[1:] for line in LINES if line.startswith("avvp")]
    for arguments in commands:
        more = ["--port", "0", "--weights", tiny_bundle] if arguments[0] == "serve" else []
        result = run(*arguments, *more)
        assert result.status == 0, (arguments, result.err)
    assert len(served) == 3
    assert served[1][0].token == "a-token-in-a-file"  # noqa: S105 - of this test
    assert served[2][0].label_studio.origin == "http://localhost:8080"
    assert (tmp_path / "my-training" / "AVVP_train.csv").read_text().count("\n") == 3


def test_the_threats_name_tests_that_exist() -> None:
    named = re.findall(r"`(tests/[\w./]+\.py)`", PAGE)
    assert len(named) > 14
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_the_table_has_every_route_of_the_api(server: Running) -> None:
    for path in server.client.get("/openapi.json").json()["paths"]:
        part = path.replace("{job_id}", "ID").replace("{number}", "N").removeprefix("/timelines/ID/media")
        assert part in PAGE, path
