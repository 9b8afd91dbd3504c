"""What the figures take for granted, one short sentence each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.plan.structure import attention_kinds, has_zero_experts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moe_plan.api import Model
    from moe_plan.plan.question import Question

COUNTED = (
    "total: trained tensors of the text model, tied ones once; no MTP modules, towers or router buffers",
    "active: what one token uses; active in compute: less the embedding table where it is only looked up",
)
DENSE = (
    "dense of equal total: multiplies all of it for every token; of equal active: has to hold only that much"
)
ROUTING = "routing is uniform: a step of B tokens touches E*(1-(1-k/E)^B) experts of a layer"
FLOPS = (
    "a multiply-add is 2 FLOPs; matrix products and attention only; prefill is causal; training is 3 prefills"
)
MLA = "MLA: prefill expands keys and values, decode absorbs the projection and attends to the latent itself"
ZERO_EXPERTS = (
    "zero-compute experts: active and FLOPs are upper bounds, for tokens that choose none of them; "
    "distinct experts and reads are means, E in the formula counting the zero ones too"
)
WINDOWS = "KV per token is what the next token adds at this context: a full window or chunk adds nothing"
REPEATED = "released files repeat tensors that are one in memory, such as an MTP module's table and head"
CROSS = (
    "encoder-decoder: the source is as long as the context; active, prefill and training count both stacks, "
    "a decode step runs the decoder alone"
)
SPARSE_KV = "sparse attention reads less of its cache than a sequence holds"


def assumptions(models: Sequence[Model], question: Question) -> tuple[str, ...]:
    """What a reader has to know to repeat the figures of `models`."""
    return (
        _point(question),
        *COUNTED,
        ROUTING,
        FLOPS,
        *_of_these(models),
        DENSE,
        *_beyond_context(models, question),
    )


def _of_these(models: Sequence[Model]) -> Iterator[str]:
    kinds = {kind for model in models for kind in attention_kinds(model.fields)}
    if kinds & {"mla", "mla-indexer"}:
        yield MLA
    if kinds & {"mla-indexer", "compressed"}:
        yield SPARSE_KV
    if any(has_zero_experts(model.inventory) for model in models):
        yield ZERO_EXPERTS
    if kinds & {"gqa-window", "gqa-chunk", "compressed"}:
        yield WINDOWS
    if "gqa-cross" in kinds:
        yield CROSS
    if any(_repeats_tensors(model) for model in models):
        yield REPEATED


def _repeats_tensors(model: Model) -> bool:
    return any(weight.copy for block in model.inventory.blocks for weight in block.weights)


def _beyond_context(models: Sequence[Model], question: Question) -> Iterator[str]:
    for model in models:
        longest = model.fields.context
        if longest is not None and question.context > longest:
            yield f"{model.name}: the context is beyond the {longest:,} tokens it was released for"


def _point(question: Question) -> str:
    sequences = f"context {question.context:,} tokens a sequence, batch {question.batch:,}"
    return f"{sequences}, weights {question.weights}, KV cache {question.kv}"
