"""What a model is made of, in the words of its spec: layers, experts, kinds of attention."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.spec.flows import block_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from moe_plan.anatomy.inventory import Inventory
    from moe_plan.api import Model
    from moe_plan.spec.attention import AnyAttention
    from moe_plan.spec.model import ModelSpec, Part, Run

# Every label that `attention_kinds` can give, for filters and completion.
ATTENTION_KINDS = (
    "gqa",
    "gqa-window",
    "gqa-chunk",
    "gqa-cross",
    "mla",
    "mla-indexer",
    "compressed",
    "moa",
    "gated-delta",
    "kda",
    "lightning",
    "mamba1",
    "mamba2",
    "short-conv",
)


class Structure(NamedTuple):
    """Layers of the text model, and the experts of its MoE layers; None in a dense model."""

    layers: int
    moe_layers: int
    experts: int | None
    """Routed experts of a layer that hold weights."""
    top_k: int | None
    """Of these, how many a token can use at most."""
    has_shared_experts: bool
    attention_kinds: tuple[str, ...]


def structure(model: Model) -> Structure:
    """The structure of `model`; where MoE layers differ, experts and top-k of the commonest kind."""
    inventory = model.inventory
    layered = [block for block in inventory.text if block.layers]
    experts, top_k = _experts(inventory)
    return Structure(
        layers=sum(block.count for block in layered),
        moe_layers=sum(b.count for b in layered if any(w.component == "routed_experts" for w in b.weights)),
        experts=experts,
        top_k=top_k,
        has_shared_experts="shared_experts" in model.components,
        attention_kinds=attention_kinds(model.fields),
    )


def attention_kinds(spec: ModelSpec) -> tuple[str, ...]:
    """Kinds of attention of the text model, in order of appearance, each once."""
    encoders = (part for part in spec.parts.values() if part.role == "encoder")
    stacks: list[ModelSpec | Part] = [spec, *encoders]
    labels = [
        _label(stack.attention.get(name) or spec.attention[name])
        for stack in stacks
        for name in _attention_names(stack.layers)
    ]
    return tuple(dict.fromkeys(labels))


def is_of_kind(label: str, wanted: str) -> bool:
    """Whether `wanted` is the label, or one word of it: `mla` and `indexer` both match `mla-indexer`."""
    return wanted == label or wanted in label.split("-")


def has_zero_experts(inventory: Inventory) -> bool:
    """Whether a token may choose experts that compute nothing."""
    return any(weight.pool > weight.copies for weight, _ in inventory.text_weights())


def _attention_names(runs: Iterable[Run]) -> Iterator[str]:
    for run in runs:
        yield from _attention_names(run.pattern)
        yield from block_names(run.attention)


def _label(block: AnyAttention) -> str:
    if block.kind == "gqa":
        if block.cross:
            return "gqa-cross"
        if block.chunk is not None:
            return "gqa-chunk"
        return "gqa" if block.window is None else "gqa-window"
    if block.kind == "mla" and block.indexer is not None:
        return "mla-indexer"
    return block.kind


def _experts(inventory: Inventory) -> tuple[int | None, int | None]:
    layers: Counter[tuple[int, int]] = Counter()
    for weight, count in inventory.text_weights():
        if weight.pool and weight.name.endswith(".down"):
            layers[weight.copies, weight.used] += count
    return layers.most_common(1)[0][0] if layers else (None, None)
