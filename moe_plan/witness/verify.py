"""The check of one model: a shrunk replica is run and measured, and at full width its shapes are."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from moe_plan.anatomy.build import inventory
from moe_plan.errors import ReplicaError
from moe_plan.plan.ledger import Ledger, Line
from moe_plan.plan.verification import FULL_WIDTH_DTYPE, FULL_WIDTH_STEPS, FULL_WIDTH_TOKENS
from moe_plan.replica import build
from moe_plan.replica.routing import Balanced
from moe_plan.spec.catalogue import validated
from moe_plan.witness.activations import activation_lines
from moe_plan.witness.allocator import allocator_lines
from moe_plan.witness.caches import allocated_lines, cache_lines
from moe_plan.witness.experts import distinct_lines
from moe_plan.witness.operations import Forward, flop_lines
from moe_plan.witness.parameters import parameter_lines, weight_byte_line
from moe_plan.witness.prepare import prepared
from moe_plan.witness.run import Shape, forwards
from moe_plan.witness.timing import time_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.anatomy.inventory import Phase
    from moe_plan.api import Model
    from moe_plan.plan.verification import Request
    from moe_plan.replica.model import Replica
    from moe_plan.spec.model import ModelSpec
    from moe_plan.witness.prepare import Prepared

FULL_WIDTH = Shape(1, FULL_WIDTH_TOKENS, FULL_WIDTH_STEPS)


def verify(model: Model, request: Request) -> Ledger:
    """Every quantity of `model`, predicted and measured.

    Raises ReplicaError where the replica cannot be run, UnavailableError where its device is not there.
    """
    spec = validated(model.spec)
    with _threads(request.threads), _memory_errors(), torch.no_grad():
        made = prepared(spec, request)
        lines = [*_shrunk_lines(made, request)]
        if request.full_width:
            lines += full_width_lines(spec)
    return Ledger(
        model=spec.name,
        scale=str(made.shrunk.scale),
        kept=made.shrunk.kept,
        device=made.device.type,
        dtype=request.dtype,
        tokens=request.tokens,
        steps=request.steps,
        lines=tuple(lines),
    )


def _shrunk_lines(made: Prepared, request: Request) -> Iterator[Line]:
    spec, replica = made.shrunk.spec, made.replica
    book = inventory(spec)
    yield from parameter_lines(book, replica)
    yield from run_lines(spec, replica, made.shape, request.seed)
    yield from distinct_lines(replica, request.tokens, request.seeds, request.seed)
    yield weight_byte_line(book, replica, request.dtype)
    yield from activation_lines(made, request.seed)
    yield from allocator_lines(made, request.seed)
    if request.time:
        yield from time_lines(made, request.dtype, request.seed)


def full_width_lines(spec: ModelSpec) -> Iterator[Line]:
    """Parameters, FLOPs and cache at published size, on the meta device."""
    replica = build.on_meta(spec, FULL_WIDTH_DTYPE)
    yield from parameter_lines(inventory(spec), replica, "full width: parameters")
    yield from run_lines(spec, replica, FULL_WIDTH, 0, "full width: ")


def run_lines(spec: ModelSpec, replica: Replica, shape: Shape, seed: int, where: str = "") -> Iterator[Line]:
    """FLOPs of the prefill and of every decode step, and the cache after each."""
    book = inventory(spec)
    itemsize = replica.embedding.element_size()
    routing = Balanced() if replica.embedding.is_meta else None
    for step, seen in enumerate(forwards(replica, shape, seed, routing)):
        phase: Phase = "decode" if step else "prefill"
        context, new = shape.tokens + step, 1 if step else shape.tokens
        after = f"decode step {step}" if step else "prefill"
        forward = Forward(phase, shape.sequences, new, context, shape.tokens, seen.rows)
        yield from flop_lines(f"{where}FLOPs of {after}", book, replica, forward, seen.flops)
        yield from cache_lines(f"{where}cache after {after}", book, seen.cache, itemsize, shape.tokens)
    yield from allocated_lines(f"{where}cache allocated", book, seen.cache, itemsize)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _memory_errors() -> Iterator[None]:
    """An allocation that fails all the same, on a device that others use too."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        message = f"the device ran out of memory: {str(error).splitlines()[0]}; try a smaller --scale"
        raise ReplicaError(message) from None
