"""Who may ask what: names of the server, origins, the token, headers, and media that are only media."""

from __future__ import annotations

import base64
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from avvp.pipeline.serve.access import Access, new_token, token_fault
from avvp.pipeline.serve.hosts import HostNames, host_name, is_loopback, same_origin
from avvp.pipeline.serve.timeline_pages import media_type, page_policy
from support.serve import Running, running

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - of a test


@pytest.fixture
def guarded(tmp_path: Path, media: Path) -> Iterator[Running]:
    """A server with a token."""
    with running(tmp_path / "results", media, token=TOKEN) as opened:
        yield opened


LOCAL = HostNames("127.0.0.1", ("proxy.example",))
PUBLIC = HostNames("0.0.0.0", ())  # noqa: S104 - nothing listens


@pytest.mark.parametrize(
    "header", ["localhost:9090", "LOCALHOST", "127.0.0.1:1", "[::1]:9090", "proxy.example", "Proxy.Example.:443"]
)
def test_names_of_a_local_server(header: str) -> None:
    assert LOCAL.accepts(header)


@pytest.mark.parametrize(
    "header",
    [
        "", "evil.example", "evil.example:9090", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.0.7",
        "user@localhost", "localhost/x", "localhost:x", "localhost:1:2", "[::1", "[evil]", "[::1]evil", " ",
    ],
)  # fmt: skip
def test_other_names_are_refused(header: str) -> None:
    assert not LOCAL.accepts(header)


def test_a_server_that_others_reach_answers_to_its_addresses_but_not_to_names_of_others() -> None:
    assert PUBLIC.accepts("192.168.0.7:9090")
    assert PUBLIC.accepts("[fe80::1]:9090")
    assert not PUBLIC.accepts("evil.example")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.5.0.1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)
    assert not is_loopback("0.0.0.0")  # noqa: S104
    assert not is_loopback("127.0.0.1.example")
    assert host_name("[::1]:80") == "::1"


@pytest.mark.parametrize(
    "origin", ["null", "", "http://evil.example", "http://localhost:9091", "file://localhost:9090", "localhost:9090"]
)
def test_other_origins(origin: str) -> None:
    assert same_origin("http://localhost:9090", "localhost:9090")
    assert not same_origin(origin, "localhost:9090")


def test_requests_for_another_name_are_refused(server: Running) -> None:
    """As a page does whose own name leads to this machine (DNS rebinding)."""
    for path in ("/", "/jobs", "/web/page.css", "/openapi.json"):
        response = server.client.get(path, headers={"host": "evil.example:9090"})
        assert response.status_code == 421
    assert server.client.get("/jobs", headers={"host": server.url.removeprefix("http://")}).status_code == 200


def test_a_request_with_two_names_is_refused(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as connection:
        connection.sendall(b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert connection.recv(100).split()[1] in {b"400", b"421"}


CHANGES = [
    ("POST", "/parse"), ("POST", "/predict"), ("POST", "/setup"), ("POST", "/login"), ("PUT", "/timelines/x"),
    ("DELETE", "/jobs/x"), ("DELETE", "/timelines/x"), ("POST", "/timelines/x/history/1"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_pages_of_other_sites_change_nothing(server: Running, method: str, path: str) -> None:
    sent = [
        {"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"}, {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ]  # fmt: skip
    for headers in sent:
        response = server.client.request(method, path, headers=headers)
        assert (response.status_code, response.json()["detail"]) == (
            403,
            "this request comes from a page of another site",
        )


def test_pages_of_other_sites_read_nothing_but_may_link_here(server: Running) -> None:
    cross = {"sec-fetch-site": "cross-site"}
    assert server.client.get("/jobs", headers={**cross, "sec-fetch-mode": "no-cors"}).status_code == 403
    assert server.client.get("/", headers={**cross, "sec-fetch-mode": "navigate"}).status_code == 200
    assert server.client.get("/jobs", headers={"sec-fetch-site": "same-origin"}).status_code == 200
    assert "access-control-allow-origin" not in server.client.get("/jobs", headers={"origin": server.url}).headers


def test_the_own_page_may_change_something(server: Running) -> None:
    response = server.client.post("/parse", json={"path": "a.mp4"}, headers={"origin": server.url})
    assert response.status_code == 202


class TestToken:
    @pytest.mark.parametrize("path", ["/", "/jobs", "/openapi.json", "/timelines", "/health", "/files", "/nothing"])
    def test_nothing_is_answered_without_it(self, guarded: Running, path: str) -> None:
        assert guarded.client.get(path).status_code == 401
        for value in ("Bearer wrong-token-wrong-token", f"Bearer{TOKEN}", TOKEN, "Basic !!", "Bearer", "Bearer ü"):
            headers = [(b"authorization", value.encode())]
            assert guarded.client.get(path, headers=headers).status_code == 401

    def test_the_header(self, guarded: Running) -> None:
        assert guarded.client.get("/jobs", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200

    def test_label_studio_sends_it_as_a_password(self, guarded: Running) -> None:
        credentials = base64.b64encode(f"anyone:{TOKEN}".encode()).decode()
        assert guarded.client.get("/health", headers={"authorization": f"Basic {credentials}"}).status_code == 200

    def test_the_link_signs_in_one_browser_once(self, guarded: Running) -> None:
        address = f"/login/{guarded.access.code}"
        entered = guarded.client.get(address)
        assert entered.status_code == 200
        cookie = entered.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert TOKEN not in cookie
        assert guarded.client.get("/jobs").status_code == 200  # the client keeps the cookie
        with httpx.Client(base_url=guarded.url) as other:
            assert other.get(address).status_code == 403
            assert other.get("/login/").status_code == 404
            assert other.get("/jobs").status_code == 401

    def test_the_form_takes_the_token(self, guarded: Running) -> None:
        page = guarded.client.get("/", headers={"accept": "text/html"})
        assert page.status_code == 401
        assert "<form" in page.text
        assert guarded.client.post("/login", data={"token": "wrong"}).status_code == 403
        assert guarded.client.post("/login", content=b"token=" + b"x" * 10_000).status_code == 413
        entered = guarded.client.post("/login", data={"token": TOKEN})
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        assert guarded.client.get("/").status_code == 200

    def test_a_cookie_of_another_server_is_none(self, guarded: Running) -> None:
        other = Access(new_token(), 1)
        headers = {"cookie": f"{guarded.access.cookie}={other.session}; x={guarded.access.session}"}
        assert guarded.client.get("/jobs", headers=headers).status_code == 401

    def test_the_cookie_does_not_help_pages_of_other_sites(self, guarded: Running) -> None:
        headers = {"cookie": f"{guarded.access.cookie}={guarded.access.session}", "origin": "http://evil.example"}
        assert guarded.client.post("/parse", json={"path": "a.mp4"}, headers=headers).status_code == 403

    def test_a_server_without_a_token_has_no_link(self, server: Running) -> None:
        assert server.access.code == ""
        assert server.client.get("/login/").status_code == 404
        assert server.client.post("/login", data={"token": ""}).status_code == 403

    def test_tokens_that_are_too_easy(self) -> None:
        assert "at least 16" in token_fault("short")
        assert "printable" in token_fault("with a space in it")
        assert token_fault(new_token()) == ""


def test_every_answer_has_the_headers_of_a_strict_server(guarded: Running) -> None:
    for path in ("/", "/jobs", "/web/page.css", "/nothing"):
        headers = guarded.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "server" not in headers


def test_the_start_page_has_no_program_and_no_style_of_its_own(server: Running) -> None:
    page = server.client.get("/")
    assert re.search(r"<script(?! src=)|<style|style=|\son\w+=", page.text) is None
    assert "fake: &lt;b&gt;none&lt;/b&gt;" in page.text
    for name, kind in (("serve.js", "text/javascript"), ("serve.css", "text/css"), ("page.css", "text/css")):
        assert server.client.get(f"/web/{name}").headers["content-type"].startswith(kind)
    for name in ("../app.py", "..%2fapp.py", "serve.html", "%2e%2e/app.py"):
        assert server.client.get(f"/web/{name}").status_code in {404, 401}


def test_the_page_of_a_timeline_runs_its_own_program_only(server: Running) -> None:
    job = server.done(server.send("<script>alert(1)</script>.mp4"))
    page = server.client.get(job["page"])
    policy = page.headers["content-security-policy"]
    (scripts,) = re.findall(r"script-src ([^;]+)", policy)
    assert "unsafe" not in scripts
    assert policy == page_policy(page.content)
    assert "'sha256-" in scripts
    assert "<script>alert(1)" not in page.text


def test_media_are_sent_in_ranges_and_never_as_a_page(server: Running, media: Path) -> None:
    (media / "page.html.mp4").write_bytes(b"media<script>alert(1)</script>")
    job = server.done(server.post("page.html.mp4"))
    address = f"{job['timeline']}/media"
    whole = server.client.get(address)
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert whole.headers["content-security-policy"] == "default-src 'none'; sandbox"
    part = server.client.get(address, headers={"range": "bytes=2-4"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"dia", "bytes 2-4/30")
    assert server.client.get(address, headers={"range": "bytes=-2"}).content == b"t>"
    assert server.client.get(address, headers={"range": "bytes=99-"}).status_code == 416
    assert server.client.get(address, headers={"range": "bytes=0-0,4-4"}).status_code == 416
    many = "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 30, 2))
    assert server.client.get(address, headers={"range": many}).status_code == 416
    assert server.client.get(address, headers={"range": "bytes=" + "0" * 5000 + "-"}).status_code == 416


def test_media_that_became_a_link_out_are_not_sent(server: Running, media: Path) -> None:
    job = server.done(server.post("a.mp4"))
    (media / "a.mp4").unlink()
    (media / "a.mp4").symlink_to(media.parent / "secret.mp4")
    response = server.client.get(f"{job['timeline']}/media")
    assert response.status_code == 404
    assert "link that leads out" in response.json()["detail"]
    assert server.client.get(job["page"]).status_code == 200


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [
        (".mp4", "video/mp4"), (".MP4", "video/mp4"), (".mkv", "video/webm"), (".wav", "audio/x-wav"),
        (".html", "application/octet-stream"), (".svg", "application/octet-stream"), ("", "application/octet-stream"),
    ],
)  # fmt: skip
def test_types_of_media(suffix: str, expected: str) -> None:
    assert media_type(suffix) == expected


def test_answers_do_not_say_where_files_are_on_this_machine(server: Running, tmp_path: Path) -> None:
    job = server.done(server.post("a.mp4"))
    texts = [server.client.get(path).text for path in ("/jobs", "/timelines", job["timeline"], job["page"], "/")]
    texts.append(json.dumps([server.post(name).json() for name in ("missing.mp4", "out.mp4", "../x")]))
    assert not [text for text in texts if str(tmp_path) in text]
