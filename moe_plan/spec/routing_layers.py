"""What a routing file is checked against: the experts that each layer of a model chooses among."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.errors import InputError, Problem
from moe_plan.spec import limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Pool(NamedTuple):
    """What a token of one layer chooses among."""

    choices: int
    """Experts, zero-compute ones last."""
    top_k: int


class Counted(NamedTuple):
    """One layer of a routing file."""

    counts: tuple[int, ...]
    """Tokens of each choice."""
    line: int
    """Where the layer stands; its last line where it has several."""


def fault(where: str, code: str, line: int | None, key: str, message: str) -> InputError:
    """The one error of a routing file: reading stops at the first fault."""
    return InputError([Problem(code, where, line, None, key, message)])


def pool_of(layer: int, pools: Mapping[int, Pool], where: str, line: int | None) -> Pool:
    """The experts of `layer`. Raises InputError where the model routes nothing there."""
    if layer not in pools:
        message = f"layer {layer} of the model has no routed experts; those with them are {spans(pools)}"
        raise fault(where, "MP153", line, f"layers.{layer}", message)
    return pools[layer]


def complete(
    found: Mapping[int, Counted], pools: Mapping[int, Pool], where: str
) -> tuple[tuple[int, ...], ...]:
    """Counts of every layer up to the last that routes, () for others.

    Raises InputError for a layer that is missing, or has tokens at too few experts.
    """
    missing = sorted(set(pools) - set(found))
    if missing:
        message = f"no counts for layers {spans(missing)}; needed are those of {spans(pools)}"
        raise fault(where, "MP153", None, "layers", message)
    for layer in sorted(pools):
        counts, line = found[layer]
        chosen, top_k = sum(count > 0 for count in counts), pools[layer].top_k
        if chosen < top_k:
            message = f"{chosen} of {len(counts)} experts have tokens, and one token chooses {top_k}"
            raise fault(where, "MP155", line, f"layers.{layer}", message)
    last = max(pools, default=-1)
    return tuple(found[layer].counts if layer in pools else () for layer in range(last + 1))


def count_allowed() -> str:
    """The range of a count, for messages."""
    return f"a whole number from 0 to {limits.ROUTED_TOKENS:.0e}".replace("e+", "e")


def spans(layers: Iterable[int]) -> str:
    """`0, 3-60`: numbers in order, neighbours joined; `none` where there are none."""
    ordered = sorted(layers)
    if not ordered:
        return "none"
    breaks = [(end, start) for end, start in pairwise(ordered) if start != end + 1]
    starts = [ordered[0], *(start for _, start in breaks)]
    ends = [*(end for end, _ in breaks), ordered[-1]]
    return ", ".join(
        str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True)
    )
