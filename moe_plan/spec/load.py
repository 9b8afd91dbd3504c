"""From a path, or bytes, to a checked ModelSpec. The only door through which a spec enters."""

from __future__ import annotations

from moe_plan.errors import Problem
from moe_plan.spec.files import read_spec_file, shown_name
from moe_plan.spec.foreign import refuse_foreign
from moe_plan.spec.model import ModelSpec
from moe_plan.spec.rules import checked
from moe_plan.spec.validate import validated
from moe_plan.spec.yaml_reader import read_yaml

Noted = tuple[ModelSpec, tuple[Problem, ...]]
"""A spec and the warnings about it."""


def load_spec(path: str) -> ModelSpec:
    """The spec in the file at `path`, `-` for standard input. Raises InputError for whatever is wrong."""
    return load_spec_with_notes(path)[0]


def load_spec_with_notes(path: str) -> Noted:
    """As `load_spec`, with the warnings beside it."""
    return parse_spec_with_notes(read_spec_file(path), shown_name(path))


def parse_spec(data: bytes, where: str) -> ModelSpec:
    """The spec in `data`; `where` names it in messages. Raises InputError for whatever is wrong."""
    return parse_spec_with_notes(data, where)[0]


def parse_spec_with_notes(data: bytes, where: str) -> Noted:
    """As `parse_spec`, with the warnings beside it."""
    refuse_foreign(data, where)
    document = read_yaml(data, where)
    spec = validated(ModelSpec, document)
    return spec, document.notes + checked(spec, document)
