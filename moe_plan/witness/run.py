"""The forwards that a check measures: a prefill, then decode steps, each with its FLOPs and its cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from moe_plan.replica.cache import Cache
from moe_plan.replica.call import Options
from moe_plan.replica.ffn.moe import Moe
from moe_plan.replica.measure.flops import FlopCounter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.replica.call import Routing
    from moe_plan.replica.model import Replica


class Shape(NamedTuple):
    """The size of a run."""

    sequences: int
    tokens: int
    """Tokens of the prefill of each sequence; an encoder's source is as long."""
    steps: int
    """Decode steps after it."""


class Seen(NamedTuple):
    """What one forward did."""

    flops: dict[str, int]
    rows: dict[int, int]
    """Rows through experts that hold weights, for each decoder layer that routes."""
    cache: Cache


def forwards(replica: Replica, shape: Shape, seed: int, routing: Routing | None = None) -> Iterator[Seen]:
    """The prefill, then each decode step, one after the other on one cache.

    Queries are handled one by one, so that only scores that causality leaves are computed.
    """
    device = replica.embedding.device
    cache = Cache(replica, shape.sequences, shape.tokens + shape.steps)
    ids_BT = tokens_of(replica, shape, seed)
    source_BS = ids_BT[:, : shape.tokens] if replica.encoders else None
    for step in range(shape.steps + 1):
        first = 0 if step == 0 else shape.tokens + step - 1
        last = shape.tokens + step
        counts: dict[int, tuple[int, ...]] = {}
        options = Options(query_block=1, routing=routing, counts=counts)
        with torch.no_grad(), FlopCounter(replica.tensors()) as counter:
            replica(ids_BT[:, first:last].to(device), cache, options, source_BS if step == 0 else None)
        yield Seen(
            dict(counter.flops), {layer: _held(replica, layer, rows) for layer, rows in counts.items()}, cache
        )


def _held(replica: Replica, layer: int, counts: tuple[int, ...]) -> int:
    """Rows of the experts that hold weights: the first of the choices."""
    moes = [module for module in replica.decoder.layers[layer].modules() if isinstance(module, Moe)]
    return sum(counts[: moes[0].spec.experts])


def tokens_of(replica: Replica, shape: Shape, seed: int) -> torch.Tensor:
    """Random token ids, [sequences, tokens + steps]; on the meta device without values."""
    device = replica.embedding.device
    size = (shape.sequences, shape.tokens + shape.steps)
    if device.type == "meta":
        return torch.zeros(size, dtype=torch.long, device=device)
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randint(0, replica.spec.vocab, size, generator=generator).to(device)
