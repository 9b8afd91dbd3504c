"""A document against a schema: what is wrong in it, as problems with file, line, column and key."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from moe_plan.errors import ERRORS_SHOWN, InputError, Problem
from moe_plan.spec import wording
from moe_plan.spec.faults import Fault, faults_of
from moe_plan.spec.shape import expected_at, kinds, model_for
from moe_plan.spec.yaml_reader import Document, Path, dotted, value_at
from moe_plan.text import one_of

Model = TypeVar("Model", bound=BaseModel)

_AT_KEY = frozenset({"extra_forbidden", "missing", "key", "union_tag_not_found"})
_BOUNDS = frozenset(
    {
        "too_short",
        "too_long",
        "string_too_short",
        "string_too_long",
        "greater_than",
        "greater_than_equal",
        "less_than_equal",
    }
)

Told = tuple[str, Path, str]
"""Code, key and sentence."""


def validated(schema: type[Model], document: Document) -> Model:
    """`document` as an instance of `schema`. Raises InputError with at most ERRORS_SHOWN problems told."""
    try:
        return schema.model_validate(document.value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
    ordered = sorted(faults_of(details, schema, document), key=lambda fault: _position(fault, document))
    problems = [_problem(fault, schema, document) for fault in ordered[:ERRORS_SHOWN]]
    raise InputError(problems, more=len(ordered) - len(problems))


def _position(fault: Fault, document: Document) -> tuple[int, int]:
    path = (*fault.path, "kind") if fault.kind == "union_tag_invalid" else fault.path
    place = document.places[path]
    return (place.key_line, place.key_column) if fault.kind in _AT_KEY else (place.line, place.column)


def _problem(fault: Fault, schema: type[BaseModel], document: Document) -> Problem:
    line, column = _position(fault, document)
    code, key, message = _told(fault, schema, document)
    return Problem(code, document.where, line, column, dotted(key), message)


def _told(fault: Fault, schema: type[BaseModel], document: Document) -> Told:
    if fault.kind in _AT_KEY:
        return _wrong_key(fault, schema, document)
    path = fault.path
    options = expected_at(schema, path, document.value)
    value, place = value_at(document, path), document.places[path]
    if fault.kind == "union_tag_invalid":
        return _unknown_word((*path, "kind"), kinds(options), document)
    if fault.kind == "literal_error":
        words = tuple(word for option in options for word in option.choices)
        return _unknown_word(path, words, document, wanted=wording.expected_any(options))
    if fault.kind in _BOUNDS:
        return "MP124", path, wording.wrong_size(options, value, place)
    code = "MP125" if fault.kind == "string_pattern_mismatch" else "MP122"
    return code, path, wording.wrong_value(options, value, place)


def _wrong_key(fault: Fault, schema: type[BaseModel], document: Document) -> Told:
    path = fault.path
    if fault.kind == "extra_forbidden":
        return _unknown_key(path, schema, document)
    if fault.kind == "key":
        return "MP125", path, wording.WRONG_NAME
    options = expected_at(schema, (*path, fault.missing) if fault.missing else path, document.value)
    wanted = wording.expected_any(options) if fault.missing else one_of(kinds(options))
    return "MP121", (*path, fault.missing or "kind"), f"missing; expected {wanted}"


def _unknown_key(path: Path, schema: type[BaseModel], document: Document) -> Told:
    above = expected_at(schema, path[:-1], document.value)
    model = model_for(above, value_at(document, path[:-1]))
    allowed = tuple(model.model_fields) if model else ()
    return "MP120", path, wording.unknown_key(str(path[-1]), value_at(document, path), allowed)


def _unknown_word(path: Path, choices: tuple[str, ...], document: Document, *, wanted: str = "") -> Told:
    value = value_at(document, path)
    shown = wording.found(value, document.places[path])
    word = value if isinstance(value, str) else ""
    return "MP123", path, wording.unknown_word(word, choices, shown, wanted=wanted)
