"""Quantities as people print them."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fractions import Fraction

COUNT_SUFFIXES = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
BYTE_UNITS = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}
_RATES = {"GB/s": 10**9, "TB/s": 10**12, "GiB/s": 1 << 30}
_RATES |= {
    f"{prefix}{what}/s": factor
    for prefix, factor in (("T", 10**12), ("P", 10**15))
    for what in ("FLOP", "OP")
}
_QUANTITY_UNITS = {**BYTE_UNITS, **_RATES, "W": 1, "kW": 10**3}
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SHOWN = 40
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-z]+)")
_RATIO = re.compile(r"([0-9]{1,9})/([0-9]{1,9})|([0-9]{1,9}(?:\.[0-9]{1,9})?)")


def printed_count(text: str) -> Decimal:
    """Parameters that the vendors' notation stands for: `46.7B` is 46.7e9, exactly; a bare number is itself.

    Raises decimal.InvalidOperation for what is no number.
    """
    if text[-1:] in COUNT_SUFFIXES:
        return Decimal(text[:-1]) * COUNT_SUFFIXES[text[-1]]
    return Decimal(text)


def byte_size(text: str) -> int:
    """Whole bytes of a size with its unit: `2GiB` is 2147483648, `500MB` 500000000.

    Upper and lower case count, since Gb is a gigabit. Raises ValueError for everything else.
    """
    found = _SIZE.fullmatch(text)
    if found and found[2] in BYTE_UNITS:
        n_bytes = int(Decimal(found[1]) * BYTE_UNITS[found[2]])
        if n_bytes > 0:
            return n_bytes
    message = f"{text[:_SHOWN]!a} is not a size such as 2GiB or 500MB; units are {', '.join(BYTE_UNITS)}"
    raise ValueError(message)


def quantity(text: str) -> int:
    """A figure of a data sheet in bytes, bytes/s, FLOP/s or W: `3350 GB/s` is 3350000000000.

    Whole units, rounded down. Raises KeyError or decimal.InvalidOperation for what is no such figure.
    """
    number, _, unit = text.partition(" ")
    return int(Decimal(number) * _QUANTITY_UNITS[unit])


def scale_factor(text: str) -> Fraction:
    """The scale of a shrunk model, above 0 and at most 1: `1/16`, `0.1`, `1`. Raises ValueError otherwise."""
    from fractions import Fraction  # noqa: PLC0415  what prints counts starts without it

    found = _RATIO.fullmatch(text)
    if found and int(found[2] or 1):
        scale = Fraction(int(found[1]), int(found[2])) if found[2] else Fraction(found[3])
        if 0 < scale <= 1:
            return scale
    message = f"{text[:_SHOWN]!a} is not a scale above 0 and at most 1, such as 1/16 or 0.1"
    raise ValueError(message)


def binary_size(n_bytes: int) -> str:
    """Bytes to three digits in the largest binary unit they fill: 2147483648 is `2.00 GiB`."""
    value, unit = float(n_bytes), 0
    # 1023.5 would be printed as 1024 of the smaller unit.
    while round(value) >= 1 << 10 and unit < len(_BINARY) - 1:
        value, unit = value / (1 << 10), unit + 1
    digits = 0 if unit == 0 else next((d for d, bound in ((2, 9.995), (1, 99.95)) if value < bound), 0)
    return f"{value:,.{digits}f} {_BINARY[unit]}"
