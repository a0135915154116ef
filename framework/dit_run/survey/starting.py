"""The start of a project: look at data and machine, and write a config that trains on them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dit_run.assembly.prepare import prepare
from dit_run.config.nodes import MapNode, value_of
from dit_run.config.overrides import parse_overrides
from dit_run.config.resolve import resolve
from dit_run.planning.batch_choice import best_split, splits
from dit_run.planning.probe import probe
from dit_run.problems import ConfigError, InputError
from dit_run.registry.registry import Registry
from dit_run.reporting import Reporter
from dit_run.settings import Config
from dit_run.survey.machine import Machine
from dit_run.survey.proposal import Plan, Proposal
from dit_run.survey.recognition import FoundData, find_data
from dit_run.survey.starter_config import config_text, with_given
from dit_run.survey.statistics import ImageStatistics, TextStatistics
from dit_run.system.units import size_text

__all__ = ["ProposedConfig", "given_values", "start"]

Given = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class ProposedConfig:
    """A written config, and the facts behind it."""

    text: str
    found: FoundData
    images: ImageStatistics
    texts: tuple[TextStatistics, ...]
    machine: Machine
    fallback: str
    """Reason why pretrained encoders are not used; empty if they are, or were not wanted."""


def given_values(arguments: Sequence[str]) -> Given:
    """Return ``section.key=value`` arguments as values. Raises ConfigError."""
    _, root, problems = parse_overrides(arguments)
    if problems or root is None:
        raise ConfigError(problems)
    values = value_of(root)
    bare = [entry for entry in root.entries.values() if not isinstance(entry.node, MapNode)]
    if bare:
        raise InputError(f"{bare[0].key} is a section; set one of its keys, such as {bare[0].key}.type=...")
    return dict(values)


def start(
    place: str, given: Given, *, name: str, registry: Registry, device: torch.device, reporter: Reporter
) -> ProposedConfig:
    """Return the config for the data at a place. ``name`` is that of the config, from which its run folder follows.

    Raises InputError for data that no dataset type reads.
    """
    found = find_data(place, registry, given.get("data"))
    reporter.phase("reading images", 0, 1)
    images = ImageStatistics.of(found.dataset, range(len(found.dataset)))
    reporter.phase("reading images", 1, 1)
    if not len(images):
        key, reason = next(iter(images.broken.items()))
        raise InputError(f"none of the {len(found.dataset):,} images can be read; {key}: {reason}")
    machine = Machine.of(device)
    size = given.get("data", {}).get("image_size")
    chosen = size if isinstance(size, int) and size > 0 else None  # another value is an error of the draft
    proposal, fallback = Proposal(found, images, machine, f"./outputs/{name}", chosen_size=chosen), ""
    try:
        planned, texts = _planned(proposal, given, registry, device, reporter)
    except InputError as error:
        if not proposal.latents:
            raise
        proposal, fallback = replace(proposal, pretrained=False), str(error)
        planned, texts = _planned(proposal, given, registry, device, reporter)
    return ProposedConfig(_text(planned, given, place), found, images, texts, machine, fallback)


def _planned(
    proposal: Proposal, given: Given, registry: Registry, device: torch.device, reporter: Reporter
) -> tuple[Proposal, tuple[TextStatistics, ...]]:
    """Return the proposal with the split of its batch, and the tokens of its captions."""
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "draft.yaml"
        draft.write_text(_text(proposal, given, ""), encoding="utf-8")
        config = resolve(draft, registry=registry).config
        texts = _texts(config, device)
        probed = probe(config, device=device, reporter=reporter)
    split = best_split(splits(probed.measured, probed.workload), probed.workload, probed.memory)
    if split is None:
        raise InputError("no batch size fits into the memory of this device; add a smaller data.image_size=...")
    memory = f"by plan: {size_text(split.peak)} of {size_text(probed.memory)}"
    plan = Plan(split.batch_size, split.accumulation, memory, split.seconds, probed.measured.cache.size)
    return proposal.planned(plan), texts


def _texts(config: Config, device: torch.device) -> tuple[TextStatistics, ...]:
    _, data, encoders = prepare(config, device=device)
    parts = [samples for samples in (data.train, data.validation) if samples is not None]
    return tuple(TextStatistics.of(parts, text) for text in encoders.texts)


def _text(proposal: Proposal, given: Given, place: str) -> str:
    head = [f"Written by `dit-run init {place}`; every line may be changed."]
    return config_text(head, proposal.base, with_given(proposal.lines(), given))
