"""Quantities as people print them."""

from __future__ import annotations

from decimal import Decimal

COUNT_SUFFIXES = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def printed_count(text: str) -> Decimal:
    """Parameters that the vendors' notation stands for: `46.7B` is 46.7e9, exactly; a bare number is itself.

    Raises decimal.InvalidOperation for what is no number.
    """
    if text[-1:] in COUNT_SUFFIXES:
        return Decimal(text[:-1]) * COUNT_SUFFIXES[text[-1]]
    return Decimal(text)
