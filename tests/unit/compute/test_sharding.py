"""Sharding: which modules are shards, and how whole tensors and parts meet, here in a group of one process."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from dit_run.compute.distributed import Processes
from dit_run.compute.precision import Precision
from dit_run.compute.sharding import (
    Sharding,
    blocks,
    copy_into,
    first_rows,
    is_sharded,
    local,
    local_parts,
    part_of,
    take_parts,
    whole_tensor,
)
from dit_run.compute.split_tensor import SplitTensor
from dit_run.compute.whole_tensors import of_whole
from dit_run.compute.whole_updates import WholeUpdates, without_memory
from dit_run.model.average_profiles import ema_share
from dit_run.problems import InputError
from dit_run.training.average import Average
from dit_run.training.gradients import ShardedGradients

EXACT = Precision.of("no", torch.device("cpu"))


class Layered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(2))

    def forward(self, values: Tensor) -> Tensor:
        values = self.first(values)
        for block in self.blocks:
            values = block(values)
        return values


@pytest.fixture(scope="module")
def sharding() -> Iterator[Sharding]:
    """Shards of a group of one process."""
    from torch.distributed.device_mesh import init_device_mesh

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield Sharding(init_device_mesh("cpu", (1,), mesh_dim_names=("shard",)), None, Processes())
    dist.destroy_process_group()


def layered() -> Layered:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Layered()


def test_without_shards_each_process_has_all_weights() -> None:
    assert Sharding.of(1, Processes(), EXACT) is None
    assert Sharding.of("node", Processes(), EXACT) is None


def test_shards_that_do_not_divide_the_processes_are_refused() -> None:
    with pytest.raises(
        InputError,
        match=r"training\.shard is 4, and 1 process cannot be shared out over 4 shards; start a multiple of 4 "
        r"processes \(torchrun --nproc-per-node 4\), or set training\.shard: 1",
    ):
        Sharding.of(4, Processes(), EXACT)


def test_blocks_are_the_members_of_the_outermost_lists() -> None:
    inner = nn.ModuleList([nn.Linear(2, 2)])
    outer = nn.ModuleList([nn.Sequential(inner), nn.ReLU(), nn.Linear(2, 2)])
    module = nn.Sequential(nn.Linear(2, 2), nn.Sequential(outer))
    assert blocks(module) == [outer[0], outer[2]]


def test_tensors_that_are_not_sharded_stay_as_they_are() -> None:
    tensor, other = torch.ones(3), torch.zeros(3)
    assert not is_sharded(tensor)
    assert local(tensor) is tensor and whole_tensor(tensor) is tensor and part_of(tensor, other) is tensor
    assert local_parts({"a": [tensor, 1, ("b", None)]}) == {"a": [tensor, 1, ("b", None)]}
    assert first_rows({"a": tensor}) == {}
    assert torch.equal(of_whole(torch.neg, tensor[None], tensor), -tensor[None])


def test_a_sharded_module_trains_as_a_whole_one(sharding: Sharding) -> None:
    whole, sharded, values = layered(), layered(), torch.arange(6.0).view(2, 3)
    sharding.apply(sharded)
    assert {name for name, each in sharded.named_parameters() if is_sharded(each)} == set(whole.state_dict())
    reduction = ShardedGradients(sharded, 2, sharding)
    for _ in range(2):
        for module in (whole, sharded):
            (module(values).square().mean() / reduction.divisor).backward()
    reduction.finish(list(sharded.parameters()))
    gradients = [each.grad for each in whole.parameters() if each.grad is not None]
    parts = [each.grad for each in sharded.parameters() if each.grad is not None]
    assert all(torch.equal(local(part), gradient) for part, gradient in zip(parts, gradients, strict=True))
    expected = torch.stack([gradient.double().square().sum() for gradient in gradients]).sum().sqrt().float()
    assert torch.equal(reduction.norm(parts), expected)
    assert reduction.norm([]).item() == 0


@torch.no_grad()
def test_a_frozen_module_computes_the_same_and_gives_its_weights_back(sharding: Sharding) -> None:
    whole, sharded, values = layered().bfloat16(), layered().bfloat16(), torch.arange(6.0).view(2, 3).bfloat16()
    sharding.apply_frozen(sharded.requires_grad_(False))
    for _ in range(2):
        assert torch.equal(sharded(values), whole(values))
        assert all(is_sharded(each) for each in sharded.parameters())
    for part, parameter in zip(sharded.parameters(), whole.parameters(), strict=True):
        assert torch.equal(whole_tensor(part), parameter)


def test_a_parameter_without_dimensions_is_refused(sharding: Sharding) -> None:
    module = nn.Linear(2, 2)
    module.scale = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(InputError, match=r"the parameter scale has no dimensions and cannot be sharded; use training"):
        sharding.apply(module)


def test_the_average_of_sharded_weights_is_that_of_whole_ones(sharding: Sharding) -> None:
    whole, sharded = layered(), layered()
    averages = [Average(module, partial(ema_share, decay=0.5, power=0)) for module in (whole, sharded)]
    sharding.apply(sharded)
    averages[1].shard(sharding)
    with torch.no_grad():
        for module in (whole, sharded):
            for parameter in module.parameters():
                parameter.mul_(3)
    for average in averages:
        average.update(1)
    expected, got = (average.module.state_dict() for average in averages)
    assert all(is_sharded(value) and torch.equal(local(value), expected[name]) for name, value in got.items())


def test_the_state_of_an_optimizer_loads_as_it_was_saved(sharding: Sharding) -> None:
    module, values = layered(), torch.arange(6.0).view(2, 3)
    sharding.apply(module)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    module(values).sum().backward()
    optimizer.step()
    saved = local_parts(optimizer.state_dict())  # of one process: whole
    assert not any(is_sharded(each) for state in saved["state"].values() for each in state.values())
    other = torch.optim.AdamW(module.parameters(), lr=0.1)
    other.register_load_state_dict_pre_hook(take_parts)
    other.load_state_dict(saved)
    for parameter in module.parameters():
        assert is_sharded(other.state[parameter]["exp_avg"])
        for name, value in optimizer.state[parameter].items():
            assert torch.equal(local(other.state[parameter][name]), local(value))


def test_a_part_shares_the_memory_of_its_tensor_and_has_a_place(sharding: Sharding) -> None:
    like = part_of(torch.arange(4.0), whole_like(sharding, torch.zeros(4)))
    assert is_sharded(like) and torch.equal(local(like), torch.arange(4.0))
    (part,) = local_parts([like])
    assert first_rows({"w": like, "n": torch.zeros(())}) == {"w": 0}
    assert (sharding.index, sharding.count, sharding.replica) == (0, 1, 0)
    copy_into(like, torch.full((4,), 7.0))
    assert local(like).tolist() == part.tolist() == [7.0] * 4


def test_a_function_of_whole_matrices_gets_and_gives_parts(sharding: Sharding) -> None:
    like, parts = whole_like(sharding, torch.zeros(3, 2)), torch.arange(12.0).view(2, 3, 2)
    assert torch.equal(of_whole(lambda each: each.flip(1), parts, like), parts.flip(1))


def whole_like(sharding: Sharding, tensor: Tensor) -> Tensor:
    from torch.distributed.tensor import Shard, distribute_tensor

    return distribute_tensor(tensor, sharding.mesh, [Shard(0)])


def test_a_state_of_another_shape_than_its_parameter_is_refused(sharding: Sharding) -> None:
    module = layered()
    sharding.apply(module)
    parameters = list(module.parameters())
    given = [without_memory(each, torch.device("cpu")) for each in parameters]
    optimizer = torch.optim.Adafactor(given)
    WholeUpdates(optimizer, dict(zip(given, parameters, strict=True)))
    module(torch.ones(2, 3)).sum().backward()
    with pytest.raises(InputError, match=r"the optimizer keeps row_var of another shape than its parameter, which"):
        optimizer.step()


def test_a_tensor_in_pieces_becomes_a_part_and_joins_without_shards(sharding: Sharding) -> None:
    stored = SplitTensor((torch.arange(2.0), torch.arange(2.0, 4.0)))
    part = part_of(stored, whole_like(sharding, torch.zeros(4)))
    assert is_sharded(part) and local(part).tolist() == [0, 1, 2, 3]
    target = torch.zeros(4)
    copy_into(target, stored)
    assert target.tolist() == [0, 1, 2, 3]


def test_an_optimizer_keeps_no_tensor_of_the_state_that_it_loads() -> None:
    parameter = nn.Parameter(torch.zeros(4))
    saved = {
        "step": torch.tensor(3.0),
        "exp_avg": SplitTensor((torch.ones(2), torch.ones(2))),
        "exp_avg_sq": torch.ones(4),
    }
    optimizer = torch.optim.AdamW([parameter])
    optimizer.register_load_state_dict_pre_hook(take_parts)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": {0: saved}})
    saved["exp_avg_sq"].zero_()  # type: ignore[union-attr]
    saved["step"].zero_()  # type: ignore[union-attr]
    state = optimizer.state[parameter]
    assert (state["step"].item(), state["exp_avg"].tolist(), state["exp_avg_sq"].tolist()) == (3, [1.0] * 4, [1.0] * 4)


def test_a_state_for_another_device_is_not_copied_in_main_memory_first() -> None:
    """``meta`` stands for a GPU, to which torch copies it."""
    optimizer, moment = torch.optim.AdamW([nn.Parameter(torch.zeros(4, device="meta"))]), torch.ones(4)
    state = take_parts(optimizer, {**optimizer.state_dict(), "state": {0: {"exp_avg": moment}}})["state"]
    assert state[0]["exp_avg"] is moment
