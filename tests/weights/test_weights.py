"""Weight files: the manifest, where files are looked for, downloads from a local server."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avvp.weights import (
    WeightsError,
    bundle_paths,
    fetch_file,
    find_file,
    list_bundles,
    list_files,
    load_bundle,
    search_folders,
    verify_file,
)
from avvp.weights.manifest import BUNDLE_FILE, Bundle, format_bundle
from avvp.weights.messages import file_size
from avvp.weights.remote import drive
from avvp.weights.remote.missing import missing_message, readable_url
from avvp.weights.untrained import untrained_state
from support.server import CONTENT, DIGEST, Server, weight_file


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def test_fetch_file_verifies_and_reports_progress(server: Server, tmp_path: Path) -> None:
    progress: list[tuple[int, int | None]] = []
    path, digest = fetch_file(weight_file(server), tmp_path / "new", progress=lambda *at: progress.append(at))
    assert path.read_bytes() == CONTENT
    assert digest == DIGEST
    assert progress[-1] == (len(CONTENT), len(CONTENT))
    assert [file.name for file in path.parent.iterdir()] == ["weights.bin"]


def test_fetch_file_resumes_an_interrupted_download(server: Server, tmp_path: Path) -> None:
    server.cut_after = 500_000
    with pytest.raises(WeightsError, match="run the command again to resume"):
        fetch_file(weight_file(server), tmp_path)
    part = tmp_path / "weights.bin.part"
    assert 0 < part.stat().st_size <= 500_000
    assert not (tmp_path / "weights.bin").exists()
    have, server.cut_after = part.stat().st_size, None
    path, _ = fetch_file(weight_file(server), tmp_path)
    assert server.requests[-1] == f"bytes={have}-"
    assert path.read_bytes() == CONTENT


def test_fetch_file_restarts_where_the_server_ignores_ranges(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.bin.part").write_bytes(CONTENT[:1000])
    server.ranges = False
    path, _ = fetch_file(weight_file(server), tmp_path)
    assert path.read_bytes() == CONTENT


def test_fetch_file_accepts_a_complete_part(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.bin.part").write_bytes(CONTENT)
    path, _ = fetch_file(weight_file(server), tmp_path)
    assert path.read_bytes() == CONTENT


def test_fetch_file_discards_a_part_of_another_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.bin.part").write_bytes(b"x" * 1000)
    with pytest.raises(WeightsError, match="wrong hash"):
        fetch_file(weight_file(server), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert fetch_file(weight_file(server), tmp_path)[0].read_bytes() == CONTENT


def test_fetch_file_discards_a_file_with_a_wrong_hash(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(WeightsError, match="wrong hash"):
        fetch_file(weight_file(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_shipped_file_that_is_lost_is_not_downloaded(tmp_path: Path) -> None:
    lost = replace(list_files()["llp_glove"], name="lost.safetensors")
    with pytest.raises(WeightsError, match="is shipped with the program, but is not there: reinstall it"):
        fetch_file(lost, tmp_path)
    assert "shipped with the program; reinstall it" in missing_message([lost], tmp_path)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (31_864, "32 kB"), (1_250_000, "1.2 MB"), (871 * 10**6, "871 MB"),
     (4_294_967_296, "4.3 GB"), (12 * 10**9, "12 GB")],
)  # fmt: skip
def test_sizes_of_files(count: int, text: str) -> None:
    assert file_size(count) == text


def test_fetch_file_tries_the_next_url(server: Server, tmp_path: Path) -> None:
    file = weight_file(server, urls=("http://127.0.0.1:9/nothing", server.url))
    assert fetch_file(file, tmp_path)[0].read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 500])
def test_fetch_file_names_every_failure(server: Server, tmp_path: Path, status: int) -> None:
    server.status = status
    with pytest.raises(WeightsError, match=r"weights\.bin could not be downloaded: http://127"):
        fetch_file(weight_file(server), tmp_path)


def test_fetch_file_to_a_folder_that_cannot_be_created(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot be created"):
        fetch_file(weight_file(server), tmp_path / "file")


def test_fetch_file_uses_gdown_for_google_drive(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gdown

    asked: list[dict] = []

    def download(*, id: str, output: str, **options: object) -> str:
        asked.append({"id": id, **options})
        Path(output).write_bytes(CONTENT)
        return output

    monkeypatch.setattr(gdown, "download", download)
    path, _ = fetch_file(weight_file(server, urls=("gdrive:abc",)), tmp_path)
    assert path.read_bytes() == CONTENT
    assert asked[0]["id"] == "abc"
    assert asked[0]["resume"] is True


def test_fetch_file_refused_by_google_drive(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gdown
    from gdown.exceptions import FileURLRetrievalError

    def refuse(**_: object) -> None:
        raise FileURLRetrievalError("quota")

    monkeypatch.setattr(gdown, "download", refuse)
    with pytest.raises(WeightsError, match=r"drive\.google\.com/file/d/abc.*try a browser"):
        fetch_file(weight_file(server, urls=("gdrive:abc",)), tmp_path)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (["other.bin", "sub/weights.bin"], ""),
        (["other.bin"], r"the folder has 0 files called weights\.bin"),
        (["weights.bin", "sub/weights.bin"], r"has 2 files called"),
        (None, r"does not list the folder \(quota\)"),
        (30.0, r"does not list the folder within 0\.1 s"),
    ],
)
def test_fetch_file_of_a_folder_of_google_drive(
    listed: Any, message: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gdown

    asked: list[dict[str, Any]] = []

    def list_folder(**options: Any) -> list[SimpleNamespace]:
        asked.append(options)
        if not isinstance(listed, list):
            time.sleep(listed or 0)
            raise RuntimeError("quota")
        return [SimpleNamespace(id=f"id{place}", path=path) for place, path in enumerate(listed)]

    def download(*, id: str, output: str, **_: object) -> None:
        asked.append({"id": id})
        Path(output).write_bytes(CONTENT)

    monkeypatch.setattr(gdown, "download_folder", list_folder)
    monkeypatch.setattr(gdown, "download", download)
    monkeypatch.setattr(drive, "LIST_SECONDS", 60 if isinstance(listed, list) else 0.1)
    file = weight_file(server, urls=("gdrive-folder:abc/weights.bin",))
    if message:
        with pytest.raises(WeightsError, match=r"https://drive\.google\.com/drive/folders/abc: .*" + message):
            fetch_file(file, tmp_path)
    else:
        assert fetch_file(file, tmp_path)[0].read_bytes() == CONTENT
        assert asked[-1] == {"id": "id1"}
    assert (asked[0]["id"], asked[0]["skip_download"], asked[0]["use_cookies"]) == ("abc", True, False)


def test_a_file_of_a_folder_without_a_published_name(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"folders/abc: its name .* save it as /.*/weights\.bin$"):
        fetch_file(weight_file(server, urls=("gdrive-folder:abc",)), tmp_path)


def test_gdown_accepts_our_arguments() -> None:
    import inspect

    import gdown

    names = set(inspect.signature(gdown.download).parameters)
    assert {"id", "output", "quiet", "resume", "timeout", "progress"} <= names
    names = set(inspect.signature(gdown.download_folder).parameters)
    assert {"id", "quiet", "use_cookies", "timeout", "skip_download"} <= names


def test_fetch_file_on_a_full_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(WeightsError, match="No space left"):
        fetch_file(weight_file(server), tmp_path)


@pytest.mark.parametrize(
    ("content", "message"), [(CONTENT[:-1], "expected 1024000"), (CONTENT[:-1] + b"!", "wrong hash")]
)
def test_verification(server: Server, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        verify_file(weight_file(server), path)
    path.write_bytes(CONTENT)
    assert verify_file(weight_file(server), path) == DIGEST
    assert verify_file(weight_file(server, sha256=DIGEST[:8]), path) == DIGEST


@pytest.mark.parametrize("kind", ["md5", "git_hash"])
def test_other_hashes_than_sha256(server: Server, tmp_path: Path, kind: str) -> None:
    """git hashes "blob", the size, a zero byte, and the content."""
    path = tmp_path / "weights.bin"
    path.write_bytes(CONTENT)
    hashes = {"md5": ("md5", CONTENT), "git_hash": ("sha1", b"blob 1024000\0" + CONTENT)}
    digest = hashlib.new(*hashes[kind], usedforsecurity=False).hexdigest()
    other = f"{'0' if digest[0] != '0' else '1'}{digest[1:]}"
    for digits in (digest, digest[:8]):
        assert verify_file(weight_file(server, sha256="", **{kind: digits}), path) == DIGEST
    for digits in (other, other[:8]):
        with pytest.raises(
            WeightsError, match=f"wrong hash: {'md5' if kind == 'md5' else 'git.s hash'} {digest[:16]}…"
        ):
            verify_file(weight_file(server, sha256="", **{kind: digits}), path)


def test_order_of_the_folders(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, variable = tmp_path / "given", tmp_path / "variable"
    monkeypatch.setenv("AVVP_WEIGHTS_DIR", str(variable))
    folders = search_folders(given)
    assert folders[:2] == [given, variable]
    assert folders[2].parts[-2:] == ("avvp", "weights")
    assert (folders[3] / "manifest.toml").is_file()
    file = weight_file(server)
    assert find_file(file, given) is None
    variable.mkdir()
    (variable / "weights.bin").write_bytes(b"2")
    assert find_file(file, given) == variable / "weights.bin"
    given.mkdir()
    (given / "weights.bin").write_bytes(b"1")
    assert find_file(file, given) == given / "weights.bin"


def test_a_file_of_a_hub_is_found_where_other_programs_keep_it(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = weight_file(server, urls=("https://huggingface.co/openai/clip/resolve/abc/model.safetensors",), bytes=3)
    assert find_file(file) is None
    place = tmp_path / "hub" / "models--openai--clip" / "snapshots"
    for commit, content in (("first", b"four"), ("second", b"abc")):
        (place / commit).mkdir(parents=True)
        (place / commit / "model.safetensors").write_bytes(content)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert find_file(file) == place / "second" / "model.safetensors"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert find_file(file) is None
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "weights.bin").write_bytes(b"abc")
    assert find_file(file, tmp_path) == tmp_path / "weights.bin"


def test_manifest_is_complete() -> None:
    files, bundles = list_files(), list_bundles()
    localizers = {f"{name}{weak}" for name in ("ave", "psp", "cmbs", "cpsp") for weak in ("", "-weak")} | {"dmrn"}
    assert set(bundles) == {
        "leap-llp",
        "jomold",
        "cmpae",
        "untrained",
        "untrained-clean",
        "untrained-ave",
        "clip-clap",
        "clip-clap-3d",
        "untrained-clip-clap",
        "open",
        "open-av2a",
        "open-pe-av",
        "untrained-open",
        "demo",
        "demo-avel",
        *localizers,
    }
    for name in localizers:
        assert (bundles[name].profile, bundles[name].labels) == ("ave", "ave")
        assert bundles[name].parser["supervision"] == ("weak" if name.endswith("-weak") else "full")
        whole = name.removesuffix("-weak") in {"ave", "dmrn", "psp"}
        assert files[bundles[name].parser["file"]].form == ("module" if whole else "tensors")
    assert not {*files} & {*bundles}, "a name is either a file or a bundle"
    for bundle in bundles.values():
        if bundle.root is None:
            assert set(bundle.files) <= set(files)
        else:  # shipped
            assert all((bundle.root / file).is_file() for file in bundle.files)
    for file in files.values():
        assert file.urls or find_file(file, Path("/nowhere")), "a file without an address is shipped"
        assert file.licence
        assert re.fullmatch(r"[0-9a-f]{8}|[0-9a-f]{64}|", file.sha256)
        assert re.fullmatch(r"[0-9a-f]{8}|[0-9a-f]{40}|", file.git_hash)
        assert re.fullmatch(r"[0-9a-f]{32}|", file.md5)
        assert all(url.startswith(("https://", "gdrive:", "gdrive-folder:")) for url in file.urls)
        assert file.bytes is None or file.mib == pytest.approx(file.bytes / 2**20, abs=0.1)
        assert all(readable_url(url).startswith("https://") for url in file.urls)
    assert files["leap_llp"].urls == ("gdrive:1u2RtsCgS0iafyPB3RRO6h-hrG54_EzLO",)


def test_missing_message_names_source_and_target(tmp_path: Path) -> None:
    found, missing = bundle_paths(load_bundle("leap-llp"), tmp_path)
    assert list(found) == ["llp_glove"]
    message = missing_message(missing, tmp_path)
    for file in missing:
        assert file.name in message
        assert readable_url(file.urls[0]) in message
    assert message.startswith("4 weight files are missing, 871 MB:\n  without a download: --weights demo, a small")
    assert f"put them into {tmp_path}:" in message
    assert "drive.google.com/file/d/1u2RtsCgS0iafyPB3RRO6h-hrG54_EzLO/view" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("profile = ", "not a bundle description"),
        ("wings = 2", "not a bundle description"),
        ('profile = "llp"\nextractors = "vggish"\nparser = {}', "extractors must be a table"),
        ('profile = "llp"\nextractors = { a = 1 }\nparser = {}', "extractors must be a table"),
        ("profile = 3\nextractors = {}\nparser = {}", "profile is 3"),
        (None, "no bundle.toml"),
    ],
)
def test_load_bundle_rejects_other_folders(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "bundle.toml").write_text(text)
    with pytest.raises(WeightsError, match=message):
        load_bundle(str(tmp_path))


@pytest.mark.parametrize(
    "bundle",
    [
        Bundle(
            name="b", description='quote " and \\', profile="llp", extractors={"x y": "a.pt"}, parser={"file": "p.pt"}
        ),
        Bundle(name="b", description="", profile="clean", extractors={}, parser={}, labels="llp", seed=3),
    ],
)
def test_a_bundle_is_read_as_it_was_written(tmp_path: Path, bundle: Bundle) -> None:
    folder = tmp_path / bundle.name
    folder.mkdir()
    (folder / BUNDLE_FILE).write_text(format_bundle(bundle))
    assert load_bundle(str(folder)) == replace(bundle, root=folder)


def test_load_bundle_rejects_unknown_files(tmp_path: Path) -> None:
    (tmp_path / "bundle.toml").write_text('profile = "llp"\nextractors = {x = "nowhere.pt"}\nparser = {}\n')
    with pytest.raises(WeightsError, match=r"nowhere\.pt"):
        bundle_paths(load_bundle(str(tmp_path)))


def test_untrained_parameters_follow_from_seed_and_key() -> None:
    shapes = {"a.weight": (4, 100, 100), "b.weight": (5000,), "b.bias": (5000,), "b.running_var": (3,)}
    shapes["b.num_batches_tracked"] = ()
    first = untrained_state(shapes, 1)
    assert torch.equal(first["a.weight"], untrained_state({"a.weight": (4, 100, 100)}, 1)["a.weight"])
    assert not torch.equal(first["a.weight"], untrained_state(shapes, 2)["a.weight"])
    assert first["a.weight"].std().item() == pytest.approx(0.01, rel=0.02)
    assert first["b.weight"].mean().item() == pytest.approx(1, abs=0.01)
    assert first["b.bias"].std().item() == pytest.approx(0.1, rel=0.05)
    assert (first["b.running_var"] >= 1).all()
    assert first["b.num_batches_tracked"].item() == 0


def test_fetch_file_discards_a_part_longer_than_the_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.bin.part").write_bytes(CONTENT + b"more")
    assert fetch_file(weight_file(server), tmp_path)[0].read_bytes() == CONTENT


def test_processes_that_fetch_at_once_wait_for_each_other(server: Server, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: fetch_file(weight_file(server), tmp_path), range(4)))
    assert results == [(tmp_path / "weights.bin", DIGEST)] * 4
    assert len(server.requests) == 1


def test_a_web_page_is_not_taken_for_weights(server: Server, tmp_path: Path) -> None:
    """Where no hash is published, a quota page must still not pass for the file."""
    server.content = b"<html>quota exceeded</html>"
    file = weight_file(server, sha256="", bytes=None)
    with pytest.raises(WeightsError, match="not a PyTorch file"):
        fetch_file(file, tmp_path)
    assert list(tmp_path.iterdir()) == []
