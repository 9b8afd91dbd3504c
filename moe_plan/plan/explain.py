"""The inventory of one model as rows that a reviewer can add up: tensors, operations, states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.errors import InputError
from moe_plan.estimate import cache, formats, params, weights
from moe_plan.plan.explanation import TEXT, Explanation, Group, OperationRow, Place, StateRow, Sums, TensorRow
from moe_plan.plan.scope import nothing_asked, ranges, selected, weights_asked

if TYPE_CHECKING:
    from moe_plan.anatomy.inventory import Block, Operation, State, Weight
    from moe_plan.api import Model
    from moe_plan.plan.explanation import Remark
    from moe_plan.plan.question import Question
    from moe_plan.plan.scope import Scope


def explain(model: Model, question: Question, scope: Scope) -> Explanation:
    """Rows of `model` within `scope`.

    Raises InputError for a layer, component or format that the model does not have.
    """
    storage = model.storage(question.weights)
    model.kv_bytes(0, question.kv)
    gathered: dict[str, list[Block]] = {}
    for block in selected(model.inventory, scope):
        gathered.setdefault(TEXT if block.in_text else block.part, []).append(block)
    groups = (_group(name, blocks, storage, question, scope) for name, blocks in gathered.items())
    shown = tuple(group for group in groups if group.tensors or group.operations)
    if not shown:
        raise InputError((nothing_asked(model.name, scope),))
    return Explanation(model.name, model.fields.source, question, scope, shown)


def _group(
    name: str, blocks: list[Block], storage: weights.Storage, question: Question, scope: Scope
) -> Group:
    tensors = tuple(_tensor(b, w, storage.for_role(b.role)) for b in blocks for w in weights_asked(b, scope))
    operations = tuple(
        _operation(b, o, question.context) for b in blocks for o in b.operations if scope.holds(o.component)
    )
    # A state has no component: it is shown with all of them, or with none.
    states = tuple(_state(b, s, question) for b in blocks for s in b.states if scope.component is None)
    return Group(name, name == TEXT, tensors, operations, states, _sums(tensors, operations, states))


def _place(block: Block) -> Place:
    return Place(block.part, block.role, ranges(block.layers), block.count)


def _tensor(block: Block, weight: Weight, storage: weights.Storage) -> TensorRow:
    elements = block.count * weight.copies * weight.elements
    held = weight.stored and not weight.copy
    remark: Remark = (
        "copy" if weight.copy else "tied" if not weight.stored else "buffer" if weight.buffer else ""
    )
    return TensorRow(
        _place(block),
        weight.name,
        weight.component,
        weight.shape,
        weight.copies,
        weight.used,
        weight.use,
        parameters=elements if params.is_parameter(weight) else 0,
        buffer_elements=elements if weight.buffer is not None else 0,
        flops_per_token=block.count * weight.flops_per_token,
        phase=weight.phase,
        format=storage.format_of(weight),
        bytes=block.count * weights.weight_bytes_of(weight, storage) if held else 0,
        remark=remark,
    )


def _operation(block: Block, operation: Operation, context: int) -> OperationRow:
    reach, count = operation.reach, block.count
    entries = 1 if reach is None else reach.entries(context)
    summed = context if reach is None else reach.entries_over_prefill(context)
    return OperationRow(
        _place(block),
        operation.name,
        operation.component,
        operation.phase,
        operation.flops,
        entries,
        flops_per_token=count * operation.flops * entries if operation.phase != "prefill" else 0,
        prefill_flops=count * operation.flops * summed if operation.phase != "decode" else 0,
    )


def _state(block: Block, state: State, question: Question) -> StateRow:
    entries = 1 if state.reach is None else state.reach.entries(question.context)
    elements, form = block.count * state.elements * entries, state.dtype or question.kv
    in_cache_format = state.dtype is None
    return StateRow(
        _place(block),
        state.name,
        state.elements,
        entries,
        elements,
        form,
        _bytes(elements, form, in_cache_format=in_cache_format),
        in_cache_format,
    )


def _bytes(elements: int, form: str, *, in_cache_format: bool) -> int:
    """Bytes of `elements`; the formats of a cache share scales, and part of a group counts as it is used."""
    if in_cache_format:
        return -(-elements * cache.KV_FORMATS[form] // cache.GROUP)
    return elements * formats.DTYPE_BYTES[form]


def _state_bytes(rows: tuple[StateRow, ...]) -> int:
    """Bytes of all rows, the cache rounded up once as `Model.kv_bytes` does."""
    cached = [row for row in rows if row.in_cache_format]
    fixed = sum(row.bytes for row in rows if not row.in_cache_format)
    if not cached:
        return fixed
    return fixed + _bytes(sum(row.elements for row in cached), cached[0].format, in_cache_format=True)


def _sums(
    tensors: tuple[TensorRow, ...], operations: tuple[OperationRow, ...], states: tuple[StateRow, ...]
) -> Sums:
    return Sums(
        parameters=sum(row.parameters for row in tensors),
        buffer_elements=sum(row.buffer_elements for row in tensors),
        weight_flops=sum(row.flops_per_token for row in tensors),
        prefill_only_weight_flops=sum(row.flops_per_token for row in tensors if row.phase == "prefill"),
        weight_bytes=sum(row.bytes for row in tensors),
        operation_flops=sum(row.flops_per_token for row in operations),
        prefill_operation_flops=sum(row.prefill_flops for row in operations),
        state_bytes=_state_bytes(states),
    )
