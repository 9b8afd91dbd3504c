"""KV cache and recurrent state: bytes of one sequence as a function of its context, and the inverse."""

from __future__ import annotations

from math import lcm
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.estimate.formats import DTYPE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from fractions import Fraction

    from moe_plan.anatomy.inventory import Inventory, State

GROUP = 32
"""Elements that the bytes of a cache format are given for."""

# Bytes per GROUP elements. q8_0 and q4_0 hold one fp16 scale for each group (llama.cpp).
KV_FORMATS: dict[str, int] = {
    "fp32": 128,
    "bf16": 64,
    "fp16": 64,
    "fp8": 32,
    "int8": 32,
    "q8_0": 34,
    "q4_0": 18,
}

CONTEXT_LIMIT = 1 << 62


class CacheElements(NamedTuple):
    """Cached elements of one sequence by how they grow with the context."""

    per_token_unbounded: int
    """Of layers whose cache has no ceiling, indexer keys aside."""
    per_token_indexer: int
    """Keys that an indexer scores, one for each token."""
    per_token_bounded: int
    """Of layers whose cache stops growing (window, chunk), while it still grows."""
    per_token_compressed: int | Fraction
    """Of layers that keep one entry for several tokens, on average."""
    per_source_token: int
    """Of cross-attention, for each token of the encoder's input."""
    state: int
    """Recurrent state, whatever the context."""


def cache_elements(inventory: Inventory) -> CacheElements:
    """Elements of every cache and state of the text model, by growth."""
    sums: dict[str, int | Fraction] = {}
    for state, count in _states(inventory):
        kind = _growth(state)
        elements: int | Fraction = count * state.elements
        if kind == "compressed" and state.reach is not None:
            from fractions import Fraction  # noqa: PLC0415  few models need it, and start-up counts

            elements = Fraction(elements, state.reach.stride)
        sums[kind] = sums.get(kind, 0) + elements
    return CacheElements(
        per_token_unbounded=int(sums.get("unbounded", 0)),
        per_token_indexer=int(sums.get("indexer", 0)),
        per_token_bounded=int(sums.get("bounded", 0)),
        per_token_compressed=sums.get("compressed", 0),
        per_source_token=int(sums.get("source", 0)),
        state=int(sums.get("state", 0)),
    )


def kv_bytes_per_token(inventory: Inventory, kv_format: str, context: int = 0) -> int:
    """Bytes that one more token adds to the cache of a sequence of `context` tokens.

    Whole bytes, rounded up. Windows that are full add nothing; compressed entries count at their
    average; states and a cross-attention source do not grow.
    """
    growing = tuple(_growing(inventory, context))
    stride = lcm(*(stride for _, _, stride in growing))
    elements = sum(count * state.elements * (stride // each) for state, count, each in growing)
    return -(-elements * KV_FORMATS[kv_format] // (stride * GROUP))


def kv_bytes(inventory: Inventory, context: int, kv_format: str) -> int:
    """Bytes of cache and state of one sequence of `context` tokens; a cross-attention source as long."""
    growing, fixed = 0, 0
    for state, count in _states(inventory):
        elements = count * state.elements * (1 if state.reach is None else state.reach.entries(context))
        if state.dtype is None:
            growing += elements
        else:
            fixed += elements * DTYPE_BYTES[state.dtype]
    return fixed - (-growing * KV_FORMATS[kv_format] // GROUP)


def state_bytes(inventory: Inventory) -> int:
    """Bytes of recurrent state of one sequence, whatever its context."""
    return sum(n * s.elements * DTYPE_BYTES[s.dtype] for s, n in _states(inventory) if s.dtype is not None)


def max_context(inventory: Inventory, budget_bytes: int, kv_format: str) -> int | None:
    """Longest context of one sequence within `budget_bytes`; None where no context is too long.

    The inverse of `kv_bytes`: kv_bytes(max_context(b)) <= b < kv_bytes(max_context(b) + 1).
    -1 where not even the recurrent state fits.
    """
    if kv_bytes(inventory, 0, kv_format) > budget_bytes:
        return -1
    if kv_bytes(inventory, CONTEXT_LIMIT, kv_format) <= budget_bytes:
        return None
    low, high = 0, CONTEXT_LIMIT
    while high - low > 1:
        middle = (low + high) // 2
        if kv_bytes(inventory, middle, kv_format) <= budget_bytes:
            low = middle
        else:
            high = middle
    return low


def _states(inventory: Inventory) -> list[tuple[State, int]]:
    return [(state, block.count) for block in inventory.text for state in block.states]


def _growing(inventory: Inventory, context: int) -> Iterator[tuple[State, int, int]]:
    """States that one more token makes larger, with their layers and tokens an entry."""
    for state, count in _states(inventory):
        reach = state.reach
        if reach is not None and not state.source and (reach.limit is None or context < reach.limit):
            yield state, count, reach.stride


def _growth(state: State) -> str:
    if state.reach is None:
        return "state"
    if state.source:
        return "source"
    if state.reach.limit is not None:
        return "bounded"
    if state.reach.stride > 1:
        return "compressed"
    return "indexer" if state.name.startswith("indexer") else "unbounded"
