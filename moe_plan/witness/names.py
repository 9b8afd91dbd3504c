"""The common names on which inventory and replica are joined: `part.layer.tensor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.anatomy.inventory import Block, Inventory


class Place(NamedTuple):
    """Where a row of the inventory stands: a part, and a layer or None for what stands outside the layers."""

    part: str
    layer: int | None
    name: str

    @property
    def path(self) -> str:
        """The name that the replica gives it: `decoder.3.attention.q`, `decoder.lm_head`."""
        return ".".join(str(item) for item in self if item is not None)


def place(path: str) -> Place:
    """The place of a replica's name."""
    part, _, rest = path.partition(".")
    first, _, name = rest.partition(".")
    return Place(part, int(first), name) if first.isdigit() and name else Place(part, None, rest)


def unnumbered(name: str) -> str:
    """A name without the numbers that tell blocks of one layer apart: `attention.1.q` -> `attention.q`."""
    return ".".join(piece for piece in name.split(".") if not piece.isdigit())


def rows(inventory: Inventory) -> Iterator[tuple[Block, int | None]]:
    """Each block of the text model once for every layer it stands for, or once where it is outside them."""
    for block in inventory.text:
        for layer in block.layers or (None,):
            yield block, layer
