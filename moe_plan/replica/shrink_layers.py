"""Which layers a shrunk model keeps: one of every kind, in an order in which each still makes sense."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.replica.unfold import block_names, layers_of
from moe_plan.spec.attention import Attention, CompressedAttention, MlaAttention

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from moe_plan.spec.attention import AnyAttention
    from moe_plan.spec.model import Run

    Blocks = Mapping[str, AnyAttention]


class Kept(NamedTuple):
    """Runs of the layers that are kept, how many layers there were and are, and how many kinds of them."""

    runs: tuple[Run, ...]
    before: int
    after: int
    kinds: int


class Use(NamedTuple):
    """That a layer takes what an earlier layer has: `owner` is the last one that had it."""

    what: str
    owner: int


def kept_layers(runs: tuple[Run, ...], blocks: Blocks, at_least: int | None = None) -> Kept:
    """The first layer of every kind, and further ones until there are `at_least`, in the model's order.

    Where a layer reuses something of an earlier one, a layer of that one's kind stands last before it too.
    """
    layers = _alone(layers_of(runs))
    first: dict[Run, int] = {}
    for index, layer in enumerate(layers):
        first.setdefault(layer, index)
    kept = set(first.values())
    others = [index for index in range(len(layers)) if index not in kept]
    kept |= set(others[: max(0, (at_least or 0) - len(kept))])
    uses = _uses(layers, blocks)
    while missing := _missing_owner(kept, layers, uses, blocks):
        kept |= missing
    ordered = [layers[index] for index in sorted(kept)]
    merged = tuple(run.model_copy(update={"repeat": len(list(same))}) for run, same in groupby(ordered))
    return Kept(merged, len(layers), len(ordered), len(first))


def _alone(layers: list[Run]) -> list[Run]:
    """Each layer as a run of its own; layers that were one run stay one object."""
    single = {id(run): run.model_copy(update={"repeat": 1}) for run in layers}
    return [single[id(run)] for run in layers]


def _uses(layers: list[Run], blocks: Blocks) -> list[list[Use]]:
    """For each layer, what it takes of earlier layers."""
    owners: dict[str, int] = {}
    uses: list[list[Use]] = []
    for index, layer in enumerate(layers):
        uses.append([])
        for what, shared in _shares(layer, blocks):
            if not shared:
                owners[what] = index
            elif owners.get(what, index) != index:
                uses[-1].append(Use(what, owners[what]))
    return uses


def _missing_owner(kept: set[int], layers: list[Run], uses: list[list[Use]], blocks: Blocks) -> set[int]:
    """The first owner to add, so that each use finds the owner's kind where it was; empty when all do."""
    last: dict[str, int] = {}
    for index in sorted(kept):
        for use in uses[index]:
            found = last.get(use.what)
            if found is None or layers[found] != layers[use.owner]:
                return {use.owner}
        last |= {what: index for what, shared in _shares(layers[index], blocks) if not shared}
    return set()


def _shares(layer: Run, blocks: Blocks) -> Iterator[tuple[str, bool]]:
    """What the layer's blocks could lend to later ones, and whether each borrows it itself."""
    for block in (blocks[name] for name in block_names(layer.attention)):
        if isinstance(block, Attention) and not block.cross:
            yield "keys", block.shared_kv
            if block.shared_positions or block.position_buckets is not None:
                yield "positions", block.shared_positions
        elif isinstance(block, MlaAttention | CompressedAttention) and block.indexer is not None:
            yield "choice", block.indexer.shared
