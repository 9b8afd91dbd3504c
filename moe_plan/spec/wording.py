"""Sentences about a wrong value: what was expected, what was found, how to put it right."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, get_origin

from moe_plan.spec import limits
from moe_plan.text import clean, did_you_mean, one_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moe_plan.spec.shape import Member
    from moe_plan.spec.yaml_reader import Place, Value

_NAME = "a name (letters, digits, '.', '_', '-')"
_COUNT = "a count as printed, such as 671B or 12.9B"

FORMS = {
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": _NAME,
    r"^[0-9]+(\.[0-9]+)?[KMBT]$": _COUNT,
    r"^[0-9]+(\.[0-9]+)? (MB|GB|TB|MiB|GiB|TiB)$": "a size such as 80 GB or 81559 MiB",
    r"^[0-9]+(\.[0-9]+)? (GB/s|TB/s|GiB/s)$": "a bandwidth such as 3350 GB/s or 3.35 TB/s",
    r"^[0-9]+(\.[0-9]+)? (TFLOP/s|PFLOP/s|TOP/s|POP/s)$": "a rate such as 989.4 TFLOP/s or 660 TOP/s",
    r"^[0-9]+(\.[0-9]+)? (W|kW)$": "a power such as 700 W",
}
"""Each pattern of the schema in words."""

WRONG_NAME = f"expected {_NAME}, at most {limits.NAME} characters long"
# In a flow mapping `{heads:4}` and `{heads 4}` are one key without a value.
_JOINED = re.compile(r"(\w+)[: ] *(.+)")


def found(value: Value, place: Place) -> str:
    """What stands in the file, quoted and cut: `the text "8"`, `2.5`, `a list`."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, tuple):
        return "a list"
    if value is None:
        return place.text or "nothing"
    shown = clean(place.text or "", limits.SHOWN_CHARS)
    if not isinstance(value, str):
        return shown
    return f'the text "{shown}"' if shown else "an empty text"


def expected(member: Member) -> str:
    """One type in words, with its lower bound: `a whole number of at least 1`, `a number above 0`."""
    if member.choices:
        return one_of(member.choices)
    if member.annotation is int:
        least = member.bound("ge")
        return "a whole number" if least is None else f"a whole number of at least {least}"
    if member.annotation is float:
        return f"a number above {member.bound('gt'):g}"
    if member.annotation is bool:
        return "true or false"
    if member.annotation is str:
        pattern = member.bound("pattern")
        return FORMS.get(pattern, f"text of the form {pattern}") if pattern else "text"
    return "a list" if get_origin(member.annotation) is tuple else "a mapping"


def expected_any(candidates: Iterable[Member]) -> str:
    """All alternatives in words, each once."""
    return one_of(dict.fromkeys(map(expected, candidates))) or "nothing"


def wrong_value(candidates: tuple[Member, ...], value: Value, place: Place) -> str:
    """`expected a whole number of at least 1, found the text "8"; remove the quotes`."""
    return (
        f"expected {expected_any(candidates)}, found {found(value, place)}{_remedy(candidates, value, place)}"
    )


def wrong_size(candidates: tuple[Member, ...], value: Value, place: Place) -> str:
    """A number beyond a bound, or a text or list that is too long or empty."""
    if isinstance(value, str):
        most = _bound(candidates, "max_length", str)
        return (
            f"expected at most {most} characters, found {len(value)}"
            if value
            else "expected text, found none"
        )
    if isinstance(value, dict):
        bound = "fewer keys" if value else "at least one key"
        return f"expected a mapping of {bound}, found {len(value) or 'none'}"
    if isinstance(value, tuple):
        most, least = _bound(candidates, "max_length", tuple), _bound(candidates, "min_length", tuple)
        bound = f"at least {least}" if least is not None and len(value) < least else f"at most {most}"
        return f"expected a list of {bound}, found {len(value) or 'none'}"
    if any(member.annotation is float for member in candidates):
        most = _bound(candidates, "le", float)
        above = most is not None and isinstance(value, int | float) and value > most
        bound = f"a number of at most {most:g}" if above else expected_any(candidates)
        return f"expected {bound}, found {found(value, place)}"
    most, least = _bound(candidates, "le", int), _bound(candidates, "ge", int)
    is_beyond = isinstance(value, int) and most is not None and value > most
    bound = f"at most {most}" if is_beyond else f"at least {least}"
    return f"expected a whole number of {bound}, found {found(value, place)}"


def unknown_key(key: str, value: Value, allowed: tuple[str, ...]) -> str:
    """`unknown key; did you mean top_k?`, or what is allowed where nothing is near."""
    joined = _JOINED.fullmatch(key) if value is None else None
    if joined and joined[1] in allowed:
        return f"unknown key; write it as {joined[1]}: {clean(joined[2], limits.SHOWN_CHARS)}"
    hint = did_you_mean(key, allowed)
    return f"unknown key{hint or '; allowed here: ' + ', '.join(allowed)}"


def unknown_word(word: str, choices: tuple[str, ...], shown: str, *, wanted: str = "") -> str:
    """A word outside a closed set: what is `wanted`, what stands there, what is near."""
    return f"expected {wanted or one_of(choices)}, found {shown}{did_you_mean(word, choices)}"


def _remedy(candidates: tuple[Member, ...], value: Value, place: Place) -> str:
    types = {member.annotation for member in candidates}
    if types & {int, float} and isinstance(value, str):
        is_digits = re.fullmatch(r"[0-9][0-9_,]*", value) is not None
        return ("; remove the quotes" if place.quoted else "; write the digits alone") if is_digits else ""
    if types == {str} and not isinstance(value, str | dict | tuple) and expected_any(candidates) != _COUNT:
        return "; quote it" if value is not None else ""
    return ""


def _bound(candidates: tuple[Member, ...], name: str, container: type) -> int | None:
    """The bound of the alternative that the value is of."""
    for member in candidates:
        if container in (member.annotation, get_origin(member.annotation)):
            bound: int | None = member.bound(name)
            return bound
    return None
