"""Parameters: every tensor of the inventory against every tensor that the replica holds."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from moe_plan.estimate.params import is_parameter, total_params
from moe_plan.estimate.weights import uniform_storage, weight_bytes
from moe_plan.plan.ledger import Line
from moe_plan.replica import build
from moe_plan.witness.lines import compared
from moe_plan.witness.names import Place, place, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.anatomy.inventory import Inventory
    from moe_plan.replica.model import Replica

GROUP = "parameters"


def parameter_lines(inventory: Inventory, replica: Replica, group: str = GROUP) -> Iterator[Line]:
    """Tensor by tensor, class by class, and in all; buffers are counted with the tensors."""
    predicted, classes = _predicted(inventory)
    measured = {place(name): tensor.numel() for name, tensor in replica.tensors()}
    yield from compared(group, "parameters", predicted, measured)
    yield from _by_class(group, predicted, measured, classes)
    held = sum(parameter.numel() for parameter in replica.parameters())
    kept = sum(buffer.numel() for buffer in replica.buffers())
    note = f"without {kept:,} elements of buffers" if kept else ""
    yield Line(group, "all parameters", total_params(inventory), held, "parameters", note=note)
    named = sum(measured.values())
    yield Line(group, "all tensors by name", held + kept, named, "parameters", note="each once")


def _predicted(inventory: Inventory) -> tuple[dict[Place, int], dict[Place, str]]:
    predicted, classes = {}, {}
    for block, layer in rows(inventory):
        for weight in block.weights:
            if weight.stored and not weight.copy:
                where = Place(block.part, layer, weight.name)
                predicted[where] = weight.copies * weight.elements
                classes[where] = weight.component if is_parameter(weight) else "buffers"
    return predicted, classes


def _by_class(
    group: str, predicted: dict[Place, int], measured: dict[Place, int], classes: dict[Place, str]
) -> Iterator[Line]:
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for where, name in classes.items():
        sums[name][0] += predicted[where]
        sums[name][1] += measured.get(where, 0)
    for name, (guess, held) in sums.items():
        yield Line(group, f"class {name}", guess, held, "parameters")


def weight_byte_line(inventory: Inventory, replica: Replica, dtype: str) -> Line:
    """Bytes of all weights as allocated, against the calculator's in the same format."""
    predicted = weight_bytes(inventory, uniform_storage(dtype))
    return Line("memory", "weights allocated", predicted, build.weight_bytes(replica), "bytes", note=dtype)
