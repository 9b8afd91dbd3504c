"""Expert counts from JSON: a list of counts for each layer."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from moe_plan.spec import limits
from moe_plan.spec.routing_layers import Counted, Pool, count_allowed, fault, pool_of
from moe_plan.text import clean, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moe_plan.errors import InputError

FORMAT = "moe-plan/routing/v1"
KEYS = ("format", "layers")

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')


class _Written(NamedTuple):
    """A number that is no count, as it is written: a fraction, NaN, more digits than any count has."""

    text: str


class _Twice(NamedTuple):
    """An object that has a key twice."""

    key: str


class _Text(NamedTuple):
    """The file, for messages that name a line of it."""

    text: str
    where: str

    def fault(self, path: tuple[str | int, ...], code: str, message: str) -> InputError:
        """An error at what stands at `path`, or where it is not there at the start."""
        line = _lines(self.text).get(path, 1)
        return fault(self.where, code, line, ".".join(map(str, path)), message)


def json_layers(text: str, where: str, pools: Mapping[int, Pool]) -> dict[int, Counted]:
    """The layers that have counts. Raises InputError at the first fault."""
    file = _Text(text, where)
    layers = _layers(_parsed(text, where), file)
    for index, counts in enumerate(layers):
        path = ("layers", index)
        if not isinstance(counts, list):
            raise file.fault(path, "MP151", f"{_shown(counts)} where a layer's list of counts should stand")
        for expert, count in enumerate(counts):
            if type(count) is not int or not 0 <= count <= limits.ROUTED_TOKENS:
                raise file.fault((*path, expert), "MP152", f"{_shown(count)} is not {count_allowed()}")
        if counts and index not in pools:
            pool_of(index, pools, where, _lines(text)[path])
        if counts and len(counts) != pools[index].choices:
            message = f"{len(counts)} counts of a layer that has {pools[index].choices} experts"
            raise file.fault(path, "MP153", message)
    lines = _lines(text)
    return {
        index: Counted(tuple(counts), lines["layers", index]) for index, counts in enumerate(layers) if counts
    }


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(
            text, parse_int=_number, parse_float=_Written, parse_constant=_Written, object_pairs_hook=_object
        )
    except json.JSONDecodeError as error:
        raise fault(where, "MP150", error.lineno, "", f"the JSON cannot be read: {error.msg}") from None
    except RecursionError:
        raise fault(where, "MP150", None, "", "the JSON is nested too deeply") from None


def _number(text: str) -> int | _Written:
    return int(text) if len(text) <= limits.INT_DIGITS else _Written(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Twice:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            return _Twice(key)
        found[key] = value
    return found


def _layers(value: Any, file: _Text) -> list[Any]:
    """What stands under `layers`, once everything else is as it should be."""
    if isinstance(value, _Twice):
        raise file.fault((value.key,), "MP151", "the key stands twice")
    if not isinstance(value, dict):
        message = f'the file should hold {{"format": "{FORMAT}", "layers": [[counts], ...]}}'
        raise file.fault((), "MP151", message)
    for key in value:
        if key not in KEYS:
            message = f"unknown key{did_you_mean(key, KEYS)}; allowed are {' and '.join(KEYS)}"
            raise file.fault((key,), "MP151", message)
    for key in KEYS:
        if key not in value:
            raise file.fault((key,), "MP151", "the key is missing")
    if value["format"] != FORMAT:
        raise file.fault(("format",), "MP151", f'{_shown(value["format"])} is not "{FORMAT}"')
    if not isinstance(value["layers"], list):
        message = f"{_shown(value['layers'])} where a list of the layers' counts should stand"
        raise file.fault(("layers",), "MP151", message)
    return value["layers"]


def _shown(value: Any) -> str:
    """A value as the file has it."""
    match value:
        case _Written():
            return clean(value.text, 40)
        case dict() | _Twice():
            return "an object"
        case list():
            return "a list"
        case _:
            return clean(json.dumps(value, ensure_ascii=False), 40)


def _lines(text: str) -> dict[tuple[str | int, ...], int]:
    """The line on which each value of a valid JSON text begins; of a doubled key, the last one's."""
    lines: dict[tuple[str | int, ...], int] = {}
    path: list[str | int] = []
    line, seen = 1, 0
    for token in _TOKEN.finditer(text):
        line, seen = line + text.count("\n", seen, token.start()), token.start()
        word = token.group()
        key = bool(path) and isinstance(path[-1], str)
        if word in "[{":
            lines.setdefault(tuple(path), line)
            path.append(0 if word == "[" else "")
        elif word in "]}":
            path.pop()
        elif word == "," and isinstance(path[-1], int):
            path[-1] += 1
        elif word == ",":
            path[-1] = ""
        elif word != ":" and key and path[-1] == "":
            path[-1] = json.loads(word)
            lines[tuple(path)] = line
        elif word != ":":
            lines.setdefault(tuple(path), line)
    return lines
