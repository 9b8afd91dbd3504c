"""Names for operations of no weight: `with named("attention.scores"): ...` tells a counter what it sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

_STACK: list[str] = []


class named:  # noqa: N801  reads as the statement it is
    """A context manager in which every operation belongs to `name`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        _STACK.append(self.name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _STACK.pop()


def current() -> str | None:
    """The names in force, outermost first, joined: `decoder.3.attention.scores`; None outside all of them."""
    return ".".join(_STACK) if _STACK else None
