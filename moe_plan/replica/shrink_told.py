"""What shrinking did, in plain sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.spec.ffn import MoeFfn
from moe_plan.spec.fields import Frozen
from moe_plan.spec.stacks import stacks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from moe_plan.replica.shrink_layers import Kept
    from moe_plan.spec.model import ModelSpec, Part

_WIDTHS = ("hidden", "vocab", "context")


def sentences(
    before: ModelSpec, after: ModelSpec, kept: Mapping[str, Kept], left_out: tuple[str, ...]
) -> tuple[str, ...]:
    """One sentence for the layers of each stack, the widths, and each block; old numbers, then new ones."""
    told = [_layers(name if len(kept) > 1 else "", layers) for name, layers in kept.items()]
    if left_out:
        told.append(f"left out: {', '.join(left_out)}")
    changed = {name: (getattr(before, name), getattr(after, name)) for name in _WIDTHS}
    told += _changes("", [(name, old, new) for name, (old, new) in changed.items() if old != new])
    for old, new in zip(stacks(before), stacks(after), strict=True):
        told += _stack(".".join(str(part) for part in old.path[1:]), old.part, new.part)
    return tuple(told)


def _layers(stack: str, kept: Kept) -> str:
    start = f"{stack}: " if stack else ""
    if kept.after == kept.before:
        return f"{start}all {kept.before} layers"
    of_each = "one of each kind" if kept.after == kept.kinds else "every kind among them"
    return f"{start}{kept.after} of {kept.before} layers: {of_each}"


def _stack(path: str, before: ModelSpec | Part, after: ModelSpec | Part) -> Iterator[str]:
    for old, new in ((before.attention, after.attention), (before.ffn, after.ffn)):
        for name, block in old.items():
            place = f"{path}.{name}" if path else name
            yield from _changes(place, list(_differences(block, new[name])))
            if isinstance(block, MoeFfn) and block.experts == getattr(new[name], "experts", None):
                yield f"{place}: all {block.experts} experts kept, {block.top_k} for each token"


def _differences(old: Frozen, new: Frozen, start: str = "") -> Iterator[tuple[str, object, object]]:
    for name in type(old).model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if isinstance(before, Frozen) and isinstance(after, Frozen):
            yield from _differences(before, after, f"{start}{name}.")
        elif before != after:
            yield f"{start}{name}", before, after


def _changes(place: str, changes: list[tuple[str, object, object]]) -> Iterator[str]:
    if changes:
        start = f"{place}: " if place else ""
        yield start + ", ".join(f"{name} {old} -> {new}" for name, old, new in changes)
