"""A family of transformers as a case: configuration, names of tensors, and what is known to differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import torch

from moe_plan.api import load
from moe_plan.spec.attention import AnyAttention
from moe_plan.spec.model import ModelSpec

SCALE = Fraction(1, 64)
SEED = 3

Ours = Mapping[str, torch.Tensor]
"""Tensors of ours by their names in the inventory: those of one layer, or those outside the layers."""
Source = str | Callable[[Ours], torch.Tensor]
"""One of our tensors, or what is made of several by moving elements; NaN where theirs has more than ours."""
Table = dict[str, Source]
"""A name of theirs, without the number of its layer, and what belongs there; shapes of equal size are equal."""

OUTER: Table = {
    "model.embed_tokens.weight": "embedding",
    "model.norm.weight": "norm.final.weight",
    "lm_head.weight": lambda ours: ours.get("lm_head", ours["embedding"]),
}


class Kept(NamedTuple):
    """What one of our decoder layers holds, all sequences together."""

    mixers: tuple[AnyAttention, ...]
    elements: Mapping[str, int]
    tokens: int
    batch: int


def all_kept(kept: Kept) -> int:
    """Where theirs holds what ours holds."""
    return sum(kept.elements.values())


def one_less_than_window(kept: Kept) -> int:
    """A sliding layer of transformers drops the oldest token after a step; ours when the next one comes."""
    (mixer,) = kept.mixers
    limit = getattr(mixer, "window", None) or getattr(mixer, "chunk", None)
    if limit is None or kept.tokens < limit:
        return all_kept(kept)
    return all_kept(kept) // limit * (limit - 1)


def one_tap_more(kept: Kept) -> int:
    """A convolution of transformers keeps as many inputs as it has taps; ours those before the next token."""
    counts = (getattr(mixer, "conv", None) or getattr(mixer, "taps", None) for mixer in kept.mixers)
    taps = next(counts, None)
    if taps is None:
        return all_kept(kept)
    inputs = sum(size for name, size in kept.elements.items() if "conv" in name)
    return all_kept(kept) + inputs // (taps - 1)


@dataclass(frozen=True)
class Case:
    """A family of transformers, and the spec that should be the same model."""

    family: str
    """Of the classes `familyConfig` and `familyForCausalLM`."""
    model: str
    """Name in the catalogue, where there is no `spec`."""
    facts: Callable[[ModelSpec], Mapping[str, Any]]
    """Keyword arguments of their configuration, from the shrunk spec."""
    tensors: Callable[[ModelSpec], Table]
    """Their tensors of a layer; every layer takes those that it has."""
    outer: Table = field(default_factory=lambda: OUTER)
    stacks: Mapping[str, str] = field(default_factory=lambda: {"decoder": "model.layers"})
    """Where the layers of each of our stacks are in theirs."""
    config: str = ""
    """Class of their configuration, where it is not `familyConfig`."""
    head: str = "ForCausalLM"
    spec: Callable[[], ModelSpec] | None = None
    """For families that the catalogue has no model of, or to change what a model's own class cannot do."""
    kept: Callable[[Kept], int] = all_kept
    """Elements that theirs should hold for what ours holds."""
    odd: bool = True
    """Whether their class can be built with odd, unequal sizes."""
    scale: Fraction = SCALE
    seed: int = SEED
    """Of the weights. Some make a head answer next to nothing, whose norm then magnifies any rounding, or two
    experts all but equal."""
    tied: Callable[[ModelSpec], ModelSpec] = lambda spec: spec
    """Sizes that their class cannot set apart, made one in the shrunk spec."""
    positions: bool = False
    """Whether positions must be given: theirs counts the tokens of a layer that caches none."""
    computed: tuple[str, ...] = ()
    """How the names of theirs end that are no weights, but made by the class from its configuration."""
    surplus: str = ""
    """Why theirs has elements that ours has not; without it, it may have none."""
    quirks: tuple[str, ...] = ()
    """What is known to differ between the class and the release, and what was done about it."""

    def full(self) -> ModelSpec:
        """The spec at its published size."""
        return self.spec() if self.spec is not None else load(self.model).spec
