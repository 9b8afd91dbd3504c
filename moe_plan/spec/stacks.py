"""The stacks of a spec, the decoder and each part, and the names that a stack can see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.spec.attention import AnyAttention
    from moe_plan.spec.ffn import AnyFfn
    from moe_plan.spec.model import ModelSpec, Part, Run
    from moe_plan.spec.yaml_reader import Path

Slot = Literal["attention", "ffn"]
SLOTS: tuple[Slot, ...] = ("attention", "ffn")


@dataclass(frozen=True, slots=True)
class Stack:
    """A part, or the model itself, with the path at which it stands."""

    spec: ModelSpec
    part: ModelSpec | Part
    path: Path

    @property
    def hidden(self) -> int:
        """Width of its residual stream."""
        return self.part.hidden or self.spec.hidden

    @property
    def attention(self) -> dict[str, AnyAttention]:
        """Attention blocks it can name: its own before the model's."""
        return {**self.spec.attention, **self.part.attention}

    @property
    def ffn(self) -> dict[str, AnyFfn]:
        """FFN blocks it can name: its own before the model's."""
        return {**self.spec.ffn, **self.part.ffn}

    def known(self, slot: Slot) -> tuple[str, ...]:
        """The names that a run of this stack may write after `attention` or `ffn`."""
        return tuple(self.attention if slot == "attention" else self.ffn)


@dataclass(frozen=True, slots=True)
class Use:
    """A block's name where a run uses it."""

    slot: Slot
    name: str
    path: Path


def stacks(spec: ModelSpec) -> Iterator[Stack]:
    """The decoder, then the parts in their order."""
    yield Stack(spec, spec, ())
    for name, part in spec.parts.items():
        yield Stack(spec, part, ("parts", name))


def runs(layers: tuple[Run, ...], path: Path, depth: int = 0) -> Iterator[tuple[Run, Path, int]]:
    """Every run in the order of the layers, patterns before what they hold, with its depth in patterns."""
    for index, run in enumerate(layers):
        here = (*path, index)
        yield run, here, depth
        yield from runs(run.pattern, (*here, "pattern"), depth + 1)


def repeated(layers: tuple[Run, ...], path: Path, times: int = 1) -> Iterator[tuple[Run, Path, int]]:
    """Every run that holds blocks, with how often its layer occurs, patterns multiplied out."""
    for index, run in enumerate(layers):
        here = (*path, index)
        if run.pattern:
            yield from repeated(run.pattern, (*here, "pattern"), times * run.repeat)
        else:
            yield run, here, times * run.repeat


def uses(run: Run, path: Path) -> Iterator[Use]:
    """The blocks that a run names."""
    for slot in SLOTS:
        named = run.attention if slot == "attention" else run.ffn
        if isinstance(named, str):
            yield Use(slot, named, (*path, slot))
        else:
            yield from (Use(slot, name, (*path, slot, index)) for index, name in enumerate(named or ()))
