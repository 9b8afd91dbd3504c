"""Choices of experts that do not come from a router: even, skewed, or as measured.

Legend: T tokens, E choices, K experts of a token.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from moe_plan.replica.ffn.distinct import distinct_rows

if TYPE_CHECKING:
    from collections.abc import Sequence


class Balanced:
    """Every expert as often as every other, give or take one: the experts dealt out in turn."""

    def choose(self, layer: int, tokens: int, top_k: int, choices: int) -> Tensor:  # noqa: ARG002  a Routing
        """[tokens, top_k] int64 on the CPU; always the same."""
        return torch.arange(tokens * top_k).remainder_(choices).view(tokens, top_k)


class Uniform:
    """Every set of experts is equally likely."""

    def __init__(self, seed: int = 0) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def popularity(self, layer: int, choices: int) -> tuple[float, ...]:  # noqa: ARG002  as the skewed ones
        """Relative popularity of each choice in `layer`."""
        return (1.0,) * choices

    def choose(self, layer: int, tokens: int, top_k: int, choices: int) -> Tensor:  # noqa: ARG002  a Routing
        """[tokens, top_k] int64 on the CPU, drawn anew at each call."""
        return distinct_rows(tokens, top_k, choices, self._generator)


class Zipf:
    """The r-th most popular expert has popularity r ** -exponent; each layer ranks its experts anew."""

    def __init__(self, exponent: float, seed: int = 0) -> None:
        """An `exponent` of 0 is uniform routing; ranks and draws follow from `seed`."""
        self.exponent, self.seed = exponent, seed
        self._generator = torch.Generator().manual_seed(seed)

    def popularity(self, layer: int, choices: int) -> tuple[float, ...]:
        """Relative popularity of each choice in `layer`."""
        popularity = [rank**-self.exponent for rank in range(1, choices + 1)]
        Random(f"{self.seed} {layer}").shuffle(popularity)  # noqa: S311  a seed must give the same ranks
        return tuple(popularity)

    def choose(self, layer: int, tokens: int, top_k: int, choices: int) -> Tensor:
        """[tokens, top_k] int64 on the CPU, drawn anew at each call."""
        return _drawn(self.popularity(layer, choices), tokens, top_k, self._generator)


class Counts:
    """Experts as popular as they were counted to be, layer by layer."""

    def __init__(self, layers: Sequence[Sequence[int]], seed: int = 0) -> None:
        """`layers[i][e]`: tokens that expert e of decoder layer i was counted to have."""
        self.layers = tuple(tuple(counts) for counts in layers)
        self._generator = torch.Generator().manual_seed(seed)

    def popularity(self, layer: int, choices: int) -> tuple[float, ...]:
        """Relative popularity of each choice in `layer`. ValueError where the counts are of another model."""
        counts = self.layers[layer] if layer < len(self.layers) else ()
        if len(counts) != choices:
            message = f"layer {layer} has {choices} experts to choose among, and counts of {len(counts)}"
            raise ValueError(message)
        return tuple(map(float, counts))

    def choose(self, layer: int, tokens: int, top_k: int, choices: int) -> Tensor:
        """[tokens, top_k] int64 on the CPU, drawn anew at each call."""
        return _drawn(self.popularity(layer, choices), tokens, top_k, self._generator)


def _drawn(popularity: tuple[float, ...], tokens: int, top_k: int, generator: torch.Generator) -> Tensor:
    """Distinct choices of each token, one after another in proportion to popularity among those left.

    The `top_k` first of independent exponential clocks whose rates are the popularities, which is Gumbel
    top-k (arXiv 1903.06059): one draw in place of `top_k`. A choice of popularity 0 never rings.
    """
    possible = sum(weight > 0 for weight in popularity)
    if possible < top_k:
        message = f"a token chooses {top_k}, and only {possible} choices have any popularity"
        raise ValueError(message)
    rings_TE = torch.empty((tokens, len(popularity)), dtype=torch.float64).exponential_(generator=generator)
    rings_TE.div_(torch.tensor(popularity, dtype=torch.float64))
    return rings_TE.topk(top_k, largest=False, sorted=False).indices
