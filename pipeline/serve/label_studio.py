"""Routes of Label Studio's ML backend: its tasks get the events of their media as predictions.

Source: the requests of Label Studio 1.x to a backend, `label_studio/ml/api_connector.py` in its repository.
"""

from __future__ import annotations

import time

from fastapi import APIRouter, Request, Response

from . import schemas
from .answers import RequestError, answer, read_object, refusals
from .jobs.desk import Desk
from .jobs.limits import MAX_REQUEST_BYTES, MAX_TASK_SECONDS, MAX_TASKS
from .label_studio_media import LabelStudioHost
from .predictions import Predictions


def label_studio_routes(desk: Desk, host: LabelStudioHost | None) -> APIRouter:
    """Return the routes of the ML backend.

    Args:
        desk: of the server.
        host: that media may be fetched from; None for none.
    """
    router = APIRouter(tags=["Label Studio"])
    predictions = Predictions(desk, host)

    @router.get("/health")
    def health() -> Response:
        """Say that the server answers."""
        return answer({"status": "UP", "model_class": "avvp"})

    @router.post("/setup", responses=refusals(400, 413), openapi_extra=schemas.OBJECT_BODY)
    async def setup(request: Request) -> Response:
        """Return the version of the model. What the request says of hosts and tokens is not used."""
        await read_object(request, MAX_REQUEST_BYTES)
        return answer({"model_version": desk.engine.model})

    @router.post("/predict", responses=refusals(400, 413, 422, 503), openapi_extra=schemas.OBJECT_BODY)
    async def predict(request: Request) -> Response:
        """Return the events of the media of tasks, parsed where they are not yet."""
        end = time.monotonic() + MAX_TASK_SECONDS
        tasks = (await read_object(request, MAX_REQUEST_BYTES)).get("tasks")
        if not isinstance(tasks, list) or len(tasks) > MAX_TASKS:
            raise RequestError(400, f'expected "tasks", a list of at most {MAX_TASKS}')
        results = await predictions.of(tasks, end)
        if len(tasks) == 1 and "error" in results[0]:
            raise RequestError(422, results[0]["error"])
        return answer({"results": results, "model_version": desk.engine.model})

    return router
