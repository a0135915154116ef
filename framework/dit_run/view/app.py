"""The application: addresses of the page, of its data and of its images."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, FileSystemLoader
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from dit_run import __version__
from dit_run.runs.reading.run_files import RunFiles
from dit_run.view.config_entries import config_entries, differing_entries
from dit_run.view.curves import curves
from dit_run.view.library import Kept, RunLibrary, stamp
from dit_run.view.run_data import run_details, run_row
from dit_run.view.web_images import cell_webp, file_webp, thumbnail_webp

__all__ = ["HERE", "RunPages", "build_app", "json_answer", "plain_json", "templates"]

HERE = Path(__file__).parent
_IMAGE_BYTES = 32 * 2**20
_READING = 0.4
"""Longest time that one request reads metrics (s); the page asks again for the rest."""
_MOST_POINTS = 4000


def templates() -> Environment:
    return Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True)


def build_app(library: RunLibrary, *routes: BaseRoute) -> Starlette:
    """Return the application for the runs of a library; ``routes`` are added to its own."""
    pages = RunPages(library)
    page = templates().get_template("page.html").render(version=__version__)
    return Starlette(
        routes=[
            Route("/", lambda request: HTMLResponse(page)),
            Mount("/static", StaticFiles(directory=HERE / "static")),
            *pages.routes(),
            *routes,
        ]
    )


def json_answer(value: Any, status: int = 200) -> Response:
    return Response(plain_json(value), status, media_type="application/json")


def plain_json(value: Any) -> bytes:
    """Return a value as JSON; numbers that are not finite become null, and texts that are no Unicode are repaired."""
    option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(value, default=str, option=option)
    except TypeError:  # a lone surrogate, as in the name of a file, or a number of more than 64 bits
        return orjson.dumps(_repaired(value), default=str, option=option)


class RunPages:
    """The data and the images of runs."""

    def __init__(self, library: RunLibrary) -> None:
        self.library = library
        self._images = Kept[bytes | None](lambda data: len(data or b""), _IMAGE_BYTES)
        self._configs = Kept[list[dict[str, Any]]](lambda _: 1, 64)

    def routes(self) -> list[BaseRoute]:
        run = "/api/runs/{run}"
        return [
            Route("/api/runs", self.listing),
            Route(run, self.details),
            Route(f"{run}/curves", self.curves),
            Route(f"{run}/config", self.config),
            Route(f"{run}/metrics.jsonl", self.metrics),
            Route("/api/differences", self.differences),
            Route("/images/{run}/thumbnail/{step:int}", self.thumbnail),
            Route("/images/{run}/cell/{step:int}/{index:int}", self.cell),
            Route("/images/{run}/grid/{step:int}.png", self.grid),
            Route("/images/{run}/check.png", self.check),
        ]

    def listing(self, request: Request) -> Response:
        runs = [run_row(files, self.library.summary(files)) for files in self.library.runs().values()]
        return json_answer({"folders": list(map(str, self.library.folders)), "runs": runs})

    def details(self, request: Request) -> Response:
        return json_answer(run_details(self.library, self._run(request)))

    def curves(self, request: Request) -> Response:
        """Return the curves; ``complete`` is false while a part of a long file is not read yet."""
        log = self.library.log(self._run(request))
        if log is None:
            return json_answer({"complete": True, "progress": 1, "series": {}})
        complete = log.read(_READING)
        etag = f'"{log.path.stat().st_mtime_ns:x}-{log.total:x}-{log.progress:.4f}"'
        if complete and request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers={"ETag": etag})
        points = min(_MOST_POINTS, max(10, int(_number(request, "points", 800))))
        low, high = _number(request, "low", -math.inf), _number(request, "high", math.inf)
        found = {"complete": complete, "progress": log.progress, "series": curves(log, points, low, high)}
        answer = json_answer(found)
        answer.headers.update({"ETag": etag, "Cache-Control": "no-cache"})
        return answer

    def config(self, request: Request) -> Response:
        files = self._run(request)
        return json_answer(self._configs.get((files.path, stamp(files)[1:3]), lambda: config_entries(files)))

    def metrics(self, request: Request) -> Response:
        path = self._run(request).file("metrics.jsonl")
        return _file(path, "application/x-ndjson")

    def differences(self, request: Request) -> Response:
        names = [name for name in request.query_params.get("runs", "").split(",") if name][:50]
        return json_answer(differing_entries([self._find(name) for name in names]))

    def thumbnail(self, request: Request) -> Response:
        files, step = self._run(request), request.path_params["step"]
        grid = self.library.grid(files, step)
        if grid is None:
            raise HTTPException(404)
        return self._webp(grid.path, "thumbnail", lambda path: thumbnail_webp(grid))

    def cell(self, request: Request) -> Response:
        files, step, index = self._run(request), request.path_params["step"], request.path_params["index"]
        grid = self.library.grid(files, step)
        if grid is None:
            raise HTTPException(404)
        side = int(_number(request, "side", 0)) or None
        return self._webp(grid.path, ("cell", index, side), lambda path: cell_webp(grid, index, side=side))

    def grid(self, request: Request) -> Response:
        grid = self.library.grid(self._run(request), request.path_params["step"])
        return _file(None if grid is None else grid.path, "image/png")

    def check(self, request: Request) -> Response:
        return self._webp(self._run(request).file("check.png"), "check", lambda path: file_webp(path, side=2000))

    def _webp(self, path: Path | None, kind: object, make: Callable[[Path], bytes | None]) -> Response:
        if path is None:
            raise HTTPException(404)
        state = path.stat()
        data = self._images.get((path, state.st_mtime_ns, kind), lambda: make(path))
        if data is None:
            raise HTTPException(404)
        return Response(data, media_type="image/webp", headers={"Cache-Control": "private, max-age=3600"})

    def _run(self, request: Request) -> RunFiles:
        return self._find(request.path_params["run"])

    def _find(self, name: str) -> RunFiles:
        files = self.library.run(name)
        if files is None:
            raise HTTPException(404)
        return files


def _file(path: Path | None, media_type: str) -> Response:
    if path is None:
        raise HTTPException(404)
    return FileResponse(path, media_type=media_type)


def _number(request: Request, name: str, default: float) -> float:
    try:
        value = float(request.query_params.get(name, ""))
    except ValueError:
        return default
    return value if math.isfinite(value) else default


def _repaired(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_repaired(str(key)): _repaired(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_repaired(item) for item in value]
    return str(value) if isinstance(value, int) and abs(value) >= 2**63 else value
