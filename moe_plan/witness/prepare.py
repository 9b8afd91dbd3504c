"""A replica of the right size on the right device: chosen, weighed, and only then given memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from moe_plan.errors import UnavailableError
from moe_plan.plan.verification import SEQUENCES
from moe_plan.replica import build
from moe_plan.replica.memory import Available, available_memory, cuda_memory
from moe_plan.witness.budget import Asked
from moe_plan.witness.run import Shape

if TYPE_CHECKING:
    from moe_plan.plan.verification import Request
    from moe_plan.replica.model import Replica
    from moe_plan.replica.shrink import Shrunk
    from moe_plan.spec.model import ModelSpec


class Prepared(NamedTuple):
    """A replica that has its memory, and what it was made from."""

    replica: Replica
    shrunk: Shrunk
    shape: Shape
    device: torch.device


def prepared(spec: ModelSpec, request: Request) -> Prepared:
    """The replica that `request` asks for.

    Raises ReplicaError, before anything is allocated, where it would take more than it may; UnavailableError
    where there is no such device.
    """
    device = device_of(request.device)
    asked = Asked(spec, request, memory_of(device))
    shrunk = asked.shrunk()
    asked.guard(shrunk)
    replica = build.materialise(build.on_meta(shrunk.spec, request.dtype), device, request.seed)
    return Prepared(replica, shrunk, Shape(SEQUENCES, request.tokens, request.steps), device)


def memory_of(device: torch.device) -> Available:
    """What could be taken on `device` now."""
    return cuda_memory(device.index or 0) if device.type == "cuda" else available_memory()


def device_of(name: str) -> torch.device:
    """The device of that name; `auto` is an accelerator where there is one. Raises UnavailableError."""
    has = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((kind for kind in ("cuda", "mps") if has[kind]), "cpu"))
    if not has[name]:
        message = f"torch {torch.__version__} sees no {name} device here; --device cpu always works"
        raise UnavailableError(message)
    return torch.device(name)
