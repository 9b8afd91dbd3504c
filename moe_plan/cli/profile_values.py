"""What the options of `moe-plan profile` may say, and what that means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.text import clean

if TYPE_CHECKING:
    from moe_plan.plan.profiling import Routing

BATCHES = "1..4096"
BATCHES_OVER_RANKS = "1,8,64,512"
LARGEST_BATCH = 65_536
MOST_BATCHES = 64
LARGEST_EXPONENT = 10.0
_LONGEST = 20
_SHOWN = 40


def batches(text: str) -> tuple[int, ...]:
    """`1..4096` is the powers of two from 1 to 4096; `1,8,100` those numbers; both may be joined by commas.

    Ascending, each once. Raises ValueError for everything else.
    """
    found = {tokens for part in text.split(",") for tokens in _part(part.strip(), text)}
    if len(found) > MOST_BATCHES:
        message = f"{len(found)} batches are too many; at most {MOST_BATCHES}"
        raise ValueError(message)
    return tuple(sorted(found))


def _part(part: str, text: str) -> tuple[int, ...]:
    first, dots, last = part.partition("..")
    if not dots:
        return (_count(first, text),)
    least, most = _count(first, text), _count(last, text)
    powers = tuple(1 << power for power in range(most.bit_length()) if least <= 1 << power <= most)
    if not powers:
        message = f"{clean(part, _SHOWN)!a} holds no power of two"
        raise ValueError(message)
    return powers


def _count(digits: str, text: str) -> int:
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST
    if is_number and 1 <= int(digits) <= LARGEST_BATCH:
        return int(digits)
    message = (
        f"{clean(text, _SHOWN)!a} is neither numbers of tokens from 1 to {LARGEST_BATCH:,} such as 1,8,64 "
        "nor a range such as 1..4096"
    )
    raise ValueError(message)


def routing(text: str) -> Routing:
    """`uniform`, `zipf`, `zipf:1.2`, or else the path of a file of expert counts, still to be read.

    Raises ValueError for an exponent that is none.
    """
    from moe_plan.plan.profiling import Routing  # noqa: PLC0415  completion and help need it not

    if text == "uniform":
        return Routing()
    name, colon, exponent = text.partition(":")
    if name == "zipf":
        return Routing("zipf", _exponent(exponent) if colon else 1.0)
    if not text:
        message = "an empty text is no routing; give uniform, zipf, zipf:1.2 or a file"
        raise ValueError(message)
    return Routing("counts", path=text)


def _exponent(text: str) -> float:
    whole, point, tenths = text.partition(".")
    is_number = (whole + tenths).isdigit() and whole and bool(point) == bool(tenths)
    if text.isascii() and is_number and len(text) <= _LONGEST and float(text) <= LARGEST_EXPONENT:
        return float(text)
    message = f"{clean(text, _SHOWN)!a} is no exponent from 0 to {LARGEST_EXPONENT:g}, as in zipf:1.2"
    raise ValueError(message)
