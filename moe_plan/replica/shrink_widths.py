"""Which fields of a block are widths, and how wide each becomes: linear in the scale, friendly or odd.

A width is known by its role and its old size, so that blocks that agree keep agreeing: all heads of 128
channels become heads of the same smaller number.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from fractions import Fraction

    from moe_plan.spec.attention import AnyAttention, Indexer
    from moe_plan.spec.ffn import AnyFfn
    from moe_plan.spec.rope import Rope

    Block = AnyAttention | AnyFfn | Indexer

Key = tuple[str, int]
"""Role and old size of a width."""

HIDDEN, VOCAB, EXPERT = "hidden", "vocab", "expert width"
STEP = 8
_TURNED = 4


class Field(NamedTuple):
    """A field of a block that is a width."""

    name: str
    role: str
    least: int = 8
    """It becomes no narrower than this, unless it was."""
    family: str | None = None
    """Heads that are each this wide: their number times their width is what follows the scale."""
    of: str | None = None
    """Where it was a multiple of the width of this role, it remains the same multiple."""
    even: bool = False
    """Rotary positions turn pairs of its channels."""


class Width(NamedTuple):
    """A width to be made smaller."""

    key: Key
    target: Fraction
    least: int = 8
    multiple_of: Key | None = None
    even: bool = False


def _head(name: str, role: str, family: str = "attention", *, even: bool = False) -> Field:
    return Field(name, role, family=family, even=even)


WIDTHS: Mapping[str, tuple[Field, ...]] = MappingProxyType(
    {
        "gqa": (
            _head("head_dim", "head_dim", even=True),
            _head("value_dim", "value_dim"),
            Field("q_rank", "q_rank"),
        ),
        "mla": (
            _head("rope_dim", "rope_dim", even=True),
            _head("nope_dim", "nope_dim"),
            _head("v_dim", "v_dim"),
            Field("q_rank", "q_rank"),
            Field("kv_rank", "kv_rank"),
        ),
        "compressed": (
            _head("head_dim", "head_dim", even=True),
            Field("q_rank", "q_rank"),
            Field("o_rank", "o_rank"),
        ),
        "moa": (_head("head_dim", "head_dim", even=True),),
        "lightning": (_head("head_dim", "head_dim", even=True),),
        "gated-delta": (
            _head("key_dim", "key_dim", "gated-delta"),
            _head("value_dim", "delta value_dim", "gated-delta"),
        ),
        "kda": (_head("head_dim", "kda head_dim", "kda"),),
        "mamba1": (
            Field("inner", "inner", 16, of=HIDDEN),
            Field("state", "state", 4),
            Field("dt_rank", "dt_rank"),
        ),
        "mamba2": (_head("head_dim", "mamba head_dim", "mamba2"), Field("state", "state")),
        "indexer": (_head("head_dim", "indexer head_dim", "indexer", even=True),),
        "dense": (Field("width", "dense width", 16, of=HIDDEN),),
        "moe": (
            Field("width", EXPERT, 16, of=HIDDEN),
            Field("shared_width", "shared width", 16, of=EXPERT),
            Field("latent", "latent", 16),
        ),
    }
)


def fields(block: Block) -> tuple[Field, ...]:
    """The widths of a block; a short convolution has none of its own."""
    return WIDTHS.get(getattr(block, "kind", "indexer"), ())


def widths(block: Block, hidden: int, scale: Fraction, factors: Mapping[str, Fraction]) -> Iterator[Width]:
    """The widths of a block in a stack `hidden` wide, with what the scale makes of each.

    `factors` are those of the heads, by family.
    """
    old = {field.role: size for field in fields(block) if (size := getattr(block, field.name)) is not None}
    old[HIDDEN] = hidden
    for field in fields(block):
        if field.role not in old:
            continue
        size, base = old[field.role], old.get(field.of or "", 0)
        multiple = (field.of, base) if field.of and base and size % base == 0 else None
        target = size * scale / (factors[field.family] if field.family else 1)
        yield Width((field.role, size), target, least_width(field, block), multiple, field.even)


def least_width(field: Field, block: Block) -> int:
    """Two pairs of channels must turn, in a head of which only some do: of one pair nobody sees the order."""
    rope: Rope | None = getattr(block, "rope", None)
    if not field.even or rope is None or rope.dim is None:
        return field.least
    size: int = getattr(block, field.name)
    return max(field.least, -(-_TURNED * size // (rope.dim * STEP)) * STEP)


def role_sizes(block: Block, sizes: Mapping[Key, int]) -> dict[str, int]:
    """The new widths of a block, by field."""
    old = {field: getattr(block, field.name) for field in fields(block)}
    return {field.name: sizes[field.role, size] for field, size in old.items() if size is not None}
