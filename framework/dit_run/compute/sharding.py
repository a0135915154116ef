"""Sharding: each process holds a part of every weight, of its gradient and of its optimizer state.

torch's ``fully_shard`` does the work. Parameters become DTensors, of which this process has a part; the functions here
bring the tensors of a checkpoint and such parts together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dit_run.compute.distributed import Processes
from dit_run.compute.nested_tensors import map_tensors
from dit_run.compute.precision import Precision
from dit_run.compute.split_tensor import StoredTensor, join, rows_of
from dit_run.problems import InputError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

__all__ = [
    "Sharding",
    "copy_into",
    "first_rows",
    "is_sharded",
    "local",
    "local_parts",
    "part_of",
    "shard_count",
    "take_parts",
    "whole_tensor",
]


@dataclass(frozen=True)
class Sharding:
    """Shards of the processes of a run: neighbours share the weights of one replica."""

    mesh: DeviceMesh
    """All processes: by shard or, with several replicas, by replica and shard."""
    dtype: torch.dtype | None
    """Dtype in which the weights of blocks that train are gathered; None for their own."""
    processes: Processes
    """All processes of the run."""
    exact: bool = False
    """True if results are the bits of processes that have all weights (``training.elastic_exact``)."""

    @classmethod
    def of(
        cls, wanted: int | str, processes: Processes, precision: Precision, *, exact: bool = False
    ) -> Sharding | None:
        """Return the shards of ``training.shard``, a number or ``node``; None where each process has all weights.

        Raises InputError for a number that does not divide the number of processes.
        """
        count = shard_count(wanted, processes)
        if processes.largest(count) != -processes.largest(-count):
            raise InputError("training.shard is node, and the machines of this run have different numbers of processes")
        if processes.count % count:
            raise InputError(
                f"training.shard is {wanted}, and {processes.count} "
                f"{'process' if processes.count == 1 else 'processes'} cannot be shared out over {count} shards; start "
                f"a multiple of {count} processes (torchrun --nproc-per-node {count}), or set training.shard: 1"
            )
        if count == 1:
            return None
        from torch.distributed.device_mesh import init_device_mesh

        kind, replicas = processes.device.type, processes.count // count
        dtype = None if exact else _gathered_dtype(kind, precision)
        if replicas == 1:
            mesh = init_device_mesh(kind, (count,), mesh_dim_names=("shard",))
        else:
            mesh = init_device_mesh(kind, (replicas, count), mesh_dim_names=("replica", "shard"))
        return cls(mesh, dtype, processes, exact)

    @property
    def count(self) -> int:
        """Number of processes that share the weights."""
        return self.mesh.get_group("shard").size()

    @property
    def index(self) -> int:
        """Place of this process among those that share the weights."""
        return self.mesh.get_local_rank("shard")

    @property
    def replica(self) -> int:
        """Number of the replica of which this process has a part."""
        return self.mesh.get_local_rank("replica") if self.mesh.ndim == 2 else 0

    def apply(self, module: nn.Module) -> None:
        """Shard a module in place, each of its blocks by itself, and move it to the device of this process.

        Raises InputError for a parameter without dimensions.
        """
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        for name, parameter in module.named_parameters():
            if parameter.ndim == 0:
                raise InputError(f"the parameter {name} has no dimensions and cannot be sharded; use training.shard: 1")
        policy = MixedPrecisionPolicy(self.dtype, torch.float32, cast_forward_inputs=False)
        mesh = self.mesh["shard"] if self.exact else self.mesh  # the replicas are added afterwards, in the same tree
        for block in blocks(module):
            fully_shard(block, mesh=mesh, mp_policy=policy)
        fully_shard(module, mesh=mesh, mp_policy=MixedPrecisionPolicy(cast_forward_inputs=False))

    def apply_frozen(self, module: nn.Module) -> None:
        """Shard a module that never trains, in place, each of its blocks by itself, and move it to the device.

        Its weights are gathered in their own dtype, so that it computes what it computes with whole weights, and are
        given back after each call. All its parameters need dimensions.
        """
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        policy = MixedPrecisionPolicy(cast_forward_inputs=False)
        for part in [*blocks(module), module]:
            fully_shard(part, mesh=self.mesh, mp_policy=policy, reshard_after_forward=True)

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return the norm of sharded gradients: the same bits in every process."""
        import torch.distributed as dist

        if not gradients:
            return torch.zeros((), device=self.mesh.device_type)
        norms = torch._foreach_norm([local(gradient) for gradient in gradients], 2, dtype=torch.float64)
        own, group = torch.stack(norms).square().sum(), self.mesh.get_group("shard")
        parts = [torch.empty_like(own) for _ in range(group.size())]
        dist.all_gather(parts, own, group=group)
        return torch.stack(parts).sum().sqrt().float()


def _gathered_dtype(device: str, precision: Precision) -> torch.dtype | None:
    """Return the dtype of gathered weights: on a GPU that of autocast, to which it would cast most of them anyway.

    On a CPU some layers refuse weights of another dtype than their input.
    """
    return None if device == "cpu" else precision.dtype


def shard_count(wanted: int | str, processes: Processes) -> int:
    """Return the number of processes that share weights, of ``training.shard``."""
    return processes.local_count if wanted == "node" else int(wanted)


def blocks(module: nn.Module) -> list[nn.Module]:
    """Return the members of the outermost lists of modules, as far as they have parameters."""
    found: list[nn.Module] = []
    for child in module.children():
        inner = list(child) if isinstance(child, nn.ModuleList) else blocks(child)
        found += [each for each in inner if any(True for _ in each.parameters())]
    return found


def is_sharded(tensor: Tensor) -> bool:
    """Return True for a tensor of which this process has a part."""
    return hasattr(tensor, "device_mesh")  # without an import of torch.distributed, which single processes do without


def local(tensor: Tensor) -> Tensor:
    """Return this process's part of a tensor, which shares its memory; of one that is not sharded, the tensor."""
    part: Tensor = tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]
    return part


def whole_tensor(tensor: Tensor) -> Tensor:
    """Return the whole of a sharded tensor; all processes call this. One that is not sharded is returned itself."""
    whole: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]
    return whole


def part_of(tensor: StoredTensor, like: Tensor) -> Tensor:
    """Return a tensor that every process can read, sharded as another one of its shape is, without communication.

    Of those rows alone that are this process's a copy is made. A tensor like one that is not sharded is joined.
    """
    if not is_sharded(like):
        return join(tensor)
    if isinstance(tensor, Tensor) and is_sharded(tensor):
        return tensor
    from torch.distributed.tensor import DTensor

    assert isinstance(like, DTensor)
    own = rows_of(tensor, _first_row(like), len(local(like))).to(like.device)
    return DTensor.from_local(
        own, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )


def copy_into(target: Tensor, source: StoredTensor) -> None:
    """Copy a tensor into one that may be sharded."""
    target.copy_(part_of(source, target))


def local_parts(value: Any) -> Any:
    """Return nested dicts, lists and tuples with this process's parts in place of sharded tensors."""
    return map_tensors(value, local)


def first_rows(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the place of this process's part among the rows of each sharded tensor, by name."""
    return {name: _first_row(tensor) for name, tensor in tensors.items() if is_sharded(tensor)}


def _first_row(tensor: Tensor) -> int:
    """Return the number of rows before this process's part; fully_shard splits rows into equal parts, the last less."""
    from torch.distributed.tensor import DTensor, Shard

    assert isinstance(tensor, DTensor)
    dimension = tensor.placements.index(Shard(0))
    most = -(-tensor.shape[0] // tensor.device_mesh.size(dimension))
    return min(tensor.device_mesh.get_local_rank(dimension) * most, tensor.shape[0])


def take_parts(optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Return the state that an optimizer is about to load, sharded as its parameters are, in memory of its own.

    torch would keep the tensors of the state, and with them the files that these are views of. A hook of torch's
    optimizers: see ``Optimizer.register_load_state_dict_pre_hook``.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
    owners = dict(zip(numbers, parameters, strict=False))  # torch refuses another number of them afterwards
    state = {number: _parts(values, owners.get(number)) for number, values in state_dict["state"].items()}
    return {**state_dict, "state": state}


def _parts(values: Any, parameter: Tensor | None) -> Any:
    if isinstance(values, Mapping):
        return {name: _parts(value, parameter) for name, value in values.items()}
    if not isinstance(values, StoredTensor):
        return values
    like = parameter if parameter is not None and values.shape == parameter.shape else None
    if like is not None and is_sharded(like):
        return part_of(values, like)
    whole = join(values)
    moved = like is not None and like.device != whole.device  # torch copies it to that device
    return whole if moved or whole is not values else whole.clone()
