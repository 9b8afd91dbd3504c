"""Every limit on what is read, in one place. A value beyond one is refused, never cut."""

from moe_plan.errors import ERRORS_SHOWN as ERRORS_SHOWN  # noqa: PLC0414  a limit like the others, needed below this room

SPEC_BYTES = 256 * 1024
ROUTING_BYTES = 8 * 1024 * 1024
"""Of a file of expert counts: 1,000 layers of 512 experts fit."""
DEPTH = 32
NODES = 20_000
SCALAR_CHARS = 4_096
INT_DIGITS = 40
COUNT = 1 << 30
"""Largest believable dimension, head count, vocabulary or window."""
LAYERS = 10_000
TOTAL_LAYERS = 100_000
NAME = 100
TEXT = 2_000
SHOWN_CHARS = 80
PATTERN_DEPTH = 4
"""Patterns inside patterns in a list of layers."""
PARAMETERS = 10**18
"""A model beyond this is a slip of a unit, not a model."""
ROUTED_TOKENS = 10**15
"""Tokens that one expert may be counted to have; a float holds every count up to it."""
