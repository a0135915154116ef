"""The config as typed values: the options of the core's own sections, and the components that a config chose."""

from dit_run.settings.core_sections import (
    SECTIONS,
    CacheOptions,
    SamplingOptions,
    TrainingOptions,
    ValidationOptions,
)
from dit_run.settings.numbering import numbered
from dit_run.settings.resolved_config import Choice, Config, put

__all__ = [
    "SECTIONS",
    "CacheOptions",
    "Choice",
    "Config",
    "SamplingOptions",
    "TrainingOptions",
    "ValidationOptions",
    "numbered",
    "put",
]
