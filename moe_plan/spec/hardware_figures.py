"""A figure as its source prints it: a quantity with its unit, the source, and what others have for it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from moe_plan.spec.fields import Frozen, Name, Text

SIZE_FORM = r"^[0-9]+(\.[0-9]+)? (MB|GB|TB|MiB|GiB|TiB)$"
BANDWIDTH_FORM = r"^[0-9]+(\.[0-9]+)? (GB/s|TB/s|GiB/s)$"
RATE_FORM = r"^[0-9]+(\.[0-9]+)? (TFLOP/s|PFLOP/s|TOP/s|POP/s)$"
POWER_FORM = r"^[0-9]+(\.[0-9]+)? (W|kW)$"

Confidence = Literal[
    "vendor", "vendor-code", "curated", "observed", "observed-once", "attributed", "single", "derived"
]


class SourceRef(Frozen):
    """Where figures come from, and how far to trust them."""

    confidence: Confidence
    """`vendor`: the vendor's text quoted; `vendor-code`: a repository of the vendor; `curated`: a kept list
    that cites the vendor; `observed`: printed by three or more machines, `observed-once` by one or two;
    `attributed`: printed, and the card told by its size; `single`: one other source; `derived`: see the
    note."""
    ref: Text


class _Quoted(Frozen):
    """What every figure has beside its value."""

    source: Name
    """Key of `sources`."""
    note: Text | None = None


class OtherSize(_Quoted):
    """The same size as another source has it."""

    value: Annotated[str, Field(pattern=SIZE_FORM)]


class Size(OtherSize):
    """A size in memory, such as `81559 MiB`."""

    also: tuple[OtherSize, ...] = ()
    """Other values in circulation."""


class OtherBandwidth(_Quoted):
    """The same bandwidth as another source has it."""

    value: Annotated[str, Field(pattern=BANDWIDTH_FORM)]


class Bandwidth(OtherBandwidth):
    """Bytes a second, such as `3350 GB/s`."""

    also: tuple[OtherBandwidth, ...] = ()
    """Other values in circulation."""


class OtherRate(_Quoted):
    """The same rate as another source has it."""

    value: Annotated[str, Field(pattern=RATE_FORM)]


class Rate(OtherRate):
    """Operations a second, such as `989.4 TFLOP/s`; integers have `TOP/s`."""

    also: tuple[OtherRate, ...] = ()
    """Other values in circulation."""


class Power(_Quoted):
    """Electrical power, such as `700 W`."""

    value: Annotated[str, Field(pattern=POWER_FORM)]
