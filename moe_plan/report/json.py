"""JSON for machines: ASCII, fixed key order, exact integers, no NaN, the same bytes in every run."""

from __future__ import annotations

import json as standard_json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT_VERSION = "1.0"


def json(kind: str, content: Mapping[str, object]) -> str:
    """`content` under its format's name and version; raises ValueError for NaN and infinities."""
    document = {"format": f"moe-plan/{kind}", "format_version": FORMAT_VERSION, **content}
    return pretty(document)


def pretty(document: Mapping[str, object]) -> str:
    """Indented ASCII JSON that ends with a newline."""
    return standard_json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"
