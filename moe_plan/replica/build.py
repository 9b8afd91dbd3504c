"""From a spec to a replica that runs: made on the meta device, weighed, and only then given memory."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from moe_plan.replica.block import Block
from moe_plan.replica.model import Replica

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.spec.model import ModelSpec

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Made = TypeVar("Made", bound=nn.Module)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Blocks that are declared inside have this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def on_meta(spec: ModelSpec, dtype: str = "fp32") -> Replica:
    """The replica of `spec` without memory: shapes, counts and FLOPs at any size."""
    with default_dtype(DTYPES[dtype]):
        replica = Replica(spec)
    return replica.eval()


def weight_bytes(module: nn.Module) -> int:
    """Bytes of every parameter and buffer of a replica or a part of one, as torch will allocate them."""
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


def materialise(made: Made, device: torch.device, seed: int = 0) -> Made:
    """Give a replica, or a part of one, memory and random weights; a seed gives the same on every device."""
    generator = torch.Generator("cpu").manual_seed(seed)
    for module in made.modules():
        if isinstance(module, Block):
            module.materialise(device, generator)
    return made
