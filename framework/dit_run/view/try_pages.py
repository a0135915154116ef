"""Addresses for images that are made on the page."""

from __future__ import annotations

import json

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from dit_run.problems import InputError
from dit_run.view.app import json_answer
from dit_run.view.library import RunLibrary
from dit_run.view.try_queue import TryJob, TryQueue
from dit_run.view.try_settings import offered, read_settings

__all__ = ["TryPages"]

_LARGEST = 2**18
"""Largest request (bytes)."""


class TryPages:
    """The form, the queue and the images of jobs."""

    def __init__(self, library: RunLibrary, queue: TryQueue) -> None:
        self.library = library
        self.queue = queue

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/runs/{run}/try", self.form, methods=["GET"]),
            Route("/api/runs/{run}/try", self.start, methods=["POST"]),
            Route("/api/try", self.jobs),
            Route("/api/try/{job}", self.cancel, methods=["DELETE"]),
            Route("/api/try/{job}/{index:int}.png", self.image),
        ]

    def form(self, request: Request) -> Response:
        files = self.library.run(request.path_params["run"])
        if files is None:
            raise HTTPException(404)
        return json_answer(offered(files))

    async def start(self, request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LARGEST:
                raise HTTPException(413)
        return await run_in_threadpool(self._start, request.path_params["run"], body)

    def _start(self, run: str, body: bytes) -> Response:
        files = self.library.run(run)
        if files is None:
            raise HTTPException(404)
        try:
            return json_answer(self.queue.add(files, read_settings(files, json.loads(body))).plain(), 201)
        except (ValueError, RecursionError):
            return json_answer({"error": "the settings are not JSON"}, 400)
        except InputError as error:
            return json_answer({"error": str(error)}, 400)

    def jobs(self, request: Request) -> Response:
        return json_answer({"jobs": [job.plain() for job in self.queue.jobs()], "loaded": self.queue.loaded})

    def cancel(self, request: Request) -> Response:
        job = self._job(request)
        self.queue.cancel(job)
        return json_answer(job.plain())

    def image(self, request: Request) -> Response:
        job, index = self._job(request), request.path_params["index"]
        if index >= len(job.images):
            raise HTTPException(404)
        return Response(job.images[index], media_type="image/png")

    def _job(self, request: Request) -> TryJob:
        job = self.queue.job(request.path_params["job"])
        if job is None:
            raise HTTPException(404)
        return job
