"""How people write hardware, taken apart: `2x8xH200`, `H100:8`, `nvidia:H100:80GB:8`, `H100/1g.10gb:7`.

Only the form is judged here. Which hardware a name stands for is `resolve`'s business.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from moe_plan.errors import InputError, Problem
from moe_plan.hardware.names import VENDORS
from moe_plan.text import clean

LONGEST = 300
MOST = 100_000
"""Accelerators that one text may ask for."""
LOCAL = "local"
_TIMES = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?) ?[xX\u00d7] ?(?=[^xX\u00d7\s])")
_COUNT = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_MEMORY = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?(?:GB|GiB|G)", re.IGNORECASE)
_SLICE = re.compile(r"(?:^|[/\s-])\(?(?:mig[-(]?)?([1-9]g\.[0-9]{1,3}gb(?:\+(?:me|gfx))?)\)?$", re.IGNORECASE)
_NODES = re.compile(r"(.+?) ?@ ?(-?[0-9]+(?:\.[0-9]+)?) ?(?:nodes?)?")
_PATH = (".yaml", ".yml")
FORMS = "8xH100, H100:8, nvidia:H100:80GB:8, 2x8xH200 (nodes first), p5.48xlarge, H100/1g.10gb, local"


class Written(NamedTuple):
    """The parts of one text; None and '' where it does not say."""

    text: str
    name: str
    number: int | None = None
    nodes: int | None = None
    memory_gb: float | None = None
    vendor: str = ""
    slice: str = ""
    is_path: bool = False


def written(text: str) -> Written:
    """The parts of `text`. Raises InputError, code MP308, where it is not understood."""
    stripped = text.strip()
    if not stripped:
        raise refused(text, "no hardware is named")
    if len(stripped) > LONGEST:
        raise refused(text, f"longer than {LONGEST} characters")
    rest, nodes, count = _multiplied(text, stripped)
    path, colon, digits = rest.rpartition(":")
    if colon and path.endswith(_PATH):
        return Written(text, path, _agreed(text, count, _whole(text, digits)), nodes, is_path=True)
    if _is_path(rest):
        return Written(text, rest, count, nodes, is_path=True)
    _check_characters(text, rest)
    found = _NODES.fullmatch(rest)
    if found:
        rest, nodes = found[1], _agreed(text, nodes, _whole(text, found[2]))
    return _tokens(Written(text, rest, count, nodes))


def refused(text: str, message: str, code: str = "MP308") -> InputError:
    """The error about one text, which is shown before the message."""
    return InputError([Problem(code, clean(text, 80) or "hardware", None, None, "", message)])


def _multiplied(text: str, rest: str) -> tuple[str, int | None, int | None]:
    """What stands before the name: nothing, a count, or nodes and a count."""
    factors: list[int | None] = []
    while len(factors) < 2 and (found := _TIMES.match(rest)):  # noqa: PLR2004  NODES x COUNT
        factors.append(_whole(text, found[1]))
        rest = rest[found.end() :]
    if _TIMES.match(rest):
        raise refused(text, "at most NODESxCOUNTxNAME")
    nodes, count = (*(None, None), *factors)[-2:]
    return rest, nodes, count


def _tokens(start: Written) -> Written:
    """Vendor, name, memory and count, in any order between colons."""
    text, found = start.text, start._replace(name="")
    tokens = [token.strip() for token in start.name.split(":")]
    if not all(tokens):
        raise refused(text, "nothing stands beside a colon")
    for place, token in enumerate(tokens):
        part = _SLICE.search(token)
        if part is not None:
            found = found._replace(slice=part[1].casefold())
            tokens[place] = token[: part.start()].strip()
    tokens = [token for token in tokens if token]
    has_name = any(not _is_modifier(token) for token in tokens)
    for token in tokens:
        found = _told(found, token, has_name=has_name, is_alone=len(tokens) == 1)
    if not found.name and not found.slice:
        raise refused(text, f"no accelerator is named; write it as one of {FORMS}")
    return found._replace(name=found.name.removesuffix("!"))


def _told(found: Written, token: str, *, has_name: bool, is_alone: bool) -> Written:
    """What one token adds; a number is a count where something else is the name."""
    memory = _MEMORY.fullmatch(token)
    if token.casefold() in VENDORS and not is_alone and not found.vendor:
        return found._replace(vendor=VENDORS[token.casefold()])
    if memory and found.memory_gb is None:
        return found._replace(memory_gb=float(memory[1]))
    if _COUNT.fullmatch(token) and (has_name or found.name or found.slice):
        return found._replace(number=_agreed(found.text, found.number, _whole(found.text, token)))
    if not found.name:
        return found._replace(name=token)
    shown = f"{clean(found.name, 40)} and {clean(token, 40)}"
    raise refused(found.text, f"both {shown} stand where a name does; name one")


def _is_path(rest: str) -> bool:
    """A YAML file, standard input, or anything with a slash that begins no slice."""
    has_slice = any(_SLICE.search(token) for token in rest.split(":"))
    return rest == "-" or rest.endswith(_PATH) or (os.sep in rest and not has_slice)


def _is_modifier(token: str) -> bool:
    return bool(_MEMORY.fullmatch(token) or _COUNT.fullmatch(token) or token.casefold() in VENDORS)


def _check_characters(text: str, rest: str) -> None:
    if not (rest.isascii() and rest.isprintable()):
        raise refused(text, "names of hardware are written in plain ASCII")
    for sign, what in (("..", "a range"), (",", "a choice"), ("*", "a pattern")):
        if sign in rest:
            raise refused(text, f"{what} of hardware is not one plan; name one")
    if rest.endswith("+") and not _SLICE.search(rest):
        raise refused(text, f"'{rest[-20:]}' may become something better; name what it is")


def _whole(text: str, digits: str) -> int:
    """A count of at least 1. Raises InputError for everything else."""
    if "." in digits or not digits.isascii():
        raise refused(text, f"{digits[:20]} is no whole number of accelerators or nodes")
    if digits.startswith("-") or not digits.strip("0"):
        raise refused(text, f"{digits[:20]} of something cannot be planned for; write at least 1")
    if len(digits.lstrip("0")) > len(str(MOST)) or int(digits) > MOST:
        raise refused(text, f"more than {MOST:,} accelerators or nodes")
    return int(digits)


def _agreed(text: str, before: int | None, now: int) -> int:
    if before is not None and before != now:
        raise refused(text, f"the count stands twice, as {before} and as {now}")
    return now
