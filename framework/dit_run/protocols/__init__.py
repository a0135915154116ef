"""The protocol of each kind of component: the keywords of its factory, and the object to return. For plugin authors.

A factory is called as ``build(options, **runtime)``. ``options`` is the component's own options object. Of the runtime
keywords of its kind the factory receives those that its signature names, so that a new keyword breaks no plugin. A
factory, and the object it returns, may raise :class:`dit_run.problems.InputError` for a mistake that the user can
correct; only its text is shown. Any other exception ends the run as a fault of the plugin, with the plugin's name and a
traceback that starts in its code. Trackers, metrics and callbacks only watch a run: once it trains, an exception of
theirs is reported and kept in ``status.json``, and the run continues. A signal to stop interrupts a metric at once, to
be computed when the run continues; trackers and callbacks have a second to return, and
trackers ten to close.

Shapes: n samples, c latent channels, h and w latent rows and columns, H and W pixels, l text tokens, d text width.
Tensors are on the run's device. float means float32; under autocast (``training.mixed_precision``) a model or encoder
may return the lower precision. All random numbers are arguments: a component has no generator of its own, except for a
model's initial weights and dropout, for which the core seeds torch's generator.
"""

from __future__ import annotations

from dit_run.protocols.adapter import Adapter
from dit_run.protocols.average import AverageShare
from dit_run.protocols.callback import EVENTS, Callback, Progress, unknown_event
from dit_run.protocols.dataset import (
    Dataset,
    DatasetPart,
    FilePart,
    FileRange,
    Identified,
    IdentifiedImages,
    LeavesOut,
    LeftOut,
    Measured,
    Mixed,
    Recognised,
    Recognises,
    Sample,
    Sharded,
)
from dit_run.protocols.guidance import Guidance, GuidedStep, OtherWeights, Routed, WeakerPrediction
from dit_run.protocols.lr_scheduler import LearningRateFactor
from dit_run.protocols.metric import Metric
from dit_run.protocols.model import Model
from dit_run.protocols.objective import ModelOutput, NoisyBatch, Objective, ObjectiveLoss, PredictFor
from dit_run.protocols.optimizer import NamedParameters, Optimizer, ParameterRole
from dit_run.protocols.rule import Adjustment, Facts, Rule, RuleContext
from dit_run.protocols.scheduler import Predict, Scheduler, SchedulerOf, StepNoise
from dit_run.protocols.text_encoder import TextEncoder, TextStates, Tokens
from dit_run.protocols.tracker import LoggedStep, RunEnd, Tracker
from dit_run.protocols.vae import VAE, ImageEncoder

__all__ = [
    "EVENTS",
    "VAE",
    "Adapter",
    "Adjustment",
    "AverageShare",
    "Callback",
    "Dataset",
    "DatasetPart",
    "Facts",
    "FilePart",
    "FileRange",
    "Guidance",
    "GuidedStep",
    "Identified",
    "IdentifiedImages",
    "ImageEncoder",
    "LearningRateFactor",
    "LeavesOut",
    "LeftOut",
    "LoggedStep",
    "Measured",
    "Metric",
    "Mixed",
    "Model",
    "ModelOutput",
    "NamedParameters",
    "NoisyBatch",
    "Objective",
    "ObjectiveLoss",
    "Optimizer",
    "OtherWeights",
    "ParameterRole",
    "Predict",
    "PredictFor",
    "Progress",
    "Recognised",
    "Recognises",
    "Routed",
    "Rule",
    "RuleContext",
    "RunEnd",
    "Sample",
    "Scheduler",
    "SchedulerOf",
    "Sharded",
    "StepNoise",
    "TextEncoder",
    "TextStates",
    "Tokens",
    "Tracker",
    "WeakerPrediction",
    "unknown_event",
]
