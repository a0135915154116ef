"""The contract of an adapter."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.protocols import Adapter
from dit_run.registry.components import Component, Kind
from dit_run.testing.contract_error import Check, Subject, check_all
from dit_run.testing.torch_modules import close, snapshot

__all__ = ["CHECKS", "check_adapter"]

_STEPS = 30


def check_adapter(component: Component | str | Path, **options: Any) -> None:
    """Test an adapter with these options on a small network, whose linear layers lie in a list named ``blocks``.

    ``component`` is a Component, the type of an installed one, or the path of a plugin file. Raises ContractError, and
    InputError as the adapter does.
    """
    check_all(Subject.of(Kind.ADAPTER, component, options), CHECKS)


class _Network(nn.Module):
    """A small network with repeated blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Linear(6, 8)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8)) for _ in range(2))
        self.output = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        states = self.input(x)
        for block in self.blocks:
            states = states + block(states)
        output: Tensor = self.output(states)
        return output


def _base() -> _Network:
    torch.manual_seed(0)
    return _Network()


def _inputs() -> Tensor:
    return torch.randn(16, 6, generator=torch.Generator().manual_seed(1))


def _adapter(subject: Subject) -> Adapter:
    adapter: Adapter = subject.make()
    subject.methods(adapter, Kind.ADAPTER.spec.members, "dit_run.protocols.Adapter has all of them")
    return adapter


def _adapted(subject: Subject, adapter: Adapter, *, seed: int = 2) -> _Network:
    network = _base().requires_grad_(False)
    torch.manual_seed(seed)
    adapter.add(network)
    return network


def _trained(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def _train(network: nn.Module) -> list[float]:
    """Return the losses of a regression on the adapter's parameters."""
    optimizer = torch.optim.AdamW(_trained(network).values(), lr=1e-2)
    target = torch.randn(16, 4, generator=torch.Generator().manual_seed(3))
    losses = []
    for _ in range(_STEPS):
        optimizer.zero_grad()
        loss: Tensor = (network(_inputs()) - target).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return losses


def trains_its_own_parameters_alone(subject: Subject) -> None:
    """Check that it adds parameters that train, and that those of the model are frozen and keep their values."""
    network, adapter = _base().requires_grad_(False), _adapter(subject)
    own, before = {id(parameter): name for name, parameter in network.named_parameters()}, snapshot(network)
    adapter.add(network)
    subject.expect(bool(_trained(network)), "add() adds no parameter that takes gradients")
    for parameter in _trained(network).values():
        if name := own.get(id(parameter)):
            subject.fail(f"after add() the model's own parameter {name!r} takes gradients; keep requires_grad False")
    merged = adapter.merged(network)
    _expect_tensors_of_base(subject, merged)
    for name, value in before.items():
        subject.expect(close(merged[name], value), f"add() changed the model's own {name!r}; keep its values")


def _expect_tensors_of_base(subject: Subject, merged: Any) -> None:
    base = _base().state_dict()
    subject.expect(
        {name: value.shape for name, value in merged.items()} == {name: value.shape for name, value in base.items()},
        f"merged() returns {', '.join(sorted(set(merged) ^ set(base))[:5]) or 'other shapes'} unlike the state_dict "
        "before add(); return the same names and shapes",
    )


@torch.no_grad()
def begins_as_the_base(subject: Subject) -> None:
    """Check that the first output of an adapted model is that of its base."""
    network = _adapted(subject, _adapter(subject)).eval()
    subject.expect(
        close(network(_inputs()), _base().eval()(_inputs())),
        "the output after add() is not that of the base; begin with a change of zero",
    )


def begins_as_the_seed_says(subject: Subject) -> None:
    """Check that its parameters are float32 and depend on the seed of torch alone."""
    adapter = _adapter(subject)
    one, other = (_trained(_adapted(subject, adapter, seed=5)) for _ in range(2))
    for name, parameter in one.items():
        subject.expect(parameter.dtype == torch.float32, f"parameter {name!r} is {parameter.dtype}; make it float32")
        subject.expect(
            name in other and torch.equal(parameter, other[name]),
            f"parameter {name!r} differs after two add() with the same seed; use torch's own generator only",
        )


def needs_no_values(subject: Subject) -> None:
    """Check that it can be added to a model on the meta device, whose weights have no values."""
    with torch.device("meta"):
        network = _Network().requires_grad_(False)
        _adapter(subject).add(network)
    for name, parameter in _trained(network).items():
        subject.expect(
            parameter.is_meta, f"parameter {name!r} is on {parameter.device}; create it on torch's default device"
        )


def learns_and_merges(subject: Subject) -> None:
    """Check that steps lower a loss, and that the merged weights give the output of the adapted model."""
    adapter = _adapter(subject)
    network = _adapted(subject, adapter)
    losses = _train(network.train())
    subject.expect(
        losses[-1] < losses[0],
        f"after {_STEPS} steps the loss of a small regression went from {losses[0]:.4g} to {losses[-1]:.4g}; check "
        "that gradients reach the adapter's parameters",
    )
    merged, plain = adapter.merged(network), _base()
    _expect_tensors_of_base(subject, merged)
    plain.load_state_dict(merged)
    with torch.no_grad():
        subject.expect(
            close(plain.eval()(_inputs()), network.eval()(_inputs())),
            "a base with the merged() weights gives another output than the adapted model",
        )


def works_on_copies(subject: Subject) -> None:
    """Check that a copy of an adapted model, as averages are, is independent of it."""
    adapter = _adapter(subject)
    network = _adapted(subject, adapter)
    other = copy.deepcopy(network)
    _train(network)
    with torch.no_grad():
        subject.expect(
            close(other.eval()(_inputs()), _base().eval()(_inputs())),
            "training an adapted model changed a copy of it; keep no parameters outside the model",
        )
    merged = adapter.merged(other)
    subject.expect(
        all(close(merged[name], value) for name, value in _base().state_dict().items()),
        "merged() of a copy has the changes of the original; take them from the model that it gets",
    )


def saves_files(subject: Subject) -> None:
    """Check that it writes files, also in a lower precision, and leaves the model as it was."""
    adapter = _adapter(subject)
    network = _adapted(subject, adapter)
    before = snapshot(network)
    for dtype in (torch.float32, torch.bfloat16):
        with tempfile.TemporaryDirectory() as folder:
            adapter.save(network, Path(folder), dtype=dtype, base=None)
            subject.expect(any(Path(folder).iterdir()), "save() writes no file")
    for name, value in network.state_dict().items():
        subject.expect(
            name in before and torch.equal(before[name], value) and before[name].dtype == value.dtype,
            f"save() changed {name!r} of the model; write copies",
        )


CHECKS: tuple[Check, ...] = (
    trains_its_own_parameters_alone,
    begins_as_the_base,
    begins_as_the_seed_says,
    needs_no_values,
    learns_and_merges,
    works_on_copies,
    saves_files,
)
