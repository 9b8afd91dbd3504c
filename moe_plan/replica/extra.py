"""Tensors that no block of a spec describes: held under the names that the spec gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from moe_plan.replica.block import Block

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.spec.model import Tensor as Described

BUFFERS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int64": torch.int64}


class Extra(Block):
    """Further tensors of a layer or of a stack; second copies of a table are a checkpoint's affair."""

    def __init__(self, described: tuple[Described, ...]) -> None:
        super().__init__()
        # A spec's names may have dots, or be those of a module's own attributes.
        self._attributes = {
            tensor.name: f"tensor_{index}" for index, tensor in enumerate(described) if tensor.copy_of is None
        }
        for tensor in described:
            attribute = self._attributes.get(tensor.name)
            if attribute is not None and tensor.buffer is None:
                self.declare(attribute, *tensor.shape, start="norm")
            elif attribute is not None and tensor.buffer is not None:
                self.declare_buffer(attribute, *tensor.shape, dtype=BUFFERS[tensor.buffer], start="norm")

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Each tensor under the name that the spec gives it."""
        return ((name, getattr(self, attribute)) for name, attribute in self._attributes.items())

    def named(self, name: str) -> Tensor | None:
        """The tensor of that name; None where the spec has none."""
        attribute = self._attributes.get(name)
        return None if attribute is None else getattr(self, attribute)
