"""Shards of a run: which inputs they take, what they lock, what they leave alone; categories of failures."""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from avvp.pipeline.batch.failures import Failure, category_of_input, count_categories, write_failures
from avvp.pipeline.batch.journal import InputFingerprint, Journal, JournalEntry
from avvp.pipeline.batch.local_storage import LocalStorage
from avvp.pipeline.batch.plan import BatchJob, make_plan
from avvp.pipeline.batch.remote_storage import RemoteStorage
from avvp.pipeline.batch.storage import Shard
from avvp.pipeline.durable import create_part
from avvp.pipeline.errors import DecodeTimeoutError, MediaError, SetupError, category_of
from support.command import Result
from support.fake_engine import use_fake_engine

Run = Callable[..., Result]
SECOND = Shard(2, 3)


def test_every_input_belongs_to_one_shard_and_stays_there() -> None:
    names = [f"clip{number:05}" for number in range(8000)] + ["sub/ä ö", "\udcff", ""]
    shards = [Shard(number, 16) for number in range(1, 17)]
    owners = {name: [str(shard) for shard in shards if shard.holds(name)] for name in names}
    assert all(len(found) == 1 for found in owners.values())
    sizes = Counter(found[0] for found in owners.values())
    assert len(sizes) == 16
    assert 400 < min(sizes.values()) < max(sizes.values()) < 600
    # sha256("a") begins with ca978112ca1bbdca, of which the remainder by 16 is 10
    assert Shard(11, 16).holds("a")
    with pytest.raises(ValueError, match="no shard 0/16: the first is 1/16, the last 16/16"):
        Shard(0, 16)


@pytest.fixture(params=["folder", "address"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "out") if request.param == "folder" else f"file://{tmp_path}/out"


def test_shards_make_what_one_run_makes(
    run: Run, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    use_fake_engine(monkeypatch)
    (tmp_path / "in").mkdir()
    for number in range(12):
        (tmp_path / f"in/{number}.mp4").write_bytes(b"bad" if number % 4 == 0 else b"%d" % number)
    (tmp_path / "list.txt").write_text("in/gone.mp4\n")
    common = ("extract", tmp_path / "in", "--list", tmp_path / "list.txt", "--weights", tiny_bundle, "-o")
    assert run(*common, tmp_path / "whole").status == 1
    results = [run(*common, out, "--shard", f"{number}/3") for number in (3, 1, 2)]
    assert {result.status for result in results} == {1}
    assert sum(int(result.err.splitlines()[0].split()[0]) for result in results) == 9
    whole, parts = contents(tmp_path / "whole"), contents(tmp_path / "out")
    assert rows(whole.pop("failures.csv")) == rows(parts.pop("failures.csv"))
    assert whole == parts
    assert run("status", out).out.splitlines()[1:4] == [
        "  done         9", "  failed       4: 3 damaged, 1 missing", "  left         0",
    ]  # fmt: skip
    again = run(*common, out)
    assert "0 done, 9 done before, 4 failed; causes: 3 damaged, 1 missing" in again.err
    (tmp_path / "in/0.mp4").write_bytes(b"good")
    for number in (1, 2, 3):
        run(*common, out, "--shard", f"{number}/3")
    assert Counter(category for _, _, category, _ in rows((tmp_path / "out/failures.csv").read_bytes())) == {
        "damaged": 2, "missing": 1, "category": 1,
    }  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "journal"
    }


def rows(content: bytes) -> list[list[str]]:
    return sorted(csv.reader(content.decode().splitlines()))


def test_the_store_is_made_once_all_shards_are_done(
    run: Run, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_fake_engine(monkeypatch)
    (tmp_path / "a.mp4").write_bytes(b"a")
    common = ("extract", tmp_path / "a.mp4", "--layout", "packed", "--weights", tiny_bundle, "-o", tmp_path / "out")
    result = run(*common, "--shard", "1/1")
    assert "the same command without --shard makes the packed store" in result.err
    assert not (tmp_path / "out/index.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0/16", "counted from 1 to 16; add 1 to indices that begin with 0 (in a Slurm job, --array=1-16)"),
        ("17/16", "there are 16 shards; the last is 16/16"),
        ("3", "is not K/N"),
        ("1/0", "is not K/N"),
        ("-1/3", "is not K/N"),
        ("/16", "is not K/N"),
    ],
)
def test_other_shards_are_wrong_usage(run: Run, tmp_path: Path, text: str, message: str) -> None:
    result = run("extract", tmp_path, "-o", tmp_path / "out", "--shard", text)
    assert result.status == 2
    assert message in " ".join(result.err.split())
    assert not (tmp_path / "out").exists()


def test_ray_has_no_shards(run: Run, tmp_path: Path) -> None:
    result = run("extract", tmp_path, "-o", tmp_path / "out", "--shard", "1/2", "--engine", "ray")
    assert (result.status, "--shard is for clusters without Ray" in result.err) == (2, True)


@pytest.mark.parametrize(
    ("held", "wanted", "message"),
    [
        (SECOND, SECOND, "another process works on shard 2/3"),
        (SECOND, Shard(1, 2), "in use by shards of 3"),
        (SECOND, None, "in use by"),
        (None, SECOND, "in use by a run without --shard"),
        (SECOND, Shard(1, 3), ""),
    ],
)
def test_runs_that_share_inputs_exclude_each_other(
    tmp_path: Path, held: Shard | None, wanted: Shard | None, message: str
) -> None:
    refused = pytest.raises(SetupError, match=message) if message else contextlib.nullcontext()
    with LocalStorage(tmp_path).exclusive_lock(held), refused, LocalStorage(tmp_path).exclusive_lock(wanted):
        pass
    with LocalStorage(tmp_path).exclusive_lock(wanted):  # the lock files that are left do not matter
        pass


def test_locks_of_files_exclude_where_folders_have_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS locks files that are open for writing, and no folders."""
    real = fcntl.flock

    def of_nfs(descriptor: int, kind: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            raise OSError(errno.EBADF, "Bad file descriptor")
        real(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", of_nfs)
    with LocalStorage(tmp_path).exclusive_lock(SECOND):
        for wanted in (SECOND, Shard(1, 2), None):
            with pytest.raises(SetupError), LocalStorage(tmp_path).exclusive_lock(wanted):
                pass


def test_a_shard_removes_its_own_temporary_files_only(tmp_path: Path) -> None:
    (tmp_path / "vggish").mkdir()
    made = {
        owner: [create_part(folder, owner)[0] for folder in (tmp_path, tmp_path / "vggish")]
        for owner in ("2-of-3", "1-of-3", "12-of-3", "")
    }
    storage = LocalStorage(tmp_path)
    with storage.exclusive_lock(SECOND):
        storage.clear(["", "vggish"])
        written: list[str] = []
        storage.store("vggish/a", lambda path: written.append(path.name))
    assert ".2-of-3" not in written[0]
    assert "-2-of-3." in written[0]
    left = {owner for owner, paths in made.items() if all(path.exists() for path in paths)}
    assert left == {"1-of-3", "12-of-3", ""}
    assert not any(path.exists() for path in made["2-of-3"])
    with storage.exclusive_lock():
        storage.clear(["vggish"])
    assert not list(tmp_path.rglob("*.part"))


def test_failures_of_other_shards_stay(tmp_path: Path) -> None:
    for storage in (LocalStorage(tmp_path), RemoteStorage(f"file://{tmp_path}")):
        write_failures(storage, {"b": Failure(Path("b.mp4"), 'no, "x"\ny', "damaged")}, {"b", "c"})
        write_failures(storage, {"a": Failure(Path("a.mp4"), "slow", "timeout")}, {"a"})
        content = (tmp_path / "failures.csv").read_text()
        assert content == 'id,path,category,cause\na,a.mp4,timeout,slow\nb,b.mp4,damaged,"no, ""x""\\ny"\n'
        write_failures(storage, {}, {"b", "c"})
        assert (tmp_path / "failures.csv").read_text() == "id,path,category,cause\na,a.mp4,timeout,slow\n"
        (tmp_path / "failures.csv").write_bytes(b"\xff\x00not,a\nlist\n")  # of somebody else
        write_failures(storage, {}, {"a"})
        assert not (tmp_path / "failures.csv").exists()


def test_failures_of_a_shard_that_ends_while_another_begins_are_no_strangers(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    journal = Journal(storage)  # of a shard that loads its networks while the other one works
    other = Journal(storage)
    other.append(JournalEntry("b", "failed", InputFingerprint("b.mp4", 1, 1), {}, cause="gone", category="missing"))
    other.close()
    write_failures(storage, {"b": Failure(Path("b.mp4"), "gone", "missing")}, {"b"})
    job = BatchJob({}, storage, {}, shard=Shard(1, 2))
    make_plan(job, journal)
    with pytest.raises(SetupError, match="not made by an earlier run"):
        make_plan(replace(job, shard=None), journal)


def test_categories(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert category_of_input(tmp_path / "gone") == "missing"
    assert category_of_input(tmp_path / "loop") == "missing"
    assert category_of_input(tmp_path / ("x" * 300)) == "name"
    assert category_of_input(Path("a\0b")) == "missing"
    found = {
        number: category_of(OSError(number, "")) for number in (errno.EACCES, errno.ESTALE, errno.EDQUOT, errno.EIO)
    }
    assert list(found.values()) == ["permission", "network", "disk-full", "io"]
    assert category_of(MemoryError()) == "out-of-memory"
    assert category_of(KeyError()) == "internal"
    assert MediaError(tmp_path, "x").category == "damaged"
    assert DecodeTimeoutError(tmp_path, "x").category == "timeout"
    assert count_categories(["io", "damaged", "", "damaged"]) == {"damaged": 2, "io": 1, "unknown": 1}
