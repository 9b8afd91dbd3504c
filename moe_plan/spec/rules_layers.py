"""Rules over the layers of a stack: names that must exist, runs that must say one thing, sharing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.spec import limits
from moe_plan.spec.attention import Attention, CompressedAttention, MlaAttention
from moe_plan.spec.finding import Finding
from moe_plan.spec.stacks import Slot, Stack, Use, runs, stacks, uses
from moe_plan.text import clean, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.spec.attention import AnyAttention
    from moe_plan.spec.model import ModelSpec, Run, Tensor
    from moe_plan.spec.yaml_reader import Path


_KEYS, _CHOICE, _POSITIONS = "the keys and values", "the indexer's choice", "the table of positions"


def stack_findings(stack: Stack) -> Iterator[Finding]:
    """What is wrong in the layers and tensors of one stack."""
    here = (*stack.path, "layers")
    for run, path, depth in runs(stack.part.layers, here):
        yield from _run(run, path, depth)
        yield from _tensors_named_twice(run.tensors, path)
    yield from _tensors_named_twice(stack.part.tensors, stack.path)
    yield from _undefined(stack, here)
    yield from _nothing_shared(stack, here)
    if not stack.part.layers and not stack.part.tensors:
        yield Finding("MP131", stack.path, "a part needs layers or tensors")


def too_many_layers(spec: ModelSpec) -> Iterator[Finding]:
    """All stacks together: what a spec may make the calculator unfold."""
    counts = {(*stack.path, "layers"): layer_count(stack.part.layers) for stack in stacks(spec)}
    total = sum(counts.values())
    if total > limits.TOTAL_LAYERS:
        place = max(counts, key=lambda path: counts[path])
        yield Finding("MP135", place, f"{total} layers in all; at most {limits.TOTAL_LAYERS} are believable")


def layer_count(layers: tuple[Run, ...]) -> int:
    """Layers with all repetitions, patterns unfolded."""
    return sum(run.repeat * (layer_count(run.pattern) if run.pattern else 1) for run in layers)


def _run(run: Run, path: Path, depth: int) -> Iterator[Finding]:
    if depth == limits.PATTERN_DEPTH and run.pattern:
        message = f"patterns stand at most {limits.PATTERN_DEPTH} deep in one another"
        yield Finding("MP131", (*path, "pattern"), message)
    if not run.pattern:
        if not run.attention and not run.ffn:
            yield Finding("MP131", path, "a run needs attention, ffn or pattern")
        return
    for key in ("attention", "ffn", "norms", "flow", "residual_alpha", "tensors"):
        if getattr(run, key) != type(run).model_fields[key].default:
            message = f"a run with a pattern has no {key} of its own; move it into a run of the pattern"
            yield Finding("MP131", (*path, key), message)


def _undefined(stack: Stack, here: Path) -> Iterator[Finding]:
    """Names that no block has, each told where it is first used."""
    told: set[tuple[Slot, str]] = set()
    for run, path, _ in runs(stack.part.layers, here):
        for use in uses(run, path):
            if use.name not in stack.known(use.slot) and (use.slot, use.name) not in told:
                told.add((use.slot, use.name))
                shown = clean(use.name, limits.SHOWN_CHARS)
                message = f'no {use.slot} block is named "{shown}"{_instead(use, stack)}'
                yield Finding("MP130", use.path, message)


def _instead(use: Use, stack: Stack) -> str:
    other: Slot = "ffn" if use.slot == "attention" else "attention"
    if use.name in stack.known(other):
        return f"; it is an {other} block"
    known = stack.known(use.slot)
    return did_you_mean(use.name, known) or f"; defined: {', '.join(sorted(known)) or 'none'}"


def _tensors_named_twice(tensors: tuple[Tensor, ...], path: Path) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, tensor in enumerate(tensors):
        if tensor.name in seen:
            yield Finding("MP132", (*path, "tensors", index, "name"), "a second tensor of this name")
        seen.add(tensor.name)


def _nothing_shared(stack: Stack, here: Path) -> Iterator[Finding]:
    """What an earlier layer should share must be there. An MTP module reuses the decoder's."""
    if getattr(stack.part, "role", None) == "mtp":
        return
    blocks, owned = stack.attention, {_KEYS: False, _CHOICE: False, _POSITIONS: False}
    for run, path, _ in runs(stack.part.layers, here):
        for use in uses(run, path):
            block = blocks.get(use.name) if use.slot == "attention" else None
            for what, shared in _shares(block):
                if shared and not owned[what]:
                    yield Finding(
                        "MP136", use.path, f"shares {what} of an earlier layer, but no earlier layer has any"
                    )
                owned[what] = True


def _shares(block: AnyAttention | None) -> Iterator[tuple[str, bool]]:
    """What a block has that a later one could share, and whether it is itself shared."""
    if isinstance(block, Attention) and not block.cross:
        yield _KEYS, block.shared_kv
        if block.shared_positions or block.position_buckets is not None:
            yield _POSITIONS, block.shared_positions
    if isinstance(block, MlaAttention | CompressedAttention) and block.indexer is not None:
        yield _CHOICE, block.indexer.shared
