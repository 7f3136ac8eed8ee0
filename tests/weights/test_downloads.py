"""Servers that send too much, too slowly, or nonsense; folders in which somebody has planted links."""

from __future__ import annotations

import io
import os
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from avvp.weights import WeightsError, fetch_file
from avvp.weights.remote import pace as pace_module
from avvp.weights.remote.part_files import open_part
from requests.adapters import HTTPAdapter
from support.server import CONTENT, DIGEST, Server, weight_file

SIZE = len(CONTENT)
HALF = CONTENT[: SIZE // 2]


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of time that a test can wait for."""
    monkeypatch.setattr(pace_module, "RATE_WINDOW", 0.3)
    monkeypatch.setattr(pace_module, "MIN_RATE", 1000)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("known", [True, False], ids=["known size", "unknown size"])
def test_a_server_that_goes_on_sending_is_cut_off(server: Server, tmp_path: Path, known: bool) -> None:
    server.headers["Content-Length"] = None
    server.endless = True
    file = weight_file(server) if known else weight_file(server, bytes=None, mib=3.0)
    with pytest.raises(WeightsError, match="cut off") as error:
        fetch_file(file, tmp_path)
    assert "\n" not in str(error.value)
    assert names(tmp_path) == []
    assert server.sent < (16 << 20), "what was sent is in the buffers of the connection"


@pytest.mark.parametrize(
    ("length", "message"),
    [
        ("abc", "Content-Length 'abc'"),
        ("-1", "Content-Length '-1'"),
        ("1e6", "Content-Length '1e6'"),
        ("9" * 400, "Content-Length '999"),
        (str(SIZE + 1), f"announces {SIZE + 1} bytes, expected {SIZE}"),
        ("5", f"announces 5 bytes, expected {SIZE}"),
        ("0", f"announces 0 bytes, expected {SIZE}"),
        (f"{SIZE}, {SIZE}", "Content-Length"),
        (f"{SIZE}, 7", "InvalidHeader"),
    ],
)
def test_a_wrong_content_length_is_an_error(server: Server, tmp_path: Path, length: str, message: str) -> None:
    server.headers = {"Content-Length": length}
    with pytest.raises(WeightsError, match=message) as error:
        fetch_file(weight_file(server), tmp_path)
    assert len(str(error.value)) < 500
    assert not (tmp_path / "weights.bin").exists()


def test_too_much_is_announced_where_the_size_is_not_known(server: Server, tmp_path: Path) -> None:
    server.headers = {"Content-Length": str(10**15)}
    with pytest.raises(WeightsError, match=f"announces {10**15} bytes, more than"):
        fetch_file(weight_file(server, bytes=None), tmp_path)
    server.headers = {}
    assert fetch_file(weight_file(server, bytes=None), tmp_path)[1] == DIGEST


@pytest.mark.parametrize(
    "value",
    [
        "bytes 0-{last}/{size}",
        "bytes 5-{last}/{size}",
        "bytes {start}-{last}/{more}",
        "bytes {start}-{more}/{size}",
        "bytes {start}-5/{size}",
        "bytes {start}-{last}/abc",
        "bytes -5-{last}/{size}",
        "items {start}-{last}/{size}",
        "nonsense",
        "bytes " + "9" * 400,
    ],
)
def test_a_wrong_content_range_starts_over(server: Server, tmp_path: Path, value: str) -> None:
    (tmp_path / "weights.bin.part").write_bytes(HALF)
    numbers = {"start": len(HALF), "last": SIZE - 1, "size": SIZE, "more": SIZE + 5}
    server.headers = {"Content-Range": value.format(**numbers)}
    assert fetch_file(weight_file(server), tmp_path)[1] == DIGEST
    assert server.requests == [f"bytes={len(HALF)}-", None]


def test_a_server_that_claims_a_part_to_be_complete_is_not_believed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.bin.part").write_bytes(HALF)
    server.content = b""
    server.headers = {"Content-Range": f"bytes */{len(HALF)}"}
    with pytest.raises(WeightsError, match="not the expected file"):
        fetch_file(weight_file(server), tmp_path)
    assert names(tmp_path) == []


def test_content_that_is_compressed_in_transit_is_refused(server: Server, tmp_path: Path) -> None:
    server.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(WeightsError, match="encoded as 'gzip'"):
        fetch_file(weight_file(server), tmp_path)


@pytest.mark.usefixtures("_hurried")
@pytest.mark.parametrize("place", ["body", "nothing"])
def test_a_server_that_drips_is_given_up(server: Server, tmp_path: Path, place: str) -> None:
    server.drip = 0.02 if place == "body" else 60
    started = time.monotonic()
    with pytest.raises(WeightsError, match=r"too slow: \d+ bytes in 0\.3 seconds"):
        fetch_file(weight_file(server), tmp_path)
    assert time.monotonic() - started < 5


def test_the_whole_download_has_a_time_limit(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace_module, "MAX_SECONDS", 0.3)
    server.drip = 0.01
    with pytest.raises(WeightsError, match=r"not complete after 0\.3 seconds"):
        fetch_file(weight_file(server), tmp_path)


@pytest.mark.parametrize(
    "target",
    [
        "http://example.com/weights.bin",
        "http://127.0.0.1.example.com/x",
        "http://user:secret@example.com/x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "//example.com/x",
        "https://",
        "http://[::1",
        "gopher:x",
        "http://\x01/",
    ],
)
def test_redirects_lead_to_https_only(server: Server, tmp_path: Path, target: str) -> None:
    server.redirects = [target]
    with pytest.raises(WeightsError, match=r"which is not (https|an address)") as error:
        fetch_file(weight_file(server), tmp_path)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("url", ["http://example.com/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "x", ""])
def test_addresses_are_https(server: Server, tmp_path: Path, url: str) -> None:
    with pytest.raises(WeightsError, match="not an https address"):
        fetch_file(weight_file(server, urls=(url,)), tmp_path)


def test_redirects_are_followed_a_few_times(server: Server, tmp_path: Path) -> None:
    server.redirects = ["/a", server.url, "?b"]
    assert fetch_file(weight_file(server), tmp_path)[1] == DIGEST
    (tmp_path / "weights.bin").unlink()
    server.redirects = ["/again"] * 100
    with pytest.raises(WeightsError, match="redirects more than 5 times"):
        fetch_file(weight_file(server), tmp_path)


@pytest.mark.parametrize("target", ["http://127.0.0.1:9/x", "http://example.com/x", "ftp://example.com/x"])
def test_https_never_becomes_http(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    def redirect(_: object, request: requests.PreparedRequest, **__: object) -> requests.Response:
        response = requests.Response()
        response.status_code, response.url, response.raw = 302, request.url or "", io.BytesIO()
        response.headers["Location"] = target
        return response

    monkeypatch.setattr(HTTPAdapter, "send", redirect)
    with pytest.raises(WeightsError, match=f"redirects to '{target}', which is not https"):
        fetch_file(weight_file(server, urls=("https://example.com/weights.bin",)), tmp_path)


def test_the_body_of_a_redirect_is_not_read(server: Server, tmp_path: Path) -> None:
    server.redirects, server.redirect_body = ["/a", "/b"], CONTENT * 64
    assert fetch_file(weight_file(server), tmp_path)[1] == DIGEST
    assert server.sent < 2 * (8 << 20) + SIZE, "what was sent is in the buffers of the connection"


def test_a_password_of_an_address_is_not_shown(server: Server, tmp_path: Path) -> None:
    file = weight_file(server, urls=("https://user:hunter2@127.0.0.1:9/x?token=hunter3",))
    with pytest.raises(WeightsError) as error:
        fetch_file(file, tmp_path)
    assert "hunter" not in str(error.value)


def test_a_password_of_a_proxy_is_not_shown(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://user:hunter2@127.0.0.1:9")
    file = weight_file(server, urls=("https://example.com/x",))
    with pytest.raises(WeightsError, match="ProxyError") as error:
        fetch_file(file, tmp_path)
    assert "hunter" not in str(error.value)


@pytest.mark.parametrize("kind", ["link", "dangling link", "second name", "pipe"])
def test_what_is_planted_in_place_of_a_part_is_not_written_to(server: Server, tmp_path: Path, kind: str) -> None:
    precious, folder = tmp_path / "precious", tmp_path / "weights"
    folder.mkdir()
    precious.write_bytes(HALF)
    part = folder / "weights.bin.part"
    if kind == "link":
        part.symlink_to(precious)
    elif kind == "dangling link":
        part.symlink_to(tmp_path / "new")
    elif kind == "second name":
        os.link(precious, part)
    else:
        os.mkfifo(part)
    path, digest = fetch_file(weight_file(server), folder)
    assert digest == DIGEST
    assert not path.is_symlink()
    assert precious.read_bytes() == HALF
    assert names(tmp_path) == ["precious", "weights"]


def test_a_part_that_is_a_folder_is_an_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.bin.part").mkdir()
    with pytest.raises(WeightsError, match=r"cannot write weights\.bin\.part"):
        fetch_file(weight_file(server), tmp_path)


def test_a_target_that_is_a_folder_is_an_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").mkdir()
    with pytest.raises(WeightsError, match="cannot be created or written"):
        fetch_file(weight_file(server), tmp_path)


def test_a_full_disk_keeps_what_has_arrived(server: Server, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE // 2, hard))
    try:
        with pytest.raises(WeightsError, match=r"cannot write weights\.bin\.part: File too large"):
            fetch_file(weight_file(server), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["weights.bin.part"]
    assert fetch_file(weight_file(server), tmp_path)[1] == DIGEST
    assert server.requests[-1] is not None, "the download is resumed"


@pytest.mark.parametrize("value", ["/dev/null/x", "x" * 5000, "a/" * 3000, "\udcff\n\x1b[31m/../../proc/x"])
def test_strange_folders_are_an_error(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("AVVP_WEIGHTS_DIR", value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "\udcff\n\x1b[31m").write_bytes(b"")
    with pytest.raises(WeightsError, match="cannot be created") as error:
        fetch_file(weight_file(server))
    assert all(character.isprintable() for character in str(error.value))


class TestGoogleDrive:
    """What gdown could do: its own download is replaced."""

    @pytest.fixture
    def fetch(self, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        import gdown

        def call(download, **changes: Any) -> tuple[Path, str]:
            monkeypatch.setattr(gdown, "download", download)
            return fetch_file(weight_file(server, urls=("gdrive:abc",), **changes), tmp_path)

        return call

    @pytest.mark.parametrize("announced", [SIZE, None, 10**15])
    def test_too_much_is_cut_off(self, fetch, tmp_path: Path, announced: int | None) -> None:
        sent: list[int] = []

        def download(*, output: str, progress, **_: object) -> None:
            with Path(f"{output}abcdefgh.part").open("wb") as file:
                for _block in range(1000):
                    file.write(CONTENT)
                    sent.append(SIZE)
                    progress(sum(sent), announced)

        with pytest.raises(WeightsError, match="cut off"):
            fetch(download)
        assert len(sent) <= 2
        assert names(tmp_path) == []

    def test_too_much_without_a_word(self, fetch, tmp_path: Path) -> None:
        def download(*, output: str, **_: object) -> None:
            Path(output).write_bytes(2 * CONTENT)

        with pytest.raises(WeightsError, match=f"sent {2 * SIZE} bytes"):
            fetch(download)
        assert names(tmp_path) == []

    @pytest.mark.usefixtures("_hurried")
    def test_a_download_that_hangs_is_cancelled(self, fetch) -> None:
        from gdown.exceptions import DownloadCancelled

        def download(*, cancel: threading.Event, **_: object) -> None:
            assert cancel.wait(5)
            raise DownloadCancelled("Download cancelled")

        with pytest.raises(WeightsError, match="too slow"):
            fetch(download)

    @pytest.mark.parametrize("error", [KeyError("Content-Type"), ValueError("date"), OSError(28, "No space left")])
    def test_its_errors_are_ours(self, fetch, error: Exception) -> None:
        def download(**_: object) -> None:
            raise error

        with pytest.raises(WeightsError, match="Google Drive refused"):
            fetch(download)

    def test_links_in_place_of_its_parts_are_removed(self, fetch, tmp_path: Path) -> None:
        (tmp_path / "precious").write_bytes(b"x")
        for name in ("weights.bin.part", "weights.bin.partabcdefgh.part", "weights.bin.partzzzzzzzz.part"):
            (tmp_path / name).symlink_to("precious")
        (tmp_path / "weights.bin.partbbbbbbbb.part").write_bytes(HALF)

        def download(*, output: str, **_: object) -> None:
            assert names(tmp_path) == ["precious", "weights.bin.partbbbbbbbb.part"]
            Path(output).write_bytes(CONTENT)

        assert fetch(download)[1] == DIGEST

    def test_gdown_accepts_our_limits(self) -> None:
        import inspect

        import gdown

        assert {"use_cookies", "cancel"} <= set(inspect.signature(gdown.download).parameters)


def test_a_part_is_opened_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(b"abc")
    with open_part(tmp_path / "x.part") as file:
        assert file.read() == b"abc"
