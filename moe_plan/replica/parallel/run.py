"""A shrunk model over several ranks, measured and compared with one process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from moe_plan.replica.build import on_meta, weight_bytes
from moe_plan.replica.memory import available_memory, guard
from moe_plan.replica.parallel.environment import joined
from moe_plan.replica.parallel.launch import launch
from moe_plan.replica.parallel.report import EpReport, equality_report, rank_report
from moe_plan.replica.parallel.shard import sparse_layers
from moe_plan.replica.parallel.share import Batch, routing_of
from moe_plan.replica.parallel.watch import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moe_plan.replica.parallel.expert_parallel import Return
    from moe_plan.spec.model import ModelSpec

TASK = "moe_plan.replica.parallel.task:run"
PROCESS_BYTES = 256 << 20
"""What a worker takes before it holds a weight: about 230 MiB, torch and its libraries."""


class EpSettings(NamedTuple):
    """How to run a model over ranks."""

    ranks: int
    dtype: str = "fp32"
    device: str = "cpu"
    returns: Return = "rows"
    seed: int = 0
    """Of the weights."""
    repeats: int = 5
    """Timed forwards, after one that is not."""
    compares: bool = True
    """Whether rank 0 also computes, with all weights, what one process does."""
    timeout_s: float = 600.0
    """For all batches together, the start of the workers included."""
    threads: int = 1
    """Of each rank."""


def run_expert_parallel(spec: ModelSpec, settings: EpSettings, batches: Sequence[Batch]) -> list[EpReport]:
    """One report for each batch, on every rank of a group that torchrun or srun started.

    `spec` is run as it is: shrink it first. Raises ReplicaError where a rank dies, fails or hangs, or where
    memory does not suffice; ValueError for batches that are not for `settings.ranks` ranks, or hold nothing.
    """
    for batch in batches:
        _checked(batch, settings)
    if settings.device == "cpu":
        _fits(spec, settings, batches)
    arguments = {
        **settings._asdict(),
        "spec": spec.model_dump_json(),
        "batches": [batch._asdict() for batch in batches],
    }
    told = launch(settings.ranks, Task(TASK, arguments), settings.timeout_s, settings.threads)
    return [_report(spec, settings, batch, [of[i] for of in told]) for i, batch in enumerate(batches)]


def _checked(batch: Batch, settings: EpSettings) -> None:
    routing_of(batch.routing)
    if len(batch.sequences) != settings.ranks or min(batch.sequences) < 0 or settings.repeats < 1:
        message = f"{settings.ranks} ranks need as many counts of sequences, and a repeat: {batch.sequences}"
        raise ValueError(message)
    if sum(batch.sequences) * batch.length < 1:
        message = "a batch needs at least one token"
        raise ValueError(message)


def _report(spec: ModelSpec, settings: EpSettings, batch: Batch, told: list[dict[str, Any]]) -> EpReport:
    return EpReport(
        model=spec.name,
        ranks=settings.ranks,
        backend="nccl" if settings.device == "cuda" else "gloo",
        dtype=settings.dtype,
        returns=settings.returns,
        seed=settings.seed,
        repeats=settings.repeats,
        sequences=batch.sequences,
        length=batch.length,
        routing=batch.routing,
        by_rank=tuple(rank_report(of["rank"]) for of in told),
        equality=equality_report(told[0]["equality"]),
        cores=told[0]["cores"],
        load=told[0]["load"],
    )


def _fits(spec: ModelSpec, settings: EpSettings, batches: Sequence[Batch]) -> None:
    """Refuse, before anything starts, what the machine has no memory for."""
    replica = on_meta(spec, settings.dtype)
    blocks = sparse_layers(replica).values()
    whole = weight_bytes(replica)
    per_layer = [sum(t.nbytes for t in block.experts.weights if t is not None) for block in blocks]
    here = settings.ranks if joined(os.environ) is None else 1
    # Each rank has all but the experts, its part of them, and for a moment one layer's whole.
    held = here * (whole - sum(per_layer) + max(per_layer, default=0)) + sum(per_layer)
    tokens = [sum(batch.sequences) * batch.length for batch in batches]
    row_elements = [
        block.spec.top_k * (2 * block.experts.up.shape[1] + block.experts.up.shape[2]) for block in blocks
    ]
    # Sums, and rows of types that are slow here, are in float32.
    passing = max(tokens) * max(row_elements, default=0) * torch.float32.itemsize
    logits = (max(tokens) + 2 * sum(tokens)) * spec.vocab * replica.embedding.element_size()
    compared = whole + passing if settings.compares else 0
    needed = here * PROCESS_BYTES + held + passing + logits + compared
    hint = "try a smaller --scale, fewer ranks or fewer tokens"
    guard(needed, available_memory(), what=f"{spec.name} over {settings.ranks} ranks", hint=hint)
