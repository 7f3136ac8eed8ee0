"""The engine of batch runs on a Ray cluster: Ray Data distributes videos to actors, each of which runs an `Engine`.

The machine that starts the run plans and keeps the journal; the actors load the networks once, decode, compute and
write. An actor returns one row per video, for failures too, so a bad file is not a crash. When a node is lost, Ray
reassigns its videos.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...weights.errors import WeightsError
from ..errors import AVVPError, SetupError
from ..text import escape
from .engine import Engine
from .open_storage import open_storage
from .plan import OutputSpec
from .storage import JOURNAL_FOLDER, OutputFingerprint, Storage
from .task import Task
from .work import Result, VideoJob, VideoOutputs

_NEW_CLUSTER = "local"  # Ray's address for a cluster of this process
_CLUSTER_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # "0": Ray listens on loopback only, on every system
_MAX_FOLDER = 38  # characters; Ray adds 67 for its sockets, whose names may have 107
_BLOCK_VIDEOS = {"cpu": 4, "cuda": 64}  # per block of an actor: few are lost with it, enough fill its batches


class RayEngine:
    """Runs jobs on the actors of a Ray cluster. A context manager."""

    journal_batch = 10_000

    def __init__(
        self,
        task: Task[Any],
        specs: Mapping[str, OutputSpec],
        where: str,
        *,
        address: str | None = None,
        actors: int | None = None,
        cpus: int | None = None,
        gpus: float | None = None,
    ) -> None:
        """Check the options; the cluster is reached in `with`.

        Args:
            task: what actors run.
            specs: its outputs.
            where: the storage: a folder that all nodes see under this path, or an fsspec address.
            address: of the cluster; None is RAY_ADDRESS, or a new cluster on this machine.
            actors: number of actors; None is as many as fit.
            cpus: cores that each actor reserves; None is all of a node's, divided among its actors.
            gpus: GPUs that each actor reserves, 0.5 for half of one; None is one, where there are GPUs.

        Raises:
            SetupError: Ray is not installed, or the options exclude each other.
        """
        if importlib.util.find_spec("ray") is None or importlib.util.find_spec("pyarrow") is None:
            raise SetupError("--engine ray needs Ray Data: pip install 'avvp[ray]'")
        if task.settings.device not in {"auto", "cpu", "cuda"}:
            raise SetupError("on a cluster, Ray chooses the GPUs: --device auto, cpu or cuda")
        if task.settings.device == "cuda" and gpus == 0:
            raise SetupError("--gpus-per-actor 0 and --device cuda exclude each other")
        self._task, self._specs = task.for_other_machines(), specs
        self._where = where if "://" in where else str(Path(where).absolute())
        self._address, self._actors, self._cpus, self._gpus = address, actors, cpus, gpus
        self._reserved = (1, 0.0, 1)
        self._started = False
        self._own = contextlib.ExitStack()  # what a cluster on this machine needs
        self._token = f"{JOURNAL_FOLDER}/{secrets.token_hex(8)}.run"

    def __enter__(self) -> RayEngine:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # of this process, not of the cluster
        try:
            with _muted():
                self._connect()
            import ray

            self._reserved = self._reserve(ray)
            # Actors look for it, to check that they see the same storage.
            open_storage(self._where).write(self._token, b"")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(AVVPError):
            open_storage(self._where).remove(self._token)
        if self._started:
            import ray

            ray.shutdown()
        self._own.close()

    def _connect(self) -> None:
        """Connect to the cluster, or start one on this machine. Raises SetupError."""
        address = self._address or os.environ.get("RAY_ADDRESS") or _NEW_CLUSTER
        settings = self._own.enter_context(_on_loopback()) if address == _NEW_CLUSTER else {}
        import ray

        if not ray.is_initialized():
            try:
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **settings)
            except (OSError, ValueError, RuntimeError) as error:
                raise SetupError(f"the Ray cluster cannot be reached: {escape(error)}") from error
            self._started = True

    def run(self, jobs: Iterable[VideoJob]) -> Iterator[Result]:
        """Yield results in the order in which videos are done. Raises what is not the fault of one video."""
        by_id = {job.id: job for job in jobs}
        if not by_id:
            return
        import ray
        from ray.exceptions import RayError

        cpus, gpus, max_actors = self._reserved
        settings = replace(self._task.settings, device="cuda" if gpus else "cpu", threads=cpus)
        block_videos = min(_BLOCK_VIDEOS["cuda" if gpus else "cpu"], -(-len(by_id) // max_actors))
        items = [{"job": json.dumps({**asdict(job), "path": str(job.path.absolute())})} for job in by_id.values()]
        _silence_ray(ray)
        rows = ray.data.from_items(items, override_num_blocks=-(-len(items) // block_videos)).map_batches(
            _Actor,
            fn_constructor_args=(
                replace(self._task, settings=settings),
                dict(self._specs),
                self._where,
                self._token,
                block_videos,
            ),
            compute=ray.data.ActorPoolStrategy(
                min_size=1, initial_size=max_actors, max_size=max_actors, max_tasks_in_flight_per_actor=2
            ),
            num_cpus=cpus,
            num_gpus=gpus,
            batch_size=None,
            batch_format="numpy",
        )
        try:
            for row in rows.iter_rows():
                message = json.loads(row["result"])
                if "ended" in message:
                    raise AVVPError(message["ended"])
                yield _decode_result(message, by_id[message["id"]])
        except RayError as error:
            reason = str(error).strip().rsplit("\n", 1)[-1]
            raise AVVPError(f"the Ray cluster gave up: {escape(reason)}") from error

    def _reserve(self, ray: Any) -> tuple[int, float, int]:
        """Return cores and GPUs of an actor, and the largest number of actors."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        on_gpu = self._task.settings.device != "cpu" and any(node.get("GPU") for node in nodes)
        if self._task.settings.device == "cuda" and not on_gpu:
            raise SetupError("no node of the Ray cluster has a GPU")
        if self._gpus and not on_gpu:
            raise SetupError("--gpus-per-actor: no node of the Ray cluster has a GPU, or --device is cpu")
        gpus = (self._gpus if self._gpus is not None else 1.0) if on_gpu else 0.0
        usable = [node for node in nodes if node.get("GPU", 0) >= gpus and node.get("CPU", 0) >= (self._cpus or 1)]
        if not usable:
            raise SetupError(f"no node of the Ray cluster has {self._cpus or 1} cores and {gpus:g} GPUs")
        shares = [int(node["GPU"] / gpus) if gpus else 1 for node in usable]
        cpus = self._cpus or max(1, min(int(node["CPU"] / share) for node, share in zip(usable, shares, strict=True)))
        fitting = [
            min(int(node["CPU"] / cpus), share if gpus else int(node["CPU"]))
            for node, share in zip(usable, shares, strict=True)
        ]
        return cpus, gpus, self._actors or max(1, sum(fitting))


class _Actor:
    """An engine on a node, kept between blocks of videos. An error that affects all videos is returned as one row."""

    def __init__(self, task: Task[Any], specs: Mapping[str, OutputSpec], where: str, token: str, videos: int) -> None:
        self._engine: Engine | None = None
        self._ended = ""
        try:
            storage = self._open(where, token)
            loaded = task.load()
            run = task.start(loaded, storage)
            if run.specs != specs:
                raise SetupError("the weights on this node are not those of the machine that started the run")
            self._engine = task.engine(task.compile(run), videos=videos)
            self._engine.__enter__()
        except Exception as error:
            self._ended = _describe_end(error)

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[str]]]:
        jobs = [_decode_job(json.loads(text)) for text in batch["job"]]
        if self._engine is not None and not self._ended:
            try:
                for result in self._engine.run(jobs):
                    yield {"result": [json.dumps(_encode_result(result))]}
                return
            except Exception as error:
                self._ended = _describe_end(error)
        yield {"result": [json.dumps({"ended": self._ended})]}

    @staticmethod
    def _open(where: str, token: str) -> Storage:
        """Open the storage. Raises SetupError unless it is the one that the machine that started the run sees."""
        if "://" in where or Path(where).is_dir():
            storage = open_storage(where)
            if storage.exists(token):
                return storage
        raise SetupError(f"{escape(where)}: not the same folder on every node; use one that all share, or an address")


def _describe_end(error: Exception) -> str:
    if isinstance(error, AVVPError | WeightsError):
        return f"on a node: {error}"
    return f"internal error on a node, please report it: {type(error).__name__}: {error}"


def _decode_job(message: dict[str, Any]) -> VideoJob:
    return VideoJob(message["id"], Path(message["path"]), tuple(message["streams"]), tuple(message["output_names"]))


def _encode_result(result: Result) -> dict[str, Any]:
    outputs = None if result.outputs is None else asdict(result.outputs)
    return {
        "id": result.job.id,
        "seconds": result.seconds,
        "outputs": outputs,
        "cause": result.cause,
        "category": result.category,
    }


def _decode_result(message: dict[str, Any], job: VideoJob) -> Result:
    outputs = message["outputs"]
    if outputs is not None:
        files = {name: OutputFingerprint(**file) for name, file in outputs["files"].items()}
        outputs = VideoOutputs(files, tuple(outputs["warnings"]), outputs["media"], outputs["note"])
    return Result(job, message["seconds"], outputs, message["cause"], message["category"])


@contextlib.contextmanager
def _on_loopback() -> Iterator[dict[str, Any]]:
    """Let Ray listen on the loopback interface only, and remove its files in the end: nobody else is to use it.

    Yields:
        Arguments of `ray.init`. By default Ray listens on all interfaces, and runs what it is sent.
    """
    before = os.environ.get(_CLUSTER_SWITCH)
    os.environ[_CLUSTER_SWITCH] = "0"
    from ray._private import ray_constants

    enabled, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False  # of an earlier import
    parent = Path(tempfile.gettempdir())
    if len(str(parent)) + len("/avvp-12345678") > _MAX_FOLDER:
        parent = Path("/tmp")  # noqa: S108 - mkdtemp makes a private folder
    folder = tempfile.mkdtemp(prefix="avvp-", dir=parent)
    try:
        yield {"_node_ip_address": "127.0.0.1", "_temp_dir": folder, "include_dashboard": False}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        ray_constants.ENABLE_RAY_CLUSTER = enabled
        if before is None:
            del os.environ[_CLUSTER_SWITCH]
        else:
            os.environ[_CLUSTER_SWITCH] = before


@contextlib.contextmanager
def _muted() -> Iterator[None]:
    """Discard what Ray's core prints on stderr at its start; errors are raised as exceptions."""
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


def _silence_ray(ray: Any) -> None:
    """Turn off Ray's progress bars: the run shows its own, and Ray logs to its session folder."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
