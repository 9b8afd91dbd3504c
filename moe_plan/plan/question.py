"""What the user asked for beside the models."""

from __future__ import annotations

from typing import NamedTuple


class Question(NamedTuple):
    """The point at which models are looked at."""

    context: int = 4_096
    """Tokens of a sequence."""
    batch: int = 1
    """Sequences in one decode step."""
    weights: str = "native"
    """A storage that every model knows."""
    kv: str = "bf16"
    """Format of the key-value cache."""
