"""Where a row of the inventory stands, in words: `decoder 3-60 (58 layers)`."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moe_plan.plan.explanation import Place

_STRETCHES_SHOWN = 4


def place_text(place: Place) -> str:
    """The run that a row belongs to, and how many layers its sums cover."""
    if not place.layers:
        return f"{place.part}, outside the layers"
    layers = "1 layer" if place.layer_count == 1 else f"{place.layer_count} layers"
    return f"{place.part} {layers_text(place.layers)} ({layers})"


def layers_text(layers: tuple[tuple[int, int], ...]) -> str:
    """`0-2, 5`, `0-44 by 4` for single layers at equal distances, `0-2, 4-6, ...` for many stretches."""
    step = _step(layers)
    if step:
        return f"{layers[0][0]}-{layers[-1][0]} by {step}"
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in layers]
    if len(shown) > _STRETCHES_SHOWN:
        shown = [*shown[: _STRETCHES_SHOWN - 1], "...", shown[-1]]
    return ", ".join(shown)


def _step(layers: tuple[tuple[int, int], ...]) -> int:
    """The distance of single layers that repeat at one distance; 0 where they do not."""
    if len(layers) < 3 or any(first != last for first, last in layers):  # noqa: PLR2004  two are a list
        return 0
    steps = {after[0] - before[0] for before, after in pairwise(layers)}
    return steps.pop() if len(steps) == 1 else 0
