"""Which rank holds which expert."""

from __future__ import annotations


def bounds(experts: int, ranks: int) -> tuple[int, ...]:
    """The first expert of each rank, then the number of experts: [ranks + 1].

    Ranks hold runs of consecutive experts; where they cannot be equal, the first ranks hold one more.
    """
    share, left_over = divmod(experts, ranks)
    return tuple(rank * share + min(rank, left_over) for rank in range(ranks + 1))
