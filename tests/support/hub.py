"""A stand-in of a Hugging Face hub: repositories in memory, and the addresses that huggingface_hub asks."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

TOKEN = "hf_stand_in_secret"  # noqa: S105 - of the only account, "alice"


@dataclass
class Repository:
    """Branches lead to commits, commits to files."""

    private: bool = False
    gated: bool = False
    gated_content: bool = False  # everybody may ask which files there are
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Add files to a branch; return the commit."""
        content = {**self.commits.get(self.branches.get(branch, ""), {}), **files}
        names = json.dumps([len(self.commits), *sorted(content)])
        commit = hashlib.sha1(names.encode(), usedforsecurity=False).hexdigest()
        self.commits[commit] = content
        self.branches[branch] = commit
        return commit

    def find(self, revision: str) -> str | None:
        """The commit of a branch, or of a commit."""
        return self.branches.get(revision, revision if revision in self.commits else None)


class Hub:
    """A hub at `url`. `requests` holds method, path and the Authorization header of each request.

    Attributes:
        repositories: by "user/name".
        large: suffix of files that are kept in large file storage.
        damage: sent in place of the content of large files.
        redirected: requests that the storage of large files got, with their Authorization headers.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.redirected: list[str | None] = []
        self.large = ".safetensors"
        self.damage: bytes | None = None
        self.messages: list[str] = []
        self.objects: dict[str, bytes] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.storage = f"http://localhost:{self._server.server_port}"  # another server, for a client
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, repo: str, folder: Path, prefix: str = "", **settings: Any) -> str:
        """Make a repository of the files of a folder; return the commit."""
        repository = self.repositories.setdefault(repo, Repository(**settings))
        files = {f"{prefix}{path.name}": path.read_bytes() for path in folder.iterdir() if path.is_file()}
        return repository.commit(files)


class _RefusedError(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, hub: Hub, *arguments: Any) -> None:
        self.hub = hub
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self._handle("GET")

    def do_HEAD(self) -> None:
        self._handle("HEAD")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_PUT(self) -> None:
        self._handle("PUT")

    def _handle(self, method: str) -> None:
        token = self.headers.get("Authorization")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        if self.headers.get("Host", "").startswith("localhost"):
            self.hub.redirected.append(token)
        else:
            self.hub.requests.append((method, path, token))
        try:
            self._route(method, [unquote(part) for part in path.strip("/").split("/")], body)
        except _RefusedError as refused:
            self._send(refused.status, {"error": refused.code}, {"X-Error-Code": refused.code})

    def _route(self, method: str, parts: list[str], body: bytes) -> None:
        match parts:
            case ["storage", digest]:
                self._store(method, digest, body)
            case ["api", "validate-yaml"]:
                self._send(200, {"errors": [], "warnings": []})
            case ["api", "repos", "create"]:
                self._create(json.loads(body))
            case ["api", "models", user, name]:
                self._answer_revision(f"{user}/{name}", "main", body)
            case ["api", "models", user, name, question, revision]:
                answer = {
                    "revision": self._answer_revision,
                    "paths-info": self._answer_paths,
                    "branch": self._make_branch,
                    "preupload": self._answer_preupload,
                    "commit": self._make_commit,
                }[question]
                answer(f"{user}/{name}", revision, body)
            case [user, name, "info", "lfs", "objects", "batch"]:
                self._repository(f"{user}/{name.removesuffix('.git')}", write=True)
                objects = [self._place(item) for item in json.loads(body)["objects"]]
                self._send(200, {"transfer": "basic", "objects": objects})
            case [user, name, "resolve", revision, *path]:
                self._resolve(f"{user}/{name}", revision, "/".join(path))
            case _:
                raise _RefusedError(404, "unknown")

    def _store(self, method: str, digest: str, body: bytes) -> None:
        if method == "PUT":
            assert hashlib.sha256(body).hexdigest() == digest
            self.hub.objects[digest] = body
            self._send(200, {})
        else:
            self._send_file(self.hub.objects[digest] if self.hub.damage is None else self.hub.damage)

    def _answer_revision(self, name: str, revision: str, _: bytes) -> None:
        repository = self._repository(name)
        commit = self._commit(repository, revision)
        files = [{"rfilename": path} for path in repository.commits[commit]]
        facts = {"id": name, "modelId": name, "sha": commit, "siblings": files, "private": repository.private}
        self._send(200, {**facts, "tags": [], "downloads": 0, "likes": 0})

    def _answer_paths(self, name: str, revision: str, body: bytes) -> None:
        repository = self._repository(name)
        content = repository.commits[self._commit(repository, revision)]
        wanted = parse_qs(body.decode()).get("paths", [])
        self._send(200, [self._describe(path, content[path]) for path in wanted if path in content])

    def _make_branch(self, name: str, branch: str, _: bytes) -> None:
        repository = self._repository(name, write=True)
        if branch in repository.branches:
            raise _RefusedError(409, "exists")
        repository.branches[branch] = repository.branches["main"]
        self._send(200, {})

    def _answer_preupload(self, name: str, _: str, body: bytes) -> None:
        self._repository(name, write=True)
        paths = [file["path"] for file in json.loads(body)["files"]]
        modes = {path: "lfs" if path.endswith(self.hub.large) else "regular" for path in paths}
        files = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]
        self._send(200, {"files": files})

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repository = self._repository(name)
        if repository.gated_content and self.headers.get("Authorization") is None:
            raise _RefusedError(401, "GatedRepo")
        content = repository.commits[self._commit(repository, revision)].get(path)
        if content is None:
            raise _RefusedError(404, "EntryNotFound")
        if path.endswith(self.hub.large):
            digest = hashlib.sha256(content).hexdigest()
            self.hub.objects[digest] = content
            self._send(302, None, {"Location": f"{self.hub.storage}/storage/{digest}"})
        else:
            self._send_file(content)

    def _repository(self, name: str, *, write: bool = False) -> Repository:
        repository, token = self.hub.repositories.get(name), self.headers.get("Authorization")
        known = token == f"Bearer {TOKEN}"
        if token is not None and not known:
            raise _RefusedError(401, "Invalid credentials in Authorization header")
        if repository is None or ((repository.private or write) and not known):
            raise _RefusedError(404 if known else 401, "RepoNotFound")
        if repository.gated and not known:
            raise _RefusedError(403, "GatedRepo")
        return repository

    def _commit(self, repository: Repository, revision: str) -> str:
        commit = repository.find(revision)
        if commit is None:
            raise _RefusedError(404, "RevisionNotFound")
        return commit

    def _create(self, settings: dict[str, Any]) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise _RefusedError(401, "Invalid credentials in Authorization header")
        if settings["organization"] != "alice":
            raise _RefusedError(403, "Forbidden")
        name = f"{settings['organization']}/{settings['name']}"
        if name in self.hub.repositories:
            self._send(409, {"error": "exists", "url": f"{self.hub.url}/{name}"})
            return
        private = settings.get("visibility") == "private" or bool(settings.get("private"))
        self.hub.repositories[name] = Repository(private=private)
        self.hub.repositories[name].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        self._send(200, {"url": f"{self.hub.url}/{name}"})

    def _place(self, item: dict[str, Any]) -> dict[str, Any]:
        """Where an object is uploaded to; nowhere if it is known."""
        place = {"actions": {"upload": {"href": f"{self.hub.storage}/storage/{item['oid']}", "header": {}}}}
        return {"oid": item["oid"], "size": item["size"], **({} if item["oid"] in self.hub.objects else place)}

    def _make_commit(self, name: str, branch: str, body: bytes) -> None:
        repository = self._repository(name, write=True)
        if branch not in repository.branches:
            raise _RefusedError(404, "RevisionNotFound")
        files: dict[str, bytes] = {}
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                self.hub.messages.append(value["summary"])
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                files[value["path"]] = self.hub.objects[value["oid"]]
        commit = repository.commit(files, branch)
        url = f"{self.hub.url}/{name}/commit/{commit}"
        self._send(200, {"commitUrl": url, "commitOid": commit, "hookOutput": ""})

    def _describe(self, path: str, content: bytes) -> dict[str, Any]:
        git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": git}
        if path.endswith(self.hub.large):
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
        return entry

    def _send_file(self, content: bytes) -> None:
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[start:])

    def _send(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""
