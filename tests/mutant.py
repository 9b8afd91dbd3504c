"""What an injected bug is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """One injected bug: `old`, which stands once in `module`, replaced by `new`."""

    name: str
    module: str
    old: str
    new: str
    caught_by: str
    """The check that must fail with the bug and pass without it: module of tests, function."""
