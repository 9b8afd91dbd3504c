"""Text that came from outside, made safe to print, and the nearest valid name to a wrong one."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

REPLACEMENT = "\ufffd"
ELLIPSIS = "…"

# Controls (ESC among them), format characters (bidi overrides among them), lone surrogates, private use,
# line and paragraph separators: everything that can move a cursor or reorder a line (CWE-150).
UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})

LONGEST_COMPARED = 100
"""Names longer than this are not compared: nobody mistypes a hundred characters."""
SHORTEST_START = 2
SHORT, SHORT_CUTOFF = 4, 0.65


def clean(s: str, width: int = 120) -> str:
    """`s` on one line without control, format, surrogate or private-use characters, at most `width` long.

    Each unsafe character becomes U+FFFD; what is cut off is replaced by an ellipsis.
    """
    cut = s if len(s) <= width else s[: max(width - 1, 0)] + ELLIPSIS
    if cut.isascii() and cut.isprintable():
        return cut
    return "".join(REPLACEMENT if unicodedata.category(c) in UNSAFE_CATEGORIES else c for c in cut)


def nearest(name: str, choices: Iterable[str], cutoff: float = 0.7) -> tuple[str, ...]:
    """At most three of `choices` that resemble `name`, best first; upper and lower case are the same.

    One that begins with the other comes first; of short names one letter in three may differ.
    """
    if not 0 < len(name) <= LONGEST_COMPARED:
        return ()
    from difflib import get_close_matches  # noqa: PLC0415  only a run with a wrong name pays for it

    by_folded: dict[str, str] = {}
    for choice in choices:
        by_folded.setdefault(choice.casefold(), choice)
    folded = name.casefold()
    begins = [c for c in by_folded if len(folded) >= SHORTEST_START and c.startswith(folded)]
    begins += [c for c in by_folded if len(c) > SHORTEST_START and folded.startswith(c)]
    nearness = min(cutoff, SHORT_CUTOFF) if len(name) <= SHORT else cutoff
    close = begins + get_close_matches(folded, list(by_folded), n=3, cutoff=nearness)
    return tuple(by_folded[near] for near in dict.fromkeys(close))[:3]


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """The end of an error message: `; did you mean top_k?`, or nothing where no choice is near."""
    near = nearest(name, choices)
    return f"; did you mean {one_of(near, 'or')}?" if near else ""


def one_of(words: Iterable[str], conjunction: str = "or") -> str:
    """`a`, `a or b`, `a, b or c`."""
    *firsts, last = list(words) or [""]
    return f"{', '.join(firsts)} {conjunction} {last}" if firsts else last
