"""New sizes for all widths of a model: multiples of eight for runs, odd and unequal ones for tests."""

from __future__ import annotations

from itertools import count
from math import gcd, isqrt, lcm
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.replica.shrink_widths import STEP, VOCAB, Key, Width

if TYPE_CHECKING:
    from collections.abc import Iterable


class Tie(NamedTuple):
    """Heads that together are `ratio` times as wide as the residual stream, as several releases demand."""

    head: Key
    heads: int
    """How many there will be."""
    ratio: int
    step: int = STEP
    """A head is a multiple of this wide."""


def friendly(widths: Iterable[Width], hidden: Width, ties: Iterable[Tie]) -> dict[Key, int]:
    """Multiples of eight near their targets. `ties` hold wherever that leaves `hidden` near its own."""
    step, tied = STEP, list[Tie]()
    for tie in ties:
        wider = lcm(step, tie.step * tie.heads // gcd(tie.step * tie.heads, tie.ratio))
        if wider <= min(hidden.key[1], max(int(2 * hidden.target), STEP * STEP)):
            step, tied = wider, [*tied, tie]
    sizes = {hidden.key: _multiple(hidden, step)}
    if sizes[hidden.key] % step == 0:
        sizes |= {tie.head: sizes[hidden.key] * tie.ratio // tie.heads for tie in tied}
    for width in widths:
        if width.key not in sizes:
            base = width.multiple_of
            times = width.key[1] // base[1] if base else 0
            sizes[width.key] = times * sizes[base] if base else _multiple(width, min(STEP, width.least))
    return sizes


def odd_sizes(widths: Iterable[Width], taken: Iterable[int]) -> dict[Key, int]:
    """Odd sizes near their targets, none twice and none in `taken`; the vocabulary is a prime.

    What must be even is twice an odd number. No size is the sum or the difference of two others, so that
    widths laid side by side cannot pass for another one.
    """
    used, sizes = set(taken), dict[Key, int]()
    for width in widths:
        if width.key not in sizes:
            sizes[width.key] = _free(width, used)
            used.add(sizes[width.key])
    return sizes


def _multiple(width: Width, step: int) -> int:
    """The multiple of `step` nearest to the target that is neither below the least nor above the old size."""
    size, least = width.key[1], max(width.least, step)
    if size <= least:
        return size + size % 2 if width.even else size
    most = size // step * step
    return min(most, max(-(-least // step) * step, round(width.target / step) * step))


def _free(width: Width, used: set[int]) -> int:
    near = min(width.key[1], max(width.least, round(width.target)))
    # Twice an odd number where there must be pairs.
    step, rest = (4, 2) if width.even else (2, 1)
    candidates = (size for size in count(near) if size % step == rest and not _is_seen(size, used))
    return next(size for size in candidates if width.key[0] != VOCAB or _is_prime(size))


def _is_seen(size: int, used: set[int]) -> bool:
    return size in used or any(abs(size - other) in used or size + other in used for other in used)


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, isqrt(number) + 1))
