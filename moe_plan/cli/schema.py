"""`moe-plan schema`: the JSON Schema that editors complete specs by."""

from __future__ import annotations

from typing import Literal

from moe_plan.cli.streams import write_output
from moe_plan.report.json import pretty

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Of = Literal["model", "hardware"]


def text(of: Of = "model") -> str:
    """The schema as JSON, the content of schemas/model-v1.json or schemas/hardware-v1.json."""
    schema = _model() if of == "model" else _hardware()
    return pretty({"$schema": DIALECT, **schema, "title": f"moe-plan {of} spec v1"})


def run(of: Of = "model") -> int:
    """Exit code of the command."""
    write_output(text(of))
    return 0


def _model() -> dict[str, object]:
    from moe_plan.spec.model import ModelSpec  # noqa: PLC0415  pydantic is not needed before

    return ModelSpec.model_json_schema()


def _hardware() -> dict[str, object]:
    from moe_plan.spec.hardware_load import json_schema  # noqa: PLC0415

    return json_schema()
