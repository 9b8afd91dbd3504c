"""What expert parallelism puts on the wire: from the spec and who chose what, not from the exchanging code.

A token goes once to every other rank that holds an expert of it, with one word for each such expert (two
where its weight goes along); ranks first tell each other how many rows each expert gets. Back comes a row
for each token and expert ("rows"), or for each token and rank ("sums"). A rank's own rows touch no wire.
"""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.spec.flows import block_names
from moe_plan.witness.budget import ITEMSIZE
from moe_plan.witness.moments.stack import layers_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from moe_plan.replica.parallel.report import EpReport, LayerReport
    from moe_plan.spec.ffn import MoeFfn
    from moe_plan.spec.model import ModelSpec, Part

WORD_BYTES = 4
"""Counts, places and weights travel as 32-bit words."""


class Route(NamedTuple):
    """What one rank has for another: on average, where it is not from a real routing."""

    tokens: float
    rows: float


class Layer(NamedTuple):
    """What the bytes of a layer follow from, apart from the routing."""

    experts: int
    ranks: int
    width: int
    itemsize: int
    returns: str
    weighs_input: bool

    @property
    def held(self) -> tuple[int, ...]:
        """Experts of each rank: dealt out one by one, so that the first ranks have one more."""
        held = [0] * self.ranks
        for expert in range(self.experts):
            held[expert % self.ranks] += 1
        return tuple(held)


class WireBytes(NamedTuple):
    """Bytes of one layer on one rank, to and from all others."""

    dispatch_sent: float
    dispatch_received: float
    combine_sent: float
    combine_received: float
    metadata_sent: float
    metadata_received: float


def owners(held: Sequence[int]) -> tuple[int, ...]:
    """The rank of each expert: ranks hold consecutive ones."""
    return tuple(rank for rank, count in enumerate(held) for _ in range(count))


def routes(chosen_TK: Iterable[Sequence[int]], held: Sequence[int]) -> list[Route]:
    """What a rank with these choices has for each rank; ids from the number of experts on go nowhere."""
    owner = owners(held)
    tokens, rows = [0] * len(held), [0] * len(held)
    for chosen in chosen_TK:
        ranks = [owner[expert] for expert in chosen if expert < len(owner)]
        for rank in ranks:
            rows[rank] += 1
        for rank in set(ranks):
            tokens[rank] += 1
    return [Route(*pair) for pair in zip(tokens, rows, strict=True)]


def uniform_routes(tokens: int, top_k: int, choices: int, held: Sequence[int]) -> list[Route]:
    """The same on average where every set of `top_k` among `choices` is as likely as any other."""
    sets = comb(choices, top_k)
    return [
        Route(tokens * (1 - comb(choices - count, top_k) / sets), tokens * top_k * count / choices)
        for count in held
    ]


def wire_bytes(matrix: Sequence[Sequence[Route]], layer: Layer) -> list[WireBytes]:
    """Bytes of each rank; `matrix[r][q]` is what rank r has for rank q."""
    return [_of_rank(rank, matrix, layer) for rank in range(layer.ranks)]


def _of_rank(rank: int, matrix: Sequence[Sequence[Route]], layer: Layer) -> WireBytes:
    others = [other for other in range(layer.ranks) if other != rank]
    away = [matrix[rank][other] for other in others]
    here = [matrix[other][rank] for other in others]
    row_bytes, words = layer.width * layer.itemsize, 2 if layer.weighs_input or layer.returns == "sums" else 1
    # Counts of each of the receiver's experts, and of the tokens.
    counts_sent = sum(layer.held[other] + 1 for other in others)
    counts_received = len(others) * (layer.held[rank] + 1)
    back = 0 if layer.returns == "sums" else 1
    return WireBytes(
        dispatch_sent=sum(route.tokens for route in away) * row_bytes,
        dispatch_received=sum(route.tokens for route in here) * row_bytes,
        combine_sent=sum(route[back] for route in here) * row_bytes,
        combine_received=sum(route[back] for route in away) * row_bytes,
        metadata_sent=WORD_BYTES * (counts_sent + words * sum(route.rows for route in away)),
        metadata_received=WORD_BYTES * (counts_received + words * sum(route.rows for route in here)),
    )


def sparse_layers(spec: ModelSpec, report: EpReport) -> tuple[Layer, ...]:
    """Of each sparse layer of `spec`, the decoder's before an encoder's, as `report` was asked to run it."""
    return tuple(
        Layer(
            block.experts,
            report.ranks,
            block.latent or hidden,
            ITEMSIZE[report.dtype],
            report.returns,
            block.router.weigh_input,
        )
        for block, hidden in _blocks(spec)
    )


def _blocks(spec: ModelSpec) -> Iterator[tuple[MoeFfn, int]]:
    """Each with the width of its part."""
    encoders = (part for part in spec.parts.values() if part.role == "encoder")
    parts: tuple[ModelSpec | Part, ...] = (spec, *encoders)
    for part in parts:
        for run in layers_of(part.layers):
            for name in block_names(run.ffn):
                block = part.ffn.get(name) or spec.ffn[name]
                if block.kind == "moe":
                    yield block, part.hidden or spec.hidden


def matrix_of(report: EpReport, index: int, layer: Layer) -> list[list[Route]]:
    """What each rank has for each in sparse layer `index`, from the choices that its tokens made."""
    return [routes(rank.layers[index].chosen_TK, layer.held) for rank in report.by_rank]


def uniform_matrix(report: EpReport, index: int, layer: Layer) -> list[list[Route]]:
    """The same on average under uniform routing of the same tokens."""
    ranks = [rank.layers[index] for rank in report.by_rank]
    return [uniform_routes(len(of.chosen_TK), of.top_k, of.choices, layer.held) for of in ranks]


def predicted(report: EpReport, index: int, layer: Layer) -> list[WireBytes]:
    """Bytes of each rank in sparse layer `index` that its real routing asks for."""
    return wire_bytes(matrix_of(report, index, layer), layer)


def expected(report: EpReport, index: int, layer: Layer) -> list[WireBytes]:
    """The same on average under uniform routing."""
    return wire_bytes(uniform_matrix(report, index, layer), layer)


def measured(report: EpReport, index: int) -> list[WireBytes]:
    """The same as each rank counted it, of what it handed to the collectives."""
    return [_counted(rank.layers[index]) for rank in report.by_rank]


def _counted(layer: LayerReport) -> WireBytes:
    dispatch, combine = layer.dispatch, layer.combine
    return WireBytes(
        dispatch.sent_payload_bytes,
        dispatch.received_payload_bytes,
        combine.sent_payload_bytes,
        combine.received_payload_bytes,
        dispatch.sent_metadata_bytes + combine.sent_metadata_bytes,
        dispatch.received_metadata_bytes + combine.received_metadata_bytes,
    )
