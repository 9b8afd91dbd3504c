"""Expert counts from CSV: one row for each expert that has tokens."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

from moe_plan.spec import limits
from moe_plan.spec.routing_layers import Counted, Pool, count_allowed, fault, pool_of
from moe_plan.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COLUMNS = ("layer", "expert", "count")
HEADER = ",".join(COLUMNS)
_WHOLE = re.compile(r"[0-9]{1,18}")


def csv_layers(text: str, where: str, pools: Mapping[int, Pool]) -> dict[int, Counted]:
    """The layers that the file has rows for. Raises InputError at the first row that is wrong."""
    layers: dict[int, list[int]] = {}
    first: dict[tuple[int, int], int] = {}
    last: dict[int, int] = {}
    for line, (layer, expert, count) in _rows(text, where):
        pool = pool_of(layer, pools, where, line)
        if expert >= pool.choices:
            message = f"expert {expert} of layer {layer}, which has experts 0 to {pool.choices - 1}"
            raise fault(where, "MP153", line, "", message)
        if count > limits.ROUTED_TOKENS:
            raise fault(where, "MP152", line, "count", f"{count} is not {count_allowed()}")
        if (layer, expert) in first:
            message = f"expert {expert} of layer {layer} was counted on line {first[layer, expert]} already"
            raise fault(where, "MP154", line, "", message)
        first[layer, expert] = last[layer] = line
        layers.setdefault(layer, [0] * pool.choices)[expert] = count
    return {layer: Counted(tuple(counts), last[layer]) for layer, counts in layers.items()}


def _rows(text: str, where: str) -> Iterator[tuple[int, tuple[int, int, int]]]:
    """Line number, and layer, expert and count, of each row after the header."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    order: list[int] | None = None
    try:
        for fields in reader:
            here = [field.strip() for field in fields]
            if not any(here):
                continue
            if order is None:
                order = _order(here, where, reader.line_num)
            else:
                yield reader.line_num, _row(here, order, where, reader.line_num)
    except csv.Error as error:
        raise fault(where, "MP150", reader.line_num, "", f"the CSV cannot be read: {error}") from None


def _order(header: list[str], where: str, line: int) -> list[int]:
    """Where each column stands."""
    if sorted(header) != sorted(COLUMNS):
        message = f"the first line is `{clean(','.join(header), 60)}`; it should name the columns: {HEADER}"
        raise fault(where, "MP151", line, "", message)
    return [header.index(column) for column in COLUMNS]


def _row(fields: list[str], order: list[int], where: str, line: int) -> tuple[int, int, int]:
    if len(fields) != len(COLUMNS):
        message = f"{len(fields)} fields in a row of {len(COLUMNS)}: {HEADER}"
        raise fault(where, "MP151", line, "", message)
    values = []
    for column, place in zip(COLUMNS, order, strict=True):
        if not _WHOLE.fullmatch(fields[place]):
            shown = f"`{clean(fields[place], 40)}`" if fields[place] else "nothing"
            allowed = count_allowed() if column == "count" else "a whole number from 0"
            raise fault(where, "MP152", line, column, f"{shown} is not {allowed}")
        values.append(int(fields[place]))
    return values[0], values[1], values[2]
