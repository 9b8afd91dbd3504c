"""Ranks as threads of one process, and the cases that they and ranks over gloo compute alike."""

from __future__ import annotations

from threading import Barrier, Thread
from types import SimpleNamespace

import torch
from parallel_cases import Case, by_rank, made

from moe_plan.replica.parallel.exchange import Exchange
from moe_plan.witness import wire


class Threads(Exchange):
    """Ranks as threads of one process: the same exchange, with a copy in the place of a collective."""

    def __init__(self, rank: int, ranks: int, barrier: Barrier, sent: dict) -> None:
        super().__init__(
            SimpleNamespace(rank=rank, ranks=ranks, mark=lambda doing: None), torch.device("cpu")
        )
        self.barrier, self.sent = barrier, sent

    def _collective(self, received_MB, sent_NB, receives, sends):
        rank = self.seat.rank
        self.sent[rank] = sent_NB.split(sends)
        self.barrier.wait()
        parts = [self.sent[other][rank] for other in range(self.seat.ranks)]
        assert [len(part) for part in parts] == receives
        received_MB.copy_(torch.cat(parts))
        self.barrier.wait()


def in_threads(case: Case):
    """Output [T, D] of all ranks together, and their records."""
    ranks = len(case.tokens)
    barrier, sent, done, errors = Barrier(ranks, timeout=30), {}, {}, []

    def run(rank: int) -> None:
        try:
            done[rank] = by_rank(case, Threads(rank, ranks, barrier, sent))
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [Thread(target=run, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return torch.cat([done[rank][0] for rank in range(ranks)]), [done[rank][1] for rank in range(ranks)]


def predicted(case: Case) -> list[list[float]]:
    """Bytes of each rank, from who chose what."""
    chosen_TK = made(case)[1].experts_TK.tolist()
    itemsize = torch.empty(0, dtype=getattr(torch, case.dtype)).element_size()
    shape = (case.experts, len(case.tokens), case.width, itemsize, case.returns, case.weigh_input)
    layer = wire.Layer(*shape)
    ends = [sum(case.tokens[: rank + 1]) for rank in range(len(case.tokens))]
    parts = [chosen_TK[end - count : end] for end, count in zip(ends, case.tokens, strict=True)]
    return [list(of) for of in wire.wire_bytes([wire.routes(part, layer.held) for part in parts], layer)]


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    return torch.equal(left.contiguous().view(torch.uint8), right.contiguous().view(torch.uint8))


# Token 0 has all its experts on the last rank, token 1 none but identity experts (5 and 6).
ALL_ON_ONE = ((3, 4), (5, 6), (0, 4), (2, 6), (4, 0))
CASES = {
    "two ranks": Case((5, 4), experts=4, top_k=2),
    "uneven over two": Case((6, 3), experts=5, top_k=3, bias=True),
    "uneven over four": Case((3, 4, 2, 5), experts=7, top_k=3),
    "a rank without tokens": Case((4, 0, 3, 0), experts=7, top_k=2),
    "fewer experts than ranks": Case((2, 3, 1, 2), experts=3, top_k=2),
    "identity experts": Case((6, 5), experts=5, top_k=3, zero=4),
    "all experts of a token on one rank": Case((2, 3), experts=5, top_k=2, zero=2, chosen=ALL_ON_ONE),
    "one expert, weighed before": Case((4, 4), experts=6, top_k=1, weigh_input=True),
    "plain experts": Case((5, 6), experts=6, top_k=2, gated=False, inner=32),
    "one token": Case((1, 0), experts=4, top_k=4),
    "groups of rows": Case((150, 170), experts=4, top_k=2, width=40, inner=64),
    "bf16": Case((7, 6), experts=5, top_k=2, dtype="bfloat16"),
    "fp16, weighed before": Case((7, 6), experts=5, top_k=1, dtype="float16", weigh_input=True),
}
