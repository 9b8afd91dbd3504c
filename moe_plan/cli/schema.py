"""`moe-plan schema`: the JSON Schema that editors complete specs by."""

from __future__ import annotations

from moe_plan.cli.streams import write_output
from moe_plan.report.json import pretty

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TITLE = "moe-plan model spec v1"


def text() -> str:
    """The schema as JSON, the content of schemas/model-v1.json."""
    from moe_plan.spec.model import ModelSpec  # noqa: PLC0415  pydantic is not needed before

    schema = ModelSpec.model_json_schema()
    return pretty({"$schema": DIALECT, **schema, "title": TITLE})


def run() -> int:
    """Exit code of the command."""
    write_output(text())
    return 0
