"""Bundles of a hub: addresses, downloads into the cache by commit, what the hub refuses, life without network."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from avvp.pipeline.inference.bundle import known_labels, load_networks
from avvp.pipeline.training.run_bundle import write_bundle
from avvp.weights import Bundle, WeightsError, load_bundle
from avvp.weights.remote import bundles
from avvp.weights.remote.gather import gather_files
from avvp.weights.remote.hub import HubAddress, parse_address
from avvp.weights.source import WeightSource
from support.bundles import LABELS, TINY
from support.command import Result
from support.hub import TOKEN, Hub, Repository
from support.media import Clips

pytest.importorskip("huggingface_hub")
OFFLINE = WeightSource(offline=True)
UNREACHABLE = "http://127.0.0.1:9"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield server
    server.close()


def log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf://alice/parser", HubAddress("alice/parser", "main", "")),
        ("hf://alice/parser@v1.0", HubAddress("alice/parser", "v1.0", "")),
        ("hf://alice/parser@v1/runs/7/", HubAddress("alice/parser", "v1", "runs/7")),
        ("hf://alice/parser/runs", HubAddress("alice/parser", "main", "runs")),
        ("hf://alice/parser@refs/pr/3/runs", HubAddress("alice/parser", "refs/pr/3", "runs")),
        ("hf://alice/parser@feature%2Fx", HubAddress("alice/parser", "feature/x", "")),
    ],
)
def test_parse_address(text: str, address: HubAddress) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hf://alice", "not the address of a model repository"),
        ("hf://", "not the address"),
        ("hf://datasets/alice/x", "not name a model repository"),
        ("hf://alice/../etc", "cannot be a part of the name"),
        ("hf://../alice", "cannot be a part of the name"),
        ("hf://al--ice/x", "cannot be a part of the name"),
        ("hf://alice/x@../../y", "cannot be a revision"),
        ("hf://alice/x@a%2F..%2Fb", "cannot be a revision"),
        ("hf://alice/x@-rf", "cannot be a revision"),
        ("hf://alice/x/../../etc", "cannot be a folder"),
        ("hf://alice/x/a\tb", "cannot be a folder"),
        ("hf://alice/x\0", "cannot be a part of the name"),
        ("hf://alice/" + "x" * 2000, "not the address"),
    ],
)
def test_parse_address_rejects(text: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        load_bundle(text)


def test_a_bundle_of_a_hub_is_downloaded_once_and_its_name_has_the_commit(hub: Hub, tiny_bundle: Path) -> None:
    (tiny_bundle / "notes.bin").write_bytes(b"not named by the bundle")
    try:
        commit = hub.add("alice/parser", tiny_bundle)
    finally:
        (tiny_bundle / "notes.bin").unlink()
    bundle = load_bundle("hf://alice/parser")
    assert bundle.name == f"hf://alice/parser@{commit}"
    assert known_labels(bundle) is None  # nothing but bundle.toml is here
    seen: list[tuple[int, int | None]] = []
    paths, hashes = gather_files(bundle, WeightSource(progress=lambda done, total: seen.append((done, total))))
    assert set(hashes) == {*(f"{file}.safetensors" for file in TINY.values()), "parser.safetensors"}
    assert all(paths[name].read_bytes() == (tiny_bundle / name).read_bytes() for name in hashes)
    assert seen[-1][0] == seen[-1][1]
    assert bundle.root is not None
    assert {path.name for path in bundle.root.iterdir()} == {*hashes, "bundle.toml", "hub.json"}
    assert known_labels(bundle) == LABELS
    hub.requests.clear()
    gather_files(load_bundle("hf://alice/parser"))
    assert [path for _, path, _ in hub.requests] == ["/api/models/alice/parser/revision/main"]
    hub.requests.clear()
    gather_files(load_bundle(f"hf://alice/parser@{commit}"))
    assert not hub.requests  # a commit does not change


def test_without_network_the_cache_is_used(
    hub: Hub, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = hub.add("alice/parser", tiny_bundle)
    gather_files(load_bundle("hf://alice/parser"))
    hub.repositories["alice/parser"].commit({"other.txt": b""})
    hub.requests.clear()
    assert load_bundle("hf://alice/parser", OFFLINE).name.endswith(first)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert load_bundle("hf://alice/parser").name.endswith(first)
    assert not hub.requests
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", UNREACHABLE)
    _, hashes = gather_files(load_bundle("hf://alice/parser"))
    assert len(hashes) == 4
    assert "cannot be reached" in caplog.text
    assert f"commit {first} from the cache is used" in caplog.text


def test_without_network_and_cache_the_error_is_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match="not on this machine"):
        load_bundle("hf://alice/parser", OFFLINE)
    with pytest.raises(WeightsError, match="not on this machine"):
        load_bundle("hf://alice/parser@" + "a" * 40, OFFLINE)
    monkeypatch.setenv("HF_ENDPOINT", UNREACHABLE)
    with pytest.raises(WeightsError, match=r"127\.0\.0\.1:9 cannot be reached"):
        load_bundle("hf://alice/parser")


def test_files_not_downloaded_yet_are_named_offline(hub: Hub, tiny_bundle: Path) -> None:
    commit = hub.add("alice/parser", tiny_bundle)
    load_bundle("hf://alice/parser")
    with pytest.raises(WeightsError, match=r"4 weight file.* missing") as caught:
        gather_files(load_bundle("hf://alice/parser", OFFLINE), OFFLINE)
    assert f"{hub.url}/alice/parser/resolve/{commit}/vggish.safetensors" in str(caught.value)
    assert "hub/alice--parser" in str(caught.value)


def test_offline_mode_of_the_library_forbids_downloads(
    hub: Hub, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("alice/parser", tiny_bundle)
    load_bundle("hf://alice/parser")
    hub.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE forbids"):
        gather_files(load_bundle("hf://alice/parser"))
    assert not hub.requests


def test_a_cache_is_read_by_others(hub: Hub, tiny_bundle: Path) -> None:
    hub.add("alice/parser", tiny_bundle)
    before = os.umask(0o027)
    try:
        root = load_bundle("hf://alice/parser").root
    finally:
        os.umask(before)
    assert root is not None
    files = [root / "hub.json", root / "bundle.toml", root.parent / "refs" / "main"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o640}


def test_a_cache_that_is_complete_is_not_written(hub: Hub, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("alice/parser", tiny_bundle)
    gather_files(load_bundle("hf://alice/parser"))
    monkeypatch.setattr(bundles, "_write", pytest.fail)
    assert len(gather_files(load_bundle("hf://alice/parser"))[0]) == 4


def test_content_that_is_gated_names_the_terms(hub: Hub, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("alice/parser", tiny_bundle, gated_content=True)
    with pytest.raises(WeightsError, match=f"status 401: accept the terms at {hub.url}/alice/parser, if it has any"):
        load_bundle("hf://alice/parser")
    log_in(monkeypatch)
    assert load_bundle("hf://alice/parser")


def test_subfolder_and_branch(hub: Hub, tiny_bundle: Path) -> None:
    hub.add("alice/parser", tiny_bundle, prefix="runs/7/")
    repository = hub.repositories["alice/parser"]
    repository.branches["v1"] = repository.branches["main"]
    bundle = load_bundle("hf://alice/parser@v1/runs/7")
    assert bundle.name == f"hf://alice/parser@{repository.branches['v1']}/runs/7"
    assert len(gather_files(bundle)[0]) == 4
    with pytest.raises(WeightsError, match=r"has no bundle\.toml"):
        load_bundle("hf://alice/parser@v1")


def test_the_hub_refuses(hub: Hub, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("alice/secret", tiny_bundle, private=True)
    hub.add("alice/gated", tiny_bundle, gated=True)
    hub.add("alice/parser", tiny_bundle)
    for name, message in {
        "hf://alice/none": "has no such repository, or it is private: then log in by .*HF_TOKEN",
        "hf://alice/secret": "has no such repository, or it is private",
        "hf://alice/gated": f"accept the terms at {hub.url}/alice/gated, and log in",
        "hf://alice/parser@v9": "no branch, tag or commit 'v9'",
    }.items():
        with pytest.raises(WeightsError, match=message):
            load_bundle(name)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong_secret")
    with pytest.raises(WeightsError, match="does not accept your token") as caught:
        load_bundle("hf://alice/parser")
    assert "hf_wrong_secret" not in str(caught.value)


def test_a_token_that_cannot_be_sent_is_not_shown(hub: Hub, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("alice/parser", tiny_bundle)
    for token in ("hf_a\x01secret", "hf_\u00e9secret"):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(WeightsError) as caught:
            load_bundle("hf://alice/parser")
        assert "secret" not in str(caught.value)


def test_a_private_repository_is_read_with_a_token_that_no_other_server_gets(
    hub: Hub, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.add("alice/secret", tiny_bundle, private=True)
    log_in(monkeypatch)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\nmachine localhost login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert len(gather_files(load_bundle("hf://alice/secret"))[0]) == 4
    assert {token for _, _, token in hub.requests} == {f"Bearer {TOKEN}"}
    assert hub.redirected == [None] * 4


def test_damaged_content_is_refused(hub: Hub, tiny_bundle: Path) -> None:
    hub.add("alice/parser", tiny_bundle)
    bundle = load_bundle("hf://alice/parser")
    size = (tiny_bundle / "parser.safetensors").stat().st_size
    hub.damage = bytes(size)
    with pytest.raises(WeightsError, match=r"parser\.safetensors could not be downloaded.*wrong hash"):
        gather_files(_only_parser(bundle))
    hub.damage = bytes(size + 1)
    with pytest.raises(WeightsError, match="announces"):
        gather_files(_only_parser(bundle))
    hub.damage = None
    paths, _ = gather_files(_only_parser(bundle))
    with paths["parser.safetensors"].open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    with pytest.raises(WeightsError, match="wrong hash"):
        gather_files(_only_parser(load_bundle("hf://alice/parser")))


def _only_parser(bundle: Bundle) -> Bundle:
    return replace(bundle, extractors={})


def test_files_that_git_itself_keeps_are_verified(hub: Hub, tiny_bundle: Path) -> None:
    hub.large = "\0"
    hub.add("alice/parser", tiny_bundle)
    bundle = load_bundle("hf://alice/parser")
    paths, _ = gather_files(bundle)
    paths["parser.safetensors"].write_bytes(bytes(paths["parser.safetensors"].stat().st_size))
    with pytest.raises(WeightsError, match="wrong hash"):
        gather_files(bundle)


def test_pickles_are_not_read_from_a_hub(hub: Hub, tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickles"
    shutil.copytree(tiny_bundle, folder)
    (folder / "parser.safetensors").rename(folder / "parser.pt")
    text = (folder / "bundle.toml").read_text()
    (folder / "bundle.toml").write_text(text.replace("parser.safetensors", "parser.pt"))
    hub.add("alice/parser", folder)
    with pytest.raises(WeightsError, match=r"'parser\.pt' is not read from a hub"):
        load_bundle("hf://alice/parser")


def with_thresholds(tiny_bundle: Path, content: bytes) -> dict[str, bytes]:
    files = {path.name: path.read_bytes() for path in tiny_bundle.iterdir()}
    described = files["bundle.toml"].replace(
        b'parser.safetensors" }\n', b'parser.safetensors", thresholds = "thresholds.toml" }\n'
    )
    assert b"thresholds" in described
    return files | {"bundle.toml": described, "thresholds.toml": content}


def test_thresholds_come_with_the_bundle(hub: Hub, tiny_bundle: Path) -> None:
    hub.repositories["alice/tuned"] = Repository()
    hub.repositories["alice/tuned"].commit(with_thresholds(tiny_bundle, b"[visual.video]\nDog = 0.7\n"))
    loaded = load_networks("hf://alice/tuned")
    assert loaded.thresholds.visual_video.tolist() == [0.7, 0.5, 0.5]
    assert "thresholds.toml" in loaded.hashes


def test_thresholds_of_any_size_are_not_downloaded(hub: Hub, tiny_bundle: Path) -> None:
    hub.repositories["alice/large"] = Repository()
    hub.repositories["alice/large"].commit(with_thresholds(tiny_bundle, b"#" * (4 << 20) + b"\n"))
    with pytest.raises(WeightsError, match="more than such a file may have"):
        load_bundle("hf://alice/large")


def test_a_large_description_and_a_wrong_one_are_refused(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "bundle.toml").write_text("#" * 300_000)
    hub.add("alice/large", tmp_path)
    with pytest.raises(WeightsError, match="more than such a file may have"):
        load_bundle("hf://alice/large")
    (tmp_path / "bundle.toml").write_text('profile = "llp"\nextractors = { a = "../x.safetensors" }\nparser = {}\n')
    hub.add("alice/wrong", tmp_path)
    with pytest.raises(WeightsError, match="leads out of the folder"):
        load_bundle("hf://alice/wrong")


def test_hashes_that_a_bundle_states_are_compared(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hashed"
    shutil.copytree(tiny_bundle, folder)
    with (folder / "bundle.toml").open("a") as file:
        file.write(f'[sha256]\n"parser.safetensors" = "{"0" * 64}"\n')
    with pytest.raises(WeightsError, match="but the bundle states 0000"):
        gather_files(load_bundle(str(folder)))
    with (folder / "bundle.toml").open("a") as file:
        file.write('"x" = "F0"\n')
    with pytest.raises(WeightsError, match="is no sha256"):
        load_bundle(str(folder))


def test_an_endpoint_without_tls_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://example.com")
    with pytest.raises(WeightsError, match="not an https address"):
        load_bundle("hf://alice/parser")


def test_a_cache_that_cannot_be_written_is_named(hub: Hub, tiny_bundle: Path, tmp_path: Path) -> None:
    hub.add("alice/parser", tiny_bundle)
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot be written"):
        load_bundle("hf://alice/parser", WeightSource(tmp_path / "file"))


def test_a_damaged_record_is_named(hub: Hub, tiny_bundle: Path) -> None:
    hub.add("alice/parser", tiny_bundle)
    root = load_bundle("hf://alice/parser").root
    assert root is not None
    for text in ("", "[]", '{"files": {"a": [1]}}', '{"files": 3}'):
        (root / "hub.json").write_text(text)
        with pytest.raises(WeightsError, match=r"hub\.json: damaged"):
            load_bundle("hf://alice/parser")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(WeightsError, match=r"avvp\[hub\]"):
        load_bundle("hf://alice/parser")


def test_the_command_line_parses_with_a_bundle_of_a_hub(
    hub: Hub, tiny_bundle: Path, clips: Clips, run: Callable[..., Result], tmp_path: Path
) -> None:
    commit = hub.add("alice/parser", tiny_bundle)
    output = tmp_path / "clip.json"
    result = run("parse", clips.steady, "--weights", "hf://alice/parser", "--device", "cpu", "-q", "-o", output)
    assert result.status == 0, result.err
    provenance = json.loads(output.read_text())["provenance"]
    assert provenance["bundle"] == f"hf://alice/parser@{commit}"
    local = run("parse", clips.steady, "--weights", tiny_bundle, "--device", "cpu", "-q", "-o", tmp_path / "local.json")
    assert local.status == 0, local.err
    assert json.loads((tmp_path / "local.json").read_text())["events"] == json.loads(output.read_text())["events"]
    refused = run("parse", clips.steady, "--weights", "hf://alice/none", "-q")
    assert refused.status == 2
    assert "no such repository" in refused.err
    assert "Traceback" not in refused.err


def test_networks_load_by_address(hub: Hub, tiny_bundle: Path) -> None:
    commit = hub.add("alice/parser", tiny_bundle)
    assert load_networks("hf://alice/parser", device="cpu").name.endswith(commit)


def test_a_run_gets_copies_of_the_extractors_of_a_hub(hub: Hub, tiny_bundle: Path, tmp_path: Path) -> None:
    hub.add("alice/parser", tiny_bundle)
    spec = load_networks(str(tiny_bundle), device="cpu").extractors.spec
    assert not write_bundle(tmp_path, spec, load_bundle("hf://alice/parser"), WeightSource())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bundle.toml", "r2plus1d_tiny.safetensors", "resnet_tiny.safetensors", "vggish_tiny.safetensors",
    ]  # fmt: skip
    copy, original = tmp_path / "vggish_tiny.safetensors", tiny_bundle / "vggish.safetensors"
    assert copy.read_bytes() == original.read_bytes()
