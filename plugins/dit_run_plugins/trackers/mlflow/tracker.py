"""The MLflow tracker: a run of an MLflow server or database, continued by later processes."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dit_run.protocols import LoggedStep, RunEnd
from dit_run_plugins.extras import import_extra
from dit_run_plugins.trackers.flat_values import flat
from dit_run_plugins.trackers.grid_image import open_grid_image
from dit_run_plugins.trackers.mlflow import Mlflow
from dit_run_plugins.trackers.remote_run import TrackedRun

if TYPE_CHECKING:
    from PIL import Image

    from dit_run.settings import Config

__all__ = ["MlflowTracker", "build"]

_STATUS = {RunEnd.FINISHED: "FINISHED", RunEnd.FAILED: "FAILED", RunEnd.INTERRUPTED: "KILLED"}
_IMPATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow waits minutes for a server that is down; the core repeats a failed call instead."""
_MOST_PARAMS, _MOST_METRICS = 100, 1000
"""Most parameters and metrics that one request takes."""
_LONGEST_PARAM = 6000
"""Most characters of the value of a parameter."""


def build(
    options: Mlflow,
    *,
    run_dir: Path,
    start_step: int,
    config: Config,
    history: Callable[[], Iterable[LoggedStep]],
) -> MlflowTracker:
    """Return the tracker; it opens the run with its first call. Raises InputError without the package."""
    package = import_extra("mlflow", "mlflow", section="trackers")
    return MlflowTracker(package, options, TrackedRun(run_dir, start_step, config, history, "mlflow.json"))


class MlflowTracker:
    """Logs to one MLflow run, whose id is in the run folder's ``mlflow.json``.

    MLflow takes back no value. When a killed run does some steps again, those that MLflow has already are left out;
    those that it lacks, because it was out of reach, are sent from the history.
    """

    def __init__(self, package: Any, options: Mlflow, run: TrackedRun) -> None:
        self._mlflow, self._options, self._tracked = package, options, run
        self._next_to = run.folder.absolute().parent
        given = options.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        self._uri = given or f"sqlite:///{self._next_to / 'mlflow.db'}"
        self._remote = self._uri.startswith(("http:", "https:", "databricks"))
        self.command = self._uri if self._remote else f"mlflow ui --backend-store-uri {shlex.quote(self._uri)}"
        record = run.read()
        self._run_id = str(record["run_id"]) if record.get("tracking_uri") == self._uri else ""
        self._client: Any = None
        self._known: dict[str, int] = {}
        """The last step that MLflow had before this process, by the names of values."""
        self._now = (-1, 0.0)
        """The last step and its time, which stays the same when a failed call is repeated."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if step != self._now[0]:
            self._now = (step, time.time())
        with self._opened() as client:
            self._send(client, self._metrics(client, LoggedStep(step, self._now[1], values, None)))

    def image(self, step: int, name: str, image: Image.Image) -> None:
        """Write an image as an artifact, with its prompts in a text file; the image of the same step is replaced."""
        with self._opened() as client:
            self._write_image(client, _image_file(step, name), image)

    def text(self, step: int, name: str, text: str) -> None:
        with self._opened() as client:
            client.log_text(self._run_id, text, f"{name}.yaml" if name == "config" else f"{name}.txt")

    def flush(self) -> None:
        """Do nothing: each call returns when MLflow has the values."""

    def end(self, state: RunEnd, values: Mapping[str, float]) -> None:
        """Set the status of the run; the last values of its metrics are its scores."""
        with self._opened() as client:
            client.set_terminated(self._run_id, _STATUS[state])

    def close(self) -> None:
        self._client = None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        """Yield the client of an open run. Raises ConnectionError for what the server or database cannot do now."""
        try:
            with _impatient():
                if self._client is None:
                    self._client = self._open()
                yield self._client
        except self._mlflow.exceptions.MlflowException as error:
            if error.get_http_status_code() >= 500:
                raise ConnectionError(f"MLflow at {self._uri}: {_first_cause(error)}") from error
            raise

    def _open(self) -> Any:
        client = self._mlflow.MlflowClient(tracking_uri=self._uri)
        if self._run_id:
            client.update_run(self._run_id, status="RUNNING")
        else:
            run = client.create_run(self._experiment(client), run_name=self._options.name or self._tracked.name)
            self._run_id = run.info.run_id
            self._tracked.write(tracking_uri=self._uri, run_id=self._run_id)
        self._catch_up(client)
        return client

    def _experiment(self, client: Any) -> str:
        """Return the id of the experiment; a new one in a database keeps its files next to the run folder."""
        known = client.get_experiment_by_name(self._options.experiment)
        if known is not None:
            return str(known.experiment_id)
        files = None if self._remote else (self._next_to / "mlflow-files").as_uri()
        return str(client.create_experiment(self._options.experiment, artifact_location=files))

    def _catch_up(self, client: Any) -> None:
        """Send the config, and what an earlier process logged and MLflow lacks."""
        param, known = self._mlflow.entities.Param, client.get_run(self._run_id).data.params
        values = flat(self._tracked.config.to_dict()).items()
        params = [param(_key(name), str(value)[:_LONGEST_PARAM]) for name, value in values if _key(name) not in known]
        for first in range(0, len(params), _MOST_PARAMS):
            client.log_batch(self._run_id, params=params[first : first + _MOST_PARAMS])
        history = list(self._tracked.history())
        self._send(client, [metric for logged in history for metric in self._metrics(client, logged)])
        with_images = [logged for logged in history if logged.samples is not None]
        files = {file.path for file in client.list_artifacts(self._run_id, "samples")} if with_images else set()
        for logged in with_images:
            if logged.samples is not None and (file := _image_file(logged.step, "samples")) + ".png" not in files:
                self._write_image(client, file, open_grid_image(logged.samples))

    def _metrics(self, client: Any, logged: LoggedStep) -> list[Any]:
        """Return the values of a step that MLflow does not have."""
        metric, when = self._mlflow.entities.Metric, int(1000 * logged.time)
        return [
            metric(_key(name), float(value), when, logged.step)
            for name, value in logged.values.items()
            if logged.step > self._known_step(client, _key(name))
        ]

    def _known_step(self, client: Any, key: str) -> int:
        if self._tracked.start_step == 0:
            return -1
        if key not in self._known:
            history = client.get_metric_history(self._run_id, key)
            self._known[key] = max((metric.step for metric in history), default=-1)
        return self._known[key]

    def _send(self, client: Any, metrics: list[Any]) -> None:
        for first in range(0, len(metrics), _MOST_METRICS):
            client.log_batch(self._run_id, metrics=metrics[first : first + _MOST_METRICS])

    def _write_image(self, client: Any, file: str, image: Image.Image) -> None:
        client.log_image(self._run_id, image, f"{file}.png")
        if prompts := image.info.get("prompts"):
            client.log_text(self._run_id, prompts, f"{file}.txt")


def _image_file(step: int, name: str) -> str:
    return f"{name}/step-{step:08d}"


def _first_cause(error: BaseException) -> str:
    """Return the text of the error that MLflow and its libraries packed into others: ``Connection refused``."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).partition("\n")[0]


def _key(name: str) -> str:
    """Return a name in the characters that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Let requests fail soon, unless the user's environment says how long they wait, and hide MLflow's own notices."""
    added = {name: value for name, value in _IMPATIENCE.items() if name not in os.environ}
    loggers = {logging.getLogger(name): logging.getLogger(name).level for name in ("mlflow", "alembic")}
    os.environ.update(added)
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
        for logger, level in loggers.items():
            logger.setLevel(level)
