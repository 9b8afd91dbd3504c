"""A profile over ranks: a shrunk model with its experts dealt out, its exchanges counted and timed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.plan.ledger import Ledger
from moe_plan.plan.profiling_ranks import BatchOverRanks, Bytes, Rank, RanksProfile
from moe_plan.plan.routed_layers import routed_layers
from moe_plan.replica.memory import available_memory, guard
from moe_plan.replica.parallel.run import PROCESS_BYTES, EpSettings, run_expert_parallel
from moe_plan.replica.parallel.share import Batch
from moe_plan.replica.shrink import default_scale, shrink
from moe_plan.witness import wire
from moe_plan.witness.budget import held_bytes
from moe_plan.witness.prepare import device_of
from moe_plan.witness.profile_machine import machine, versions
from moe_plan.witness.wire_lines import wire_lines

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction
    from typing import Any

    from moe_plan.plan.profiling import Request, Routing
    from moe_plan.replica.parallel.report import EpReport, RankReport
    from moe_plan.spec.ffn import AnyFfn
    from moe_plan.spec.model import ModelSpec


class Sized(NamedTuple):
    """The model that is run."""

    spec: ModelSpec
    scale: Fraction
    kept: tuple[str, ...]


def begun(model: Sized, spec: ModelSpec, request: Request, over: Over) -> RanksProfile:
    """What is known before the first batch."""
    device = device_of(request.device).type
    return RanksProfile(
        model=spec.name,
        scale=str(model.scale),
        kept=model.kept,
        ranks=over.ranks,
        backend="nccl" if device == "cuda" else "gloo",
        device=device,
        dtype=request.dtype,
        machine=machine(),
        versions=versions(),
        batches=(),
    )


def sized(spec: ModelSpec, request: Request, over: Over) -> Sized:
    """`spec` shrunk, with as many experts and choices as published: what travels follows from them.

    Raises ReplicaError for what is larger than `request` promises; what free memory forbids is refused
    with each batch.
    """
    scale = request.scale
    if scale is None:
        scale = default_scale(spec, lambda smaller: held_bytes(_with_experts_of(spec, smaller), "fp32"))
    shrunk = shrink(spec, scale)
    model = Sized(_with_experts_of(spec, shrunk.spec), shrunk.scale, shrunk.kept[:1])
    if request.max_memory_bytes is not None:
        # Every rank holds its part, and the first one all of it once more, to compare with.
        held = (over.ranks + 1) * held_bytes(model.spec, request.dtype)
        guard(
            over.ranks * PROCESS_BYTES + held,
            available_memory(),
            what=f"{spec.name} at scale {model.scale} over {over.ranks} ranks",
            hint="try a smaller --scale or fewer ranks",
            max_memory=request.max_memory_bytes,
        )
    return model


def _with_experts_of(spec: ModelSpec, smaller: ModelSpec) -> ModelSpec:
    parts = {
        name: part.model_copy(update={"ffn": _restored(spec.parts[name].ffn, part.ffn)})
        for name, part in smaller.parts.items()
    }
    return smaller.model_copy(update={"ffn": _restored(spec.ffn, smaller.ffn), "parts": parts})


def _restored(published: Mapping[str, AnyFfn], smaller: Mapping[str, AnyFfn]) -> dict[str, AnyFfn]:
    restored: dict[str, AnyFfn] = {}
    for name, block in smaller.items():
        kept = published[name]
        names = ("experts", "top_k", "zero_experts", "router") if kept.kind == "moe" else ()
        restored[name] = block.model_copy(update={field: getattr(kept, field) for field in names})
    return restored


def measured(model: Sized, spec: ModelSpec, request: Request, tokens: int, over: Over) -> BatchOverRanks:
    """One batch of `tokens` sequences with a new token each, dealt out over the ranks.

    Raises ReplicaError where a rank dies, fails or hangs, or where memory does not suffice; UsageError
    where torchrun or srun started another number of ranks.
    """
    settings = EpSettings(
        over.ranks,
        dtype=request.dtype,
        device=device_of(request.device).type,
        seed=request.seed,
        repeats=request.repeats,
        timeout_s=over.timeout_s,
        threads=request.threads,
    )
    batch = Batch(dealt(tokens, over.ranks), 1, request.seed, routing_of(request, spec, model.spec))
    (report,) = run_expert_parallel(model.spec, settings, [batch])
    lines = tuple(wire_lines(report, model.spec))
    ledger = Ledger(spec.name, str(model.scale), model.kept, settings.device, request.dtype, tokens, 0, lines)
    layers = wire.sparse_layers(model.spec, report)
    ranks = tuple(_rank(report, layers, of) for of in report.by_rank)
    return BatchOverRanks(tokens, ranks, report.imbalance, report.is_exact, ledger)


class Over(NamedTuple):
    """The ranks, and how long they may take for a batch."""

    ranks: int
    timeout_s: float


def dealt(tokens: int, ranks: int) -> tuple[int, ...]:
    """Sequences of each rank: as equal as can be, the first ranks have one more."""
    return tuple(tokens // ranks + (rank < tokens % ranks) for rank in range(ranks))


def routing_of(request: Request, spec: ModelSpec, smaller: ModelSpec) -> dict[str, Any]:
    """The routing as ranks read it; counts of a layer that was left out go with it."""
    routing: Routing = request.routing
    if routing.kind != "counts":
        exponent = {} if routing.exponent is None else {"exponent": routing.exponent}
        return {"kind": routing.kind, "seed": request.seed, **exponent}
    first = {routed.name: layer for layer, routed in reversed(routed_layers(spec).items())}
    kept = routed_layers(smaller)
    counts = [
        list(routing.layers[first[kept[layer].name]]) if layer in kept else []
        for layer in range(max(kept) + 1)
    ]
    return {"kind": "counts", "seed": request.seed, "layers": counts}


def _rank(report: EpReport, layers: tuple[wire.Layer, ...], of: RankReport) -> Rank:
    seconds = [layer.seconds._asdict() for layer in of.layers]
    return Rank(
        of.rank,
        of.tokens,
        sum(layer.rows for layer in of.layers),
        _bytes([wire.predicted(report, index, layer)[of.rank] for index, layer in enumerate(layers)]),
        _bytes([wire.measured(report, index)[of.rank] for index in range(len(layers))]),
        {phase: sum(of_layer[phase] for of_layer in seconds) for phase in seconds[0]},
    )


def _bytes(layers: list[wire.WireBytes]) -> Bytes:
    sent = sum(of.dispatch_sent + of.combine_sent + of.metadata_sent for of in layers)
    received = sum(of.dispatch_received + of.combine_received + of.metadata_received for of in layers)
    return Bytes(round(sent), round(received))
