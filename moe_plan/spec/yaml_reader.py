"""YAML to plain values, from parser events alone: no constructor, no anchors, no tags, no surprises.

Every limit is checked while the events stream in, so that a hostile file costs no more than a good one.
Beside the values it keeps where each key and value stands, to place the errors found later.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from yaml import YAMLError

from moe_plan.errors import InputError, Problem
from moe_plan.spec import limits
from moe_plan.spec.scalars import YAML_1_1_BOOLEANS, Scalar, ScalarError, parsed_scalar
from moe_plan.spec.yaml_events import PLACEHOLDER_MESSAGE, Event, event_stream, syntax_problem
from moe_plan.spec.yaml_text import decoded

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str | int, ...]
Value = Scalar | dict[str, "Value"] | tuple["Value", ...]

_PLACEHOLDER = re.compile(r"\{\{.*\}\}|\{%|\$\{[A-Za-z_]")
_WHOLE = re.compile(r"[-+]?[0-9]+")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands, and its key where it has one; lines and columns count from 1."""

    line: int
    column: int
    key_line: int
    key_column: int
    text: str | None
    """The scalar as written, without quotes; None for a mapping or a list."""
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML file as values, with the place of each."""

    where: str
    value: Value
    places: dict[Path, Place]
    notes: tuple[Problem, ...]


@dataclass(slots=True)
class _Reading:
    """What accumulates while one file is read."""

    where: str
    stream: Iterator[Event]
    nodes: int = 0
    places: dict[Path, Place] = field(default_factory=dict)
    notes: list[Problem] = field(default_factory=list)

    def problem(self, event: Event, path: Path, code: str, message: str) -> Problem:
        return Problem(code, self.where, event.line, event.column, dotted(path), message)

    def fault(self, event: Event, path: Path, code: str, message: str) -> InputError:
        return InputError([self.problem(event, path, code, message)])


def read_yaml(data: bytes, where: str) -> Document:
    """The one document in `data`. Raises InputError; `where` is the file's name for messages."""
    text = decoded(data, where)
    reading = _Reading(where, event_stream(text))
    try:
        value = _document(reading)
    except YAMLError as error:
        raise InputError([syntax_problem(error, text, where)]) from None
    return Document(where, value, reading.places, tuple(reading.notes))


def dotted(path: Path) -> str:
    """`layers.0.attention` for ("layers", 0, "attention")."""
    return ".".join(str(part) for part in path)


def value_at(document: Document, path: Path) -> Value:
    """The value at a path that is in the document."""
    value = document.value
    for part in path:
        value = value[part]  # type: ignore[index]  # the path comes from the document itself
    return value


def _document(reading: _Reading) -> Value:
    start = next(reading.stream)
    if start.kind == "end":
        raise InputError([Problem("MP106", reading.where, None, None, "", "the file is empty")])
    if start.refusal:
        raise reading.fault(start, (), "MP108", start.refusal)
    root = next(reading.stream)
    value = _node(reading, root, (), root)
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, tuple) else "a single value"
        message = "the file is empty" if value is None else f"expected a mapping, found {kind}"
        raise reading.fault(root, (), "MP106", message)
    next(reading.stream)
    after = next(reading.stream)
    if after.kind != "end":
        raise reading.fault(after, (), "MP107", "a second document; a file holds one spec")
    return value


def _node(reading: _Reading, event: Event, path: Path, key: Event) -> Value:
    """The value that begins with `event`; `key` is its key's event, or itself where it has no key."""
    _admit(reading, event, path)
    text = event.text if event.kind == "scalar" else None
    reading.places[path] = Place(event.line, event.column, key.line, key.column, text, event.quoted)
    if event.kind == "scalar":
        return _scalar(reading, event, path)
    return _sequence(reading, path) if event.kind == "list" else _mapping(reading, path)


def _admit(reading: _Reading, event: Event, path: Path) -> None:
    """Refuse anchors, aliases and tags, and whatever passes a limit."""
    if event.refusal:
        raise reading.fault(event, path, "MP108", event.refusal)
    reading.nodes += 1
    if reading.nodes > limits.NODES:
        raise reading.fault(event, (), "MP110", f"more than {limits.NODES} values in one file")
    if event.kind != "scalar" and len(path) >= limits.DEPTH:
        raise reading.fault(event, (), "MP110", f"nested more than {limits.DEPTH} levels deep")


def _sequence(reading: _Reading, path: Path) -> tuple[Value, ...]:
    items: list[Value] = []
    while (event := next(reading.stream)).kind != "close":
        items.append(_node(reading, event, (*path, len(items)), event))
    return tuple(items)


def _mapping(reading: _Reading, path: Path) -> dict[str, Value]:
    mapping: dict[str, Value] = {}
    first_lines: dict[str, int] = {}
    while (event := next(reading.stream)).kind != "close":
        key = _key(reading, event, path)
        identity = _identity(key)
        if identity in first_lines:
            message = f"the key stands twice in this mapping, first on line {first_lines[identity]}"
            raise reading.fault(event, (*path, key), "MP109", message)
        first_lines[identity] = event.line
        mapping[key] = _node(reading, next(reading.stream), (*path, key), event)
    return mapping


def _key(reading: _Reading, event: Event, path: Path) -> str:
    _admit(reading, event, path)
    if event.kind != "scalar":
        outer = reading.places[path]
        # `{{ width }}` reaches the parser as a mapping that is the first key of a mapping.
        if event.kind == "mapping" and (outer.line, outer.column + 1) == (event.line, event.column):
            raise reading.fault(event, path, "MP112", PLACEHOLDER_MESSAGE)
        raise reading.fault(event, path, "MP113", "a key must be plain text, not a list or a mapping")
    if event.text == "<<" and not event.quoted:
        raise reading.fault(event, path, "MP108", "merge keys (<<) are not used in specs; write the keys out")
    _check_text(reading, event, path)
    return event.text


def _identity(key: str) -> str:
    """Keys that some reader takes for one and the same: `1`, `01` and `"1"`."""
    return str(int(key)) if len(key) <= limits.INT_DIGITS and _WHOLE.fullmatch(key) else key


def _scalar(reading: _Reading, event: Event, path: Path) -> Scalar:
    _check_text(reading, event, path)
    if event.quoted:
        return event.text
    if event.text in YAML_1_1_BOOLEANS:
        message = f"{event.text} was read as text; quote it, or write true or false"
        reading.notes.append(replace(reading.problem(event, path, "MP201", message), severity="warning"))
    try:
        return parsed_scalar(event.text)
    except ScalarError as error:
        raise reading.fault(event, path, "MP111", str(error)) from None


def _check_text(reading: _Reading, event: Event, path: Path) -> None:
    if len(event.text) > limits.SCALAR_CHARS:
        raise reading.fault(event, path, "MP110", f"a text of more than {limits.SCALAR_CHARS} characters")
    if _LONE_SURROGATE.search(event.text):
        raise reading.fault(event, path, "MP104", "an escape that is half of a surrogate pair")
    if _PLACEHOLDER.search(event.text):
        raise reading.fault(event, path, "MP112", PLACEHOLDER_MESSAGE)
