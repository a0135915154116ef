"""The tracker of Weights & Biases: a run there, continued by later processes."""

from __future__ import annotations

import shlex
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dit_run.problems import InputError
from dit_run.protocols import LoggedStep, RunEnd
from dit_run_plugins.extras import import_extra
from dit_run_plugins.trackers.grid_image import open_grid_image
from dit_run_plugins.trackers.remote_run import TrackedRun
from dit_run_plugins.trackers.wandb import Wandb
from dit_run_plugins.trackers.wandb.offline_files import last_step

if TYPE_CHECKING:
    from PIL import Image

    from dit_run.settings import Config

__all__ = ["WandbTracker", "build"]

_REACHED_WITHIN = 5.0
"""Time in which the service has to answer (seconds)."""
_STARTED_WITHIN = 30.0
"""Time in which the service has to open a run (seconds)."""
_SENT_WITHIN = 60.0
"""Time at the end of a run to send what is left (seconds); later, `wandb sync` sends it from the run folder."""
_EXIT_CODES = {RunEnd.FINISHED: 0, RunEnd.FAILED: 1, RunEnd.INTERRUPTED: 143}


def build(
    options: Wandb,
    *,
    run_dir: Path,
    start_step: int,
    config: Config,
    history: Callable[[], Iterable[LoggedStep]],
) -> WandbTracker:
    """Return the tracker; it opens the run with its first call. Raises InputError without package or login."""
    package = import_extra("wandb", "wandb", section="trackers")
    if options.mode == "online" and package.run is None:
        _refuse_without_login(package)
    return WandbTracker(package, options, TrackedRun(run_dir, start_step, config, history, "wandb.json"))


def _refuse_without_login(package: Any) -> None:
    """Raise InputError now instead of a question in the middle of a run."""
    try:
        package.setup(package.Settings(silent=True))
        found, reason = package.login(prompt=False, verify=False), ""
    except package.Error as error:
        found, reason = False, f" ({error})"
    if not found:
        raise InputError(
            f"trackers: type wandb finds no login for Weights & Biases{reason}: run `wandb login`, set WANDB_API_KEY, "
            "or write mode: offline"
        )


class WandbTracker:
    """Logs to one remote run, whose id is in the run folder's ``wandb.json``.

    W&B takes back no step. When a killed run does some steps again, those that W&B has already are left out; those that
    it lacks, because the kill came before they were sent, are sent from the history.
    """

    def __init__(self, package: Any, options: Wandb, run: TrackedRun) -> None:
        self._wandb, self._options, self._tracked = package, options, run
        self._folder = run.folder.absolute() / "wandb"
        self._id = str(run.read().get("id") or uuid.uuid4().hex[:12])
        self._shown = -1
        """The last step that W&B had before this process."""
        self._exit_code = 0
        self._run: Any = None
        self._refusal = ""

    @property
    def command(self) -> str:
        if self._options.mode == "offline":
            return f"wandb sync {shlex.quote(str(self._folder))}"
        return str(self._run.url) if self._run else ""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        run = self._opened()
        if step > self._shown:
            run.log(dict(values), step=step, commit=True)

    def image(self, step: int, name: str, image: Image.Image) -> None:
        """Log an image with its prompts as its caption; the values of the step complete it."""
        run = self._opened()
        if step > self._shown:
            shown = self._wandb.Image(image, caption=image.info.get("prompts"))
            run.log({name: shown}, step=step, commit=False)

    def text(self, step: int, name: str, text: str) -> None:
        """Open the run, which has the config."""
        self._opened()

    def flush(self) -> None:
        """Do nothing: a process of W&B has all that was logged, and writes it even if this one is killed."""

    def end(self, state: RunEnd, values: Mapping[str, float]) -> None:
        """Log the final values in the summary, and how the run ended."""
        run = self._opened()
        run.summary.update(dict(values))
        if state is RunEnd.INTERRUPTED:
            run.mark_preempting()
        self._exit_code = _EXIT_CODES[state]

    def close(self) -> None:
        if self._run is not None:
            self._run.finish(exit_code=self._exit_code)
            self._run = None
            if self._wandb.run is None:  # otherwise another run of this Python process is open
                self._wandb.teardown()  # W&B's process ends with its files complete

    def _opened(self) -> Any:
        """Return the remote run. Raises ConnectionError while the service is out of reach."""
        if self._refusal:
            raise RuntimeError(self._refusal)
        if self._run is None:
            self._reach()
            self._tracked.write(id=self._id)
            try:
                self._run = self._open()
            except Exception as error:
                self._refusal = f"Weights & Biases opened no run, so nothing is logged there until a restart: {error}"
                raise RuntimeError(self._refusal) from error
            self._catch_up()
        return self._run

    def _catch_up(self) -> None:
        """Send what an earlier process logged and W&B lacks."""
        offline = self._options.mode == "offline"
        self._shown = last_step(self._folder, self._id) if offline else self._run.step - 1
        for logged in self._tracked.history():
            if logged.samples is not None:
                self.image(logged.step, "samples", open_grid_image(logged.samples))
            self.log(logged.step, logged.values)

    def _open(self) -> Any:
        options = self._options
        settings = self._wandb.Settings(
            console="off",
            silent=True,
            disable_code=True,
            init_timeout=_STARTED_WITHIN,
            finish_timeout=_SENT_WITHIN,
        )
        return self._wandb.init(
            project=options.project,
            entity=options.entity,
            name=options.name or self._tracked.name,
            group=options.group,
            tags=options.tags,
            mode=options.mode,
            id=self._id,
            resume="allow",
            dir=str(self._folder.parent),
            config=self._tracked.config.to_dict(),
            settings=settings,
        )

    def _reach(self) -> None:
        """Raise ConnectionError if the service does not answer: after a failed start the client needs a new process."""
        if self._options.mode == "offline":
            return
        try:
            urllib.request.urlopen(self._wandb.setup().settings.base_url, timeout=_REACHED_WITHIN).close()
        except urllib.error.HTTPError:
            return  # an answer
        except (OSError, ValueError) as error:
            raise ConnectionError(f"Weights & Biases is out of reach: {error}") from error
