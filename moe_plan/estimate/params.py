"""Parameters: total, active in three conventions, by component and by part (physics of sparse models)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moe_plan.anatomy.inventory import Block, Inventory, Weight

# The order in which tables list components: a token's way through the model.
COMPONENTS = (
    "embedding",
    "attention",
    "attention_indexer",
    "attention_compressor",
    "routed_attention_experts",
    "linear_attention_or_ssm",
    "router",
    "routed_experts",
    "shared_experts",
    "shared_expert_gate",
    "dense_mlp",
    "norm",
    "hyper_connections",
    "other",
    "lm_head",
)
_ENDS = ("embedding", "lm_head")


def is_parameter(weight: Weight) -> bool:
    """Trained, and stored by this model: not a buffer, not a tied head, not a second copy."""
    return weight.buffer is None and weight.stored and not weight.copy


def total_params(inventory: Inventory) -> int:
    """Every trained tensor of the text model, tied tensors once; no MTP, no towers, no buffers."""
    return sum(n * w.copies * w.elements for w, n in inventory.text_weights() if is_parameter(w))


def buffer_elements(inventory: Inventory) -> int:
    """Elements that the text model's checkpoint holds beside its parameters (router correction biases)."""
    return sum(n * w.copies * w.elements for w, n in inventory.text_weights() if w.buffer is not None)


def active_params(inventory: Inventory) -> int:
    """Parameters on one token's path: everything but the experts it does not choose, the table included."""
    return sum(n * _active(w) for w, n in inventory.text_weights() if is_parameter(w))


def active_compute_params(inventory: Inventory) -> int:
    """`active_params` less the embedding table where it is only a lookup: what FLOPs follow from."""
    return active_params(inventory) - _looked_up(inventory)


def active_body_params(inventory: Inventory) -> int:
    """`active_params` less every table that is looked up and the output head: as GLM and MiniMax count."""
    body = ((w, n) for w, n in inventory.text_weights() if w.use != "lookup" and w.component not in _ENDS)
    return sum(n * _active(w) for w, n in body if is_parameter(w))


def mean_active_params(inventory: Inventory) -> int:
    """`active_params` when tokens choose zero-compute experts as often as any: below it only then."""
    shares: dict[int, int] = {}
    for weight, count in inventory.text_weights():
        if is_parameter(weight):
            pool, chosen = _mean_active(weight)
            shares[pool] = shares.get(pool, 0) + count * chosen
    # Rounded once for each number of choices, of which a model has one.
    return sum((2 * chosen + pool) // (2 * pool) for pool, chosen in shares.items())


def is_tied(inventory: Inventory) -> bool:
    """Whether the output head is the embedding table."""
    return any(w.name == "lm_head" and not w.stored for w, _ in inventory.text_weights())


def components(inventory: Inventory) -> dict[str, int]:
    """Parameters of the text model by component, in the order of COMPONENTS, empty ones left out."""
    return _by_component(inventory.text)


def part_components(inventory: Inventory) -> dict[str, dict[str, int]]:
    """Parameters of each part outside the text model, by component; second copies under `copies`."""
    parts: dict[str, list[Block]] = {}
    for block in inventory.blocks:
        if not block.in_text:
            parts.setdefault(block.part, []).append(block)
    return {name: _part(blocks) for name, blocks in parts.items()}


def _part(blocks: list[Block]) -> dict[str, int]:
    result = _by_component(blocks)
    copies = sum(b.count * w.copies * w.elements for b in blocks for w in b.weights if w.copy)
    buffers = sum(b.count * w.copies * w.elements for b in blocks for w in b.weights if w.buffer is not None)
    if copies:
        result["copies"] = copies
    if buffers:
        result["buffers"] = buffers
    return result


def _by_component(blocks: Iterable[Block]) -> dict[str, int]:
    sums = dict.fromkeys(COMPONENTS, 0)
    for block in blocks:
        for weight in block.weights:
            if is_parameter(weight):
                sums[weight.component] += block.count * weight.copies * weight.elements
    return {name: count for name, count in sums.items() if count}


def _looked_up(inventory: Inventory) -> int:
    """Tables that are only read by row; one that is also the output head is multiplied."""
    head = "embedding" if is_tied(inventory) else None
    tables = ((w, n) for w, n in inventory.text_weights() if w.use == "lookup")
    return sum(n * w.copies * w.elements for w, n in tables if is_parameter(w) and w.name != head)


def _active(weight: Weight) -> int:
    """A lookup's whole table counts as active: the convention of the vendors' figures."""
    return weight.elements * (weight.copies if weight.use == "lookup" else weight.used)


def _mean_active(weight: Weight) -> tuple[int, int]:
    """Parameters used on average, as a numerator over the number of choices."""
    if weight.use == "lookup" or not weight.pool:
        return 1, _active(weight)
    return weight.pool, weight.elements * (weight.draws or weight.used) * weight.copies
