"""Heads of a shrunk model: all counts of one kind by one factor, so that what divided still divides."""

from __future__ import annotations

from fractions import Fraction
from math import gcd
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from moe_plan.spec.attention import AnyAttention, Indexer


class Counts(NamedTuple):
    """Fields of one kind of block that count heads, and the family whose factor they share."""

    family: str
    fields: tuple[str, ...]


COUNTS: Mapping[str, Counts] = MappingProxyType(
    {
        "gqa": Counts("attention", ("heads", "kv_heads")),
        "mla": Counts("attention", ("heads",)),
        "compressed": Counts("attention", ("heads", "o_groups")),
        "moa": Counts("attention", ("heads",)),
        "lightning": Counts("attention", ("heads",)),
        "gated-delta": Counts("gated-delta", ("key_heads", "value_heads")),
        "kda": Counts("kda", ("heads",)),
        "mamba2": Counts("mamba2", ("heads", "groups")),
    }
)
INDEXER = Counts("indexer", ("heads",))
FEWEST = 2
FEWEST_ODD = 3


def head_factors(blocks: Iterable[AnyAttention], scale: Fraction, *, odd: bool) -> dict[str, Fraction]:
    """New heads for each old one, by family. Single heads stay single, others remain two or more.

    Heads shrink by about the square root of `scale`, a power of two of the family's greatest common
    divisor; what they lack, their width gives.
    """
    families: dict[str, list[int]] = {}
    for counts, block in _counted(blocks):
        families.setdefault(counts.family, []).extend(getattr(block, field) for field in counts.fields)
    units = {family: gcd(*(count for count in heads if count > 1)) for family, heads in families.items()}
    factors, taken = {}, set[int]()
    # The smallest first: it has the fewest choices of an odd number that is not more heads than before.
    for family, unit in sorted(units.items(), key=itemgetter(1)):
        smaller = _odd_unit(unit, scale, taken) if odd else _unit(unit, scale)
        taken.add(smaller)
        factors[family] = Fraction(smaller, unit) if unit > 1 else Fraction(1)
    return factors


def head_counts(
    block: AnyAttention | Indexer, counts: Counts, factors: Mapping[str, Fraction]
) -> dict[str, int]:
    """The new counts of a block, by field."""
    factor = factors[counts.family]
    old = {field: getattr(block, field) for field in counts.fields}
    return {field: int(count * factor) if count > 1 else count for field, count in old.items()}


def _counted(blocks: Iterable[AnyAttention]) -> list[tuple[Counts, AnyAttention | Indexer]]:
    found: list[tuple[Counts, AnyAttention | Indexer]] = []
    for block in blocks:
        if block.kind in COUNTS:
            found.append((COUNTS[block.kind], block))
        indexer = getattr(block, "indexer", None)
        if indexer is not None:
            found.append((INDEXER, indexer))
    return found


def _unit(unit: int, scale: Fraction) -> int:
    smaller = FEWEST
    while (2 * smaller) ** 2 <= unit**2 * scale:
        smaller *= 2
    return min(smaller, unit)


def _odd_unit(unit: int, scale: Fraction, taken: set[int]) -> int:
    """Odd, and no other family's: a swap of two families' heads must show."""
    smaller = FEWEST_ODD
    while (smaller + 2) ** 2 <= unit**2 * scale or smaller in taken:
        smaller += 2
    return smaller
