"""The ground of every replica module: parameters under the field's own names, made on the meta device first.

A block is built without memory, so that its bytes are known, and can be refused, before any is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

Start = Literal["matrix", "norm", "vector", "decay", "index"]
"""What random numbers a tensor starts from. All differ from 0 and 1, so that a forgotten one shows."""

DRAWN = 1 << 20
"""Random numbers that are drawn together: 4 MiB of them, 8 of indices."""


class Block(nn.Module):
    """A module whose own tensors are named `owner.attribute`, as in the inventory of a model."""

    owner: str = ""

    def __init__(self) -> None:
        super().__init__()
        self._starts: dict[str, tuple[Start, int]] = {}

    def declare(self, name: str, *shape: int, start: Start = "matrix", fan_in: int | None = None) -> None:
        """Declare parameter `name`; a matrix is scaled by 1 / sqrt(`fan_in`), its last dimension."""
        self._starts[name] = (start, fan_in or shape[-1])
        empty = torch.empty(shape, dtype=torch.get_default_dtype(), device="meta")
        self.register_parameter(name, nn.Parameter(empty, requires_grad=False))

    def declare_buffer(
        self, name: str, *shape: int, dtype: torch.dtype, start: Start = "vector", below: int = 1
    ) -> None:
        """Declare buffer `name`: kept with the weights, not trained. An `index` holds integers < `below`."""
        self._starts[name] = (start, below)
        self.register_buffer(name, torch.empty(shape, dtype=dtype, device="meta"))

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Tensors of this block and those inside it, each under its name in the inventory.

        A block that stores several of them as one overrides this with views of the one.
        """
        for name in self._starts:
            yield f"{self.owner}.{name}", getattr(self, name)
        for child in self.children():
            if isinstance(child, Block):
                yield from child.tensors()
            elif isinstance(child, nn.ModuleList):
                for item in child:
                    if isinstance(item, Block):
                        yield from item.tensors()

    def materialise(self, device: torch.device, generator: torch.Generator) -> None:
        """Give this block's own tensors memory on `device` and random numbers."""
        for name, (start, size) in self._starts.items():
            declared = getattr(self, name)
            made = torch.empty(declared.shape, dtype=declared.dtype, device=device)
            fill(made, start, size, generator)
            if isinstance(declared, nn.Parameter):
                setattr(self, name, nn.Parameter(made, requires_grad=False))
            else:
                setattr(self, name, made)
        self.prepare()

    def prepare(self) -> None:
        """Whatever a block keeps ready beside its weights; called again when they have changed."""


def fill(made: Tensor, start: Start, size: int, generator: torch.Generator) -> None:
    """Random numbers in place, drawn on the CPU so that a seed means the same on every device.

    A piece at a time: drawn all at once, they would take as much memory again as the largest tensor.
    """
    for piece in made.view(-1).split(DRAWN):  # type: ignore[no-untyped-call]  # torch declares no types
        if start == "index":
            drawn = torch.randint(0, size, piece.shape, generator=generator)
        elif start == "decay":
            drawn = torch.empty(piece.shape).uniform_(1.0, 8.0, generator=generator).log_()
        else:
            drawn = torch.empty(piece.shape).normal_(generator=generator)
            if start == "matrix":
                drawn.mul_(size**-0.5)
            else:
                drawn.mul_(0.1).add_(1.0 if start == "norm" else 0.0)
        piece.copy_(drawn)
