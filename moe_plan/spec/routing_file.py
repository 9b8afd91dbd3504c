"""Files of expert counts: how many tokens each expert of each layer was measured to have.

JSON, a list for each decoder layer, empty where the layer routes nothing, zero-compute experts last:

    {"format": "moe-plan/routing/v1", "layers": [[], [120, 87, 5], [3, 99, 110]]}

or CSV with a header, in any order of rows and columns; experts that are not named were not chosen:

    layer,expert,count
    1,0,120
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.spec import limits
from moe_plan.spec.files import read_spec_file, shown_name
from moe_plan.spec.routing_csv import csv_layers
from moe_plan.spec.routing_json import json_layers
from moe_plan.spec.routing_layers import Pool, complete, fault
from moe_plan.spec.yaml_text import plain_text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Pool", "parse_routing", "read_routing"]

WANTED = "expert counts in JSON or CSV"


def read_routing(path: str, pools: Mapping[int, Pool]) -> tuple[tuple[int, ...], ...]:
    """Tokens of each expert of each decoder layer, from the file at `path`, `-` for standard input.

    `pools` names the layers that route and what they choose among; other layers have (). Raises
    InputError at the first fault, and where the counts are not those of such a model.
    """
    return parse_routing(read_spec_file(path, limits.ROUTING_BYTES, WANTED), shown_name(path), pools)


def parse_routing(data: bytes, where: str, pools: Mapping[int, Pool]) -> tuple[tuple[int, ...], ...]:
    """As `read_routing`, of the bytes of a file; `where` names it in messages."""
    if len(data) > limits.ROUTING_BYTES:
        message = f"larger than {limits.ROUTING_BYTES >> 20} MiB, the most that a routing file may have"
        raise fault(where, "MP150", None, "", message)
    text = plain_text(data, where)
    start = text.lstrip()[:1]
    if not start:
        raise fault(where, "MP150", None, "", f"the file is empty; it should hold {WANTED}")
    found = json_layers(text, where, pools) if start in "{[" else csv_layers(text, where, pools)
    return complete(found, pools, where)
