"""One rank's part of a batch: its own sequences, and its rows of a routing that all ranks draw alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from moe_plan.replica.call import Options
from moe_plan.replica.ffn.dispatch import Choice
from moe_plan.replica.parallel.shard import sparse_layers
from moe_plan.replica.routing import Balanced, Counts, Uniform, Zipf

if TYPE_CHECKING:
    from torch import Tensor

    from moe_plan.replica.call import Routing
    from moe_plan.replica.model import Replica


class Batch(NamedTuple):
    """Sequences of equal length, some on each rank."""

    sequences: tuple[int, ...]
    """Of each rank; 0 is allowed."""
    length: int
    """Tokens of each sequence."""
    seed: int
    routing: dict[str, Any]
    """As `routing_of` reads it."""

    @property
    def tokens(self) -> list[int]:
        """Tokens of each rank."""
        return [sequences * self.length for sequences in self.sequences]


def routing_of(kind: dict[str, Any]) -> Routing | None:
    """`{"kind": "router"}` (None: the model's own), `balanced`, `uniform`, `zipf` or `counts`.

    The last three take a `seed`; `zipf` an `exponent`, `counts` the `layers`. ValueError for another kind.
    """
    match kind:
        case {"kind": "router"}:
            return None
        case {"kind": "balanced"}:
            return Balanced()
        case {"kind": "uniform", "seed": seed}:
            return Uniform(seed)
        case {"kind": "zipf", "seed": seed, "exponent": exponent}:
            return Zipf(exponent, seed)
        case {"kind": "counts", "seed": seed, "layers": layers}:
            return Counts(layers, seed)
    message = f"no routing of this kind: {kind}"
    raise ValueError(message)


class Part:
    """A rank's rows of a routing drawn for the tokens of all ranks, so that all see one popularity."""

    def __init__(self, whole: Routing, tokens: list[int], rank: int) -> None:
        """`tokens` are those of each rank, in every layer."""
        self.whole, self.all = whole, sum(tokens)
        self.rows = slice(sum(tokens[:rank]), sum(tokens[: rank + 1]))

    def choose(self, layer: int, tokens: int, top_k: int, choices: int) -> Tensor:
        """Experts of this rank's tokens, [tokens, top_k]."""
        chosen_TK = self.whole.choose(layer, self.all, top_k, choices)[self.rows]
        assert len(chosen_TK) == tokens
        return chosen_TK


class Share:
    """What one rank runs of a batch, the same each time."""

    def __init__(self, batch: Batch, rank: int, vocab: int, device: torch.device) -> None:
        self.batch, self.rank = batch, rank
        generator = torch.Generator().manual_seed(batch.seed)
        ids_BT = torch.randint(vocab, (sum(batch.sequences), batch.length), generator=generator)
        self.ids_BT = ids_BT.split_with_sizes(list(batch.sequences))[rank].to(device)

    def forward(self, replica: Replica) -> Tensor:
        """Logits [B, T, V] of this rank's sequences; without any, its experts still serve the others."""
        if not len(self.ids_BT):
            serve(replica)
            return replica.embedding.new_empty((*self.ids_BT.shape, replica.spec.vocab))
        whole = routing_of(self.batch.routing)
        part = None if whole is None else Part(whole, self.batch.tokens, self.rank)
        source_BS = self.ids_BT if replica.encoders else None
        logits: Tensor = replica(self.ids_BT, options=Options(routing=part), source_BS=source_BS)
        return logits


def serve(replica: Replica) -> None:
    """Take part in every sparse layer without a token of one's own, in the order of a forward."""
    blocks = sparse_layers(replica)
    for name in sorted(blocks, key=lambda name: not name.startswith("encoders.")):
        block = blocks[name]
        weights, top_k = block.experts.weights, block.spec.top_k
        x_TD = weights.up_EDF.new_empty((0, weights.up_EDF.shape[1]))
        chosen_TK = torch.empty((0, top_k), dtype=torch.int64, device=x_TD.device)
        nothing = Choice(chosen_TK, x_TD.new_empty((0, top_k)))
        block.run(x_TD, nothing, weights, block.act, weigh_input=block.spec.router.weigh_input)


def whole_batch(batch: Batch, vocab: int, device: torch.device) -> Share:
    """All ranks' sequences as one rank's."""
    return Share(batch._replace(sequences=(sum(batch.sequences),)), 0, vocab, device)
