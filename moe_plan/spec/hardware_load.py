"""From a path, or bytes, to a checked hardware spec. The only door through which one enters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from moe_plan.errors import InputError
from moe_plan.spec.files import read_spec_file, shown_name
from moe_plan.spec.finding import Finding, placed
from moe_plan.spec.foreign import refuse_foreign
from moe_plan.spec.hardware import Accelerator, Cloud, HardwareSpec, System
from moe_plan.spec.hardware_catalogue import accelerator_names
from moe_plan.spec.hardware_rules import checked_hardware
from moe_plan.spec.validate import validated
from moe_plan.spec.yaml_reader import read_yaml
from moe_plan.text import did_you_mean, one_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from moe_plan.errors import Problem
    from moe_plan.spec.yaml_reader import Document

SCHEMAS: dict[str, type[Accelerator | System | Cloud]] = {
    "accelerator": Accelerator,
    "system": System,
    "cloud": Cloud,
}
Noted = tuple[HardwareSpec, tuple["Problem", ...]]
"""A spec and the warnings about it."""


def load_hardware(path: str, accelerators: Collection[str] | None = None) -> Noted:
    """The spec in the file at `path`, `-` for standard input, with its warnings.

    `accelerators` are those that a system or a cloud may name; by default the catalogue's. Raises
    InputError for whatever is wrong.
    """
    data = read_spec_file(path, wanted="a hardware spec in YAML")
    return parse_hardware(data, shown_name(path), accelerators)


def parse_hardware(data: bytes, where: str, accelerators: Collection[str] | None = None) -> Noted:
    """As `load_hardware`, from `data`; `where` names it in messages."""
    refuse_foreign(data, where)
    document = read_yaml(data, where)
    spec = validated(_schema(document), document)
    checked_hardware(spec, document, accelerator_names() if accelerators is None else accelerators)
    return spec, document.notes


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a hardware file, of whichever kind."""
    return TypeAdapter(HardwareSpec).json_schema()


def _schema(document: Document) -> type[Accelerator | System | Cloud]:
    kind = document.value.get("kind") if isinstance(document.value, dict) else None
    if isinstance(kind, str) and kind in SCHEMAS:
        return SCHEMAS[kind]
    near = did_you_mean(kind, SCHEMAS) if isinstance(kind, str) else ""
    message = f"a hardware file says what it describes: {one_of(SCHEMAS)}{near}"
    code = "MP121" if ("kind",) not in document.places else "MP123"
    raise InputError([placed(Finding(code, ("kind",), message), document)])
