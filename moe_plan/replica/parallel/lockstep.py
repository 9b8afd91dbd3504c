"""What all ranks together should have computed, in one process that holds every expert.

Each rank's share of the tokens runs in a thread of its own, since a product of fewer rows may round
differently; the experts run once for all tokens, in the order of ranks, by the layer that a single process
uses. What differs from ranks then is the exchange alone.
"""

from __future__ import annotations

from threading import Barrier, BrokenBarrierError, Thread, get_ident
from typing import TYPE_CHECKING, Any

import torch

from moe_plan.replica.ffn.dispatch import Choice
from moe_plan.replica.ffn.experts import run_experts
from moe_plan.replica.parallel.shard import sparse_layers

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from moe_plan.replica.model import Replica
    from moe_plan.replica.parallel.share import Share


class _Joint:
    """The experts of all shares, run by the last thread to come."""

    def __init__(self, shares: int) -> None:
        self.barrier = Barrier(shares, action=self._run)
        self.share_of: dict[int, int] = {}
        self._given: dict[int, tuple[Tensor, Choice]] = {}
        self._made: tuple[Tensor, ...] = ()
        self._how: Callable[[Tensor, Choice], Tensor]

    def __call__(self, x_TD: Tensor, choice: Choice, *weights: Any, **options: Any) -> Tensor:
        """As `run_experts`."""
        share = self.share_of[get_ident()]
        self._given[share] = x_TD, choice
        self._how = lambda x, chosen: run_experts(x, chosen, *weights, **options)
        self.barrier.wait()
        return self._made[share]

    def _run(self) -> None:
        given = [self._given[share] for share in range(self.barrier.parties)]
        choice = Choice(
            torch.cat([chosen.experts_TK for _, chosen in given]),
            torch.cat([chosen.weights_TK for _, chosen in given]),
        )
        all_TD = self._how(torch.cat([x_TD for x_TD, _ in given]), choice)
        # Layers add to what they are given: no share may see another's.
        self._made = tuple(part.clone() for part in all_TD.split_with_sizes([len(x_TD) for x_TD, _ in given]))


def in_lockstep(replica: Replica, shares: list[Share]) -> list[Tensor]:
    """Logits of each share [B, T, V]. Raises whatever a share's forward raises."""
    joint = _Joint(len(shares))
    blocks = sparse_layers(replica).values()
    logits: dict[int, Tensor] = {}
    errors: list[BaseException] = []

    def run(index: int) -> None:
        joint.share_of[get_ident()] = index
        try:
            logits[index] = shares[index].forward(replica)
        except BrokenBarrierError:
            return
        except BaseException as error:  # noqa: BLE001  raised again by the caller's thread
            errors.append(error)
            joint.barrier.abort()

    for block in blocks:
        block.run = joint
    threads = [Thread(target=run, args=(index,)) for index in range(len(shares))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for block in blocks:
        block.run = run_experts
    if errors:
        raise errors[0]
    return [logits[index] for index in range(len(shares))]
