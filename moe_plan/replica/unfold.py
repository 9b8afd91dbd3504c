"""The runs of a spec, layer by layer; written here again, so that a miscounted repeat is a difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moe_plan.spec.model import Run


def layers_of(runs: tuple[Run, ...]) -> list[Run]:
    """The run of each layer, first layer first."""
    layers: list[Run] = []
    for run in runs:
        once = layers_of(run.pattern) if run.pattern else [run]
        layers += once * run.repeat
    return layers


def block_names(named: str | tuple[str, ...] | None) -> list[str]:
    """The blocks that a run names, in order."""
    if named is None:
        return []
    return [named] if isinstance(named, str) else list(named)
