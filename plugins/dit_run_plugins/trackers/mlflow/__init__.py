"""mlflow: curves, sample images and the config on an MLflow server or in a database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dit_run.options import bounds

__all__ = ["Mlflow"]


@dataclass(frozen=True, kw_only=True)
class Mlflow:
    """Curves, sample grids with their prompts and the config in MLflow. Needs `pip install 'dit-run[mlflow]'`."""

    tracking_uri: Annotated[str | None, bounds(min_length=1)] = None
    """Address of a server, as `http://host:5000`, or of a database, as `sqlite:////data/mlflow.db`. null takes that of
    MLFLOW_TRACKING_URI, or else the database `mlflow.db` next to the run folder."""
    experiment: Annotated[str, bounds(min_length=1)] = "dit-run"
    """Experiment of the run; a new one is created."""
    name: str | None = None
    """Name of the run; null takes that of the run folder."""
