"""What every module of one forward shares: where the tokens stand, and what was chosen for the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch

from moe_plan.replica.rope import tables

if TYPE_CHECKING:
    from torch import Tensor

    from moe_plan.spec.model import Norm
    from moe_plan.spec.rope import Rope


class Routing(Protocol):
    """A choice of experts that is not the router's: for profiles, and where nothing can be computed."""

    def choose(self, layer: int, tokens: int, top_k: int, choices: int) -> Tensor:
        """Experts of each token: [tokens, top_k] int64 on the CPU, distinct in a row, below `choices`."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to run a forward."""

    query_block: int = 256
    """Queries that attention handles at once. At 1 no masked score is ever computed."""
    absorbed: bool | None = None
    """MLA over the latent itself; by default in decode steps and not in prefill."""
    routing: Routing | None = None
    logits: Literal["all", "last"] = "all"
    counts: dict[int, tuple[int, ...]] | None = None
    """Where given, each decoder layer that routes leaves its rows per choice here: zero-compute ones last."""


@dataclass(slots=True)
class Call:
    """One forward of `tokens` new tokens after `start` earlier ones, in each sequence of the batch."""

    ids_BT: Tensor
    start: int
    norm: Norm
    options: Options
    source_BSD: Tensor | None = None
    """The encoder's output, where there is one."""
    layer: int = 0
    """Index of the decoder layer that is running."""
    kept: dict[Any, Any] = field(default_factory=dict)
    """What a layer leaves for later ones: keys and values, an indexer's choice."""
    _tables: dict[Any, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """New tokens in each sequence."""
        return self.ids_BT.shape[1]

    @property
    def absorbs(self) -> bool:
        """Whether MLA attends to the latent itself: one token at a time, unless told otherwise."""
        absorbed = self.options.absorbed
        return absorbed if absorbed is not None else self.start > 0 and self.tokens == 1

    def rope(self, rope: Rope, head_dim: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the new tokens' positions, made once in a forward for each setting."""
        key = (rope, head_dim, dtype)
        if key not in self._tables:
            positions = torch.arange(self.start, self.start + self.tokens, device=self.ids_BT.device)
            self._tables[key] = tables(rope, head_dim, positions, dtype)
        return self._tables[key]
