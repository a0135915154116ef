"""Updates of whole parameters: each sharded parameter is updated in one process, as without shards."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.compute.sharding import is_sharded
from dit_run.compute.whole_tensors import hand_back, share_out
from dit_run.problems import InputError

__all__ = ["WholeUpdates", "without_memory"]

States = MutableMapping[Tensor, dict[str, Any]]
"""The states of an optimizer, by parameter."""


@dataclass(frozen=True)
class _StandIn:
    """A parameter that an optimizer updates in place of a sharded one: the whole one, or one without rows."""

    of: Tensor
    parameter: nn.Parameter
    state: Mapping[str, Any]
    """The state of the sharded one before the step."""


class WholeUpdates:
    """Hooks around the steps of an optimizer, which let it update whole parameters.

    The processes that hold the parts share out the whole parameters, with their gradients and states. In the other
    processes such a parameter has no rows, so that the optimizer keeps states of the same names. Afterwards each
    process has its parts again. The optimizer updates a parameter by its own gradient and state alone; its states are
    numbers, or have the shape of the parameter.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, sharded: Mapping[Tensor, Tensor]) -> None:
        """Take an optimizer that was built for other parameters, and the sharded ones that replace these."""
        self._standing: list[list[_StandIn]] = []
        """Those of parameters that are alike, during a step."""
        _replace(optimizer, sharded)
        optimizer.register_step_pre_hook(self._share_out)
        optimizer.register_step_post_hook(self._hand_back)
        for mode in ("train", "eval"):  # of an optimizer that evaluates other weights than it trains
            if callable(switch := getattr(optimizer, mode, None)):
                setattr(optimizer, mode, partial(self._switch, optimizer, switch))

    def _switch(self, optimizer: torch.optim.Optimizer, switch: Callable[[], object]) -> None:
        self._share_out(optimizer)
        switch()
        self._hand_back(optimizer)

    @torch.no_grad()
    def _share_out(self, optimizer: torch.optim.Optimizer, *call: Any) -> None:
        groups: dict[Hashable, list[Tensor]] = {}
        for number, parameter in _numbered(optimizer):
            state, given = optimizer.state.get(parameter, {}), parameter.grad is not None
            if state or given:
                names = [(name, each.dtype) for name, each in state.items() if is_sharded(each)]
                groups.setdefault((number, parameter.shape, parameter.dtype, given, *names), []).append(parameter)
        self._standing = [_stand_ins(group, optimizer.state) for group in groups.values()]
        _replace(optimizer, {each.of: each.parameter for group in self._standing for each in group})

    @torch.no_grad()
    def _hand_back(self, optimizer: torch.optim.Optimizer, *call: Any) -> None:
        """Let the optimizer have its sharded parameters again. Raises InputError for a state of another shape."""
        states: dict[Tensor, dict[str, Any]] = {}
        for group in self._standing:
            hand_back([each.parameter for each in group], [each.of for each in group])
            states |= _sharded_states(group, [optimizer.state.pop(each.parameter) for each in group])
        _replace(optimizer, {each.parameter: each.of for group in self._standing for each in group})
        for _, parameter in _numbered(optimizer):
            if parameter in states:
                optimizer.state[parameter] = states[parameter]
        self._standing = []


def without_memory(parameter: Tensor, device: torch.device) -> nn.Parameter:
    """Return a parameter of the same shape and dtype on the device, to build an optimizer with."""
    return nn.Parameter(torch.zeros((), dtype=parameter.dtype, device=device).expand(parameter.shape))


def _numbered(optimizer: torch.optim.Optimizer) -> Iterator[tuple[int, Tensor]]:
    """Yield each parameter with the number of its group: groups of one optimizer may keep different states."""
    for number, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            yield number, parameter


def _replace(optimizer: torch.optim.Optimizer, others: Mapping[Tensor, Tensor]) -> None:
    for group in optimizer.param_groups:
        group["params"] = [others.get(each, each) for each in group["params"]]


def _stand_ins(parameters: Sequence[Tensor], states: States) -> list[_StandIn]:
    """Return stand-ins with the gradients and, in ``states``, the states of sharded parameters, which lose theirs."""
    before = [states.pop(parameter, {}) for parameter in parameters]
    names = [name for name, value in before[0].items() if is_sharded(value)]
    shared = {name: share_out([state[name] for state in before]) for name in names}
    given = [each.grad for each in parameters if each.grad is not None]
    gradients: Sequence[Tensor | None] = share_out(given) if given else [None] * len(parameters)
    standing = []
    for place, whole in enumerate(share_out(parameters)):
        other = nn.Parameter(whole)
        other.grad = gradients[place]
        states[other] = before[place] | {name: shared[name][place] for name in names}
        standing.append(_StandIn(parameters[place], other, before[place]))
    return standing


def _sharded_states(group: Sequence[_StandIn], states: Sequence[dict[str, Any]]) -> dict[Tensor, dict[str, Any]]:
    """Return the states of sharded parameters after a step, of those of their stand-ins."""
    found: dict[Tensor, dict[str, Any]] = {each.of: dict(state) for each, state in zip(group, states, strict=True)}
    for name, value in states[0].items():
        if not isinstance(value, Tensor) or value.ndim == 0:
            continue
        if value.shape != group[0].parameter.shape:
            raise InputError(
                f"the optimizer keeps {name} of another shape than its parameter, which training.elastic_exact does "
                "not allow with sharded weights; set elastic_exact: false, or training.shard: 1"
            )
        parts = [each.state.get(name, torch.zeros_like(each.of, dtype=value.dtype)) for each in group]
        hand_back([state[name] for state in states], parts)
        for each, part in zip(group, parts, strict=True):
            found[each.of][name] = part
    return found
