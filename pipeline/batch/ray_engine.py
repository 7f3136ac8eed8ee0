"""The engine of batch runs on a Ray cluster: Ray Data hands videos to actors, each of which is an `Engine`.

The machine that starts the run plans and keeps the journal; the actors load the networks once, decode, compute and
write. What an actor says of a video is a row, failures too: a bad file is no crash. When a node is lost, Ray gives its
videos to others.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...weights.errors import WeightsError
from ..errors import AVVPError, SetupError
from ..text import escape
from .engine import Engine
from .journal import JOURNAL_FOLDER
from .open_storage import open_storage
from .plan import OutputSpec
from .storage import OutputFingerprint, Storage
from .task import Task
from .work import Result, VideoJob, VideoOutputs

_VIDEOS_AT_ONCE = {"cpu": 4, "cuda": 64}  # that an actor is given: what is lost with it, and what fills its batches


class RayEngine:
    """A context manager. `run` gives the results of the cluster's actors.

    where: a folder that all nodes see under this name, or an address. address: the cluster's; None is RAY_ADDRESS, or
    a cluster of this machine alone. actors, cpus, gpus: how many, and what each reserves; by default as many as fit,
    on GPUs one actor for each, else one for each node. Raises SetupError where Ray is not installed.
    """

    at_once = 10_000

    def __init__(
        self,
        task: Task[Any],
        products: Mapping[str, OutputSpec],
        where: str,
        *,
        address: str | None = None,
        actors: int | None = None,
        cpus: int | None = None,
        gpus: float | None = None,
    ) -> None:
        if importlib.util.find_spec("ray") is None or importlib.util.find_spec("pyarrow") is None:
            raise SetupError("--engine ray needs Ray Data: pip install 'avvp[ray]'")
        if task.settings.device not in {"auto", "cpu", "cuda"}:
            raise SetupError("on a cluster, Ray chooses the GPUs: --device auto, cpu or cuda")
        if task.settings.device == "cuda" and gpus == 0:
            raise SetupError("--gpus-per-actor 0 and --device cuda exclude each other")
        self._task, self._products = task.for_other_machines(), products
        self._where = where if "://" in where else str(Path(where).absolute())
        self._address, self._actors, self._cpus, self._gpus = address, actors, cpus, gpus
        self._reserved = (1, 0.0, 1)
        self._started = False
        self._token = f"{JOURNAL_FOLDER}/{secrets.token_hex(8)}.run"

    def __enter__(self) -> RayEngine:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # of this program; that of the cluster is its own
        with _muted():
            import ray

            if not ray.is_initialized():
                try:
                    ray.init(self._address, log_to_driver=False, logging_level=logging.ERROR)
                except (ConnectionError, ValueError, RuntimeError) as error:
                    raise SetupError(f"the Ray cluster cannot be reached: {escape(error)}") from error
                self._started = True
        try:
            self._reserved = self._reserve(ray)
            open_storage(self._where).write(self._token, b"")  # by which actors know that it is the same storage
        except AVVPError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(AVVPError):
            open_storage(self._where).remove(self._token)
        if self._started:
            import ray

            ray.shutdown()

    def run(self, works: Iterable[VideoJob]) -> Iterator[Result]:
        """The results of videos in the order in which they are done. Raises what is not one video's fault."""
        asked = {work.id: work for work in works}
        if not asked:
            return
        import ray
        from ray.exceptions import RayError

        cpus, gpus, most = self._reserved
        settings = replace(self._task.settings, device="cuda" if gpus else "cpu", threads=cpus)
        at_once = min(_VIDEOS_AT_ONCE["cuda" if gpus else "cpu"], -(-len(asked) // most))
        items = [{"work": json.dumps({**asdict(work), "path": str(work.path.absolute())})} for work in asked.values()]
        _be_quiet(ray)
        rows = ray.data.from_items(items, override_num_blocks=-(-len(items) // at_once)).map_batches(
            _Actor,
            fn_constructor_args=(
                replace(self._task, settings=settings),
                dict(self._products),
                self._where,
                self._token,
                at_once,
            ),
            compute=ray.data.ActorPoolStrategy(
                min_size=1, initial_size=most, max_size=most, max_tasks_in_flight_per_actor=2
            ),
            num_cpus=cpus,
            num_gpus=gpus,
            batch_size=None,
            batch_format="numpy",
        )
        try:
            for row in rows.iter_rows():
                told = json.loads(row["result"])
                if "ended" in told:
                    raise AVVPError(told["ended"])
                yield _read_result(told, asked[told["id"]])
        except RayError as error:
            reason = str(error).strip().rsplit("\n", 1)[-1]
            raise AVVPError(f"the Ray cluster gave up: {escape(reason)}") from error

    def _reserve(self, ray: Any) -> tuple[int, float, int]:
        """Cores and GPUs of an actor, and how many actors there are at most."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        on_gpu = self._task.settings.device != "cpu" and any(node.get("GPU") for node in nodes)
        if self._task.settings.device == "cuda" and not on_gpu:
            raise SetupError("no node of the Ray cluster has a GPU")
        if self._gpus and not on_gpu:
            raise SetupError("--gpus-per-actor: no node of the Ray cluster has a GPU, or --device is cpu")
        gpus = (self._gpus if self._gpus is not None else 1.0) if on_gpu else 0.0
        able = [node for node in nodes if node.get("GPU", 0) >= gpus and node.get("CPU", 0) >= (self._cpus or 1)]
        if not able:
            raise SetupError(f"no node of the Ray cluster has {self._cpus or 1} cores and {gpus:g} GPUs")
        shares = [int(node["GPU"] / gpus) if gpus else 1 for node in able]
        cpus = self._cpus or max(1, min(int(node["CPU"] / share) for node, share in zip(able, shares, strict=True)))
        fitting = [
            min(int(node["CPU"] / cpus), share if gpus else int(node["CPU"]))
            for node, share in zip(able, shares, strict=True)
        ]
        return cpus, gpus, self._actors or max(1, sum(fitting))


class _Actor:
    """On a node: an engine that stays while videos come. What goes wrong with all of them is told once, as a row."""

    def __init__(
        self, task: Task[Any], products: Mapping[str, OutputSpec], where: str, token: str, videos: int
    ) -> None:
        self._engine: Engine | None = None
        self._ended = ""
        try:
            storage = self._open(where, token)
            loaded = task.load()
            if task.products(loaded) != products:
                raise SetupError("the weights on this node are not those of the machine that started the run")
            self._engine = task.engine(loaded, products, storage, videos=videos)
            self._engine.__enter__()
        except Exception as error:
            self._ended = _describe_end(error)

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[str]]]:
        works = [_read_work(json.loads(text)) for text in batch["work"]]
        if self._engine is not None and not self._ended:
            try:
                for result in self._engine.run(works):
                    yield {"result": [json.dumps(_describe(result))]}
                return
            except Exception as error:
                self._ended = _describe_end(error)
        yield {"result": [json.dumps({"ended": self._ended})]}

    @staticmethod
    def _open(where: str, token: str) -> Storage:
        """Raises SetupError unless it is where the machine that started the run looks for the results."""
        if "://" in where or Path(where).is_dir():
            storage = open_storage(where)
            if storage.exists(token):
                return storage
        raise SetupError(f"{where}: not the same folder on every node; use one that all share, or an address")


def _describe_end(error: Exception) -> str:
    told = isinstance(error, AVVPError | WeightsError)
    return (
        f"on a node: {error}"
        if told
        else f"internal error on a node, please report it: {type(error).__name__}: {error}"
    )


def _read_work(told: dict[str, Any]) -> VideoJob:
    return VideoJob(told["id"], Path(told["path"]), tuple(told["streams"]), tuple(told["products"]))


def _describe(result: Result) -> dict[str, Any]:
    made = None if result.made is None else asdict(result.made)
    return {"id": result.work.id, "seconds": result.seconds, "made": made, "cause": result.cause}


def _read_result(told: dict[str, Any], work: VideoJob) -> Result:
    made = told["made"]
    if made is not None:
        outputs = {product: OutputFingerprint(**output) for product, output in made["outputs"].items()}
        made = VideoOutputs(outputs, tuple(made["warnings"]), made["media"], made["note"])
    return Result(work, told["seconds"], made, told["cause"])


@contextlib.contextmanager
def _muted() -> Iterator[None]:
    """What Ray's own core says at its start goes nowhere; what is wrong comes as an exception."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _be_quiet(ray: Any) -> None:
    """The run's own progress is shown; Ray's logs are in its session folder."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
