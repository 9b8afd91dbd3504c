"""Rules across fields, after every value has been found to be of its type."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from moe_plan.errors import ERRORS_SHOWN, InputError, Problem
from moe_plan.spec.attention import Attention
from moe_plan.spec.fields import Component, WeightFormat
from moe_plan.spec.finding import Finding, placed
from moe_plan.spec.rules_blocks import attention_findings, ffn_findings
from moe_plan.spec.rules_flows import flow_findings
from moe_plan.spec.rules_layers import stack_findings, too_many_layers
from moe_plan.spec.rules_rope import rope_findings
from moe_plan.spec.rules_size import size_findings
from moe_plan.spec.stacks import SLOTS, Slot, Stack, runs, stacks, uses
from moe_plan.text import did_you_mean
from moe_plan.units import printed_count

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from moe_plan.spec.model import Checkpoint, ModelSpec, Published
    from moe_plan.spec.yaml_reader import Document, Path

RESERVED_CHECKPOINTS = frozenset({"native", *get_args(WeightFormat)})
_FAR_APART = 10


def checked(spec: ModelSpec, document: Document) -> tuple[Problem, ...]:
    """Warnings about a spec that holds together. Raises InputError where it does not."""
    findings = tuple(_findings(spec))
    errors = [placed(finding, document) for finding in findings if not finding.is_warning]
    if errors:
        errors.sort(key=lambda problem: (problem.line or 0, problem.column or 0))
        raise InputError(errors[:ERRORS_SHOWN], more=max(0, len(errors) - ERRORS_SHOWN))
    return tuple(placed(finding, document) for finding in findings)


def _findings(spec: ModelSpec) -> Iterator[Finding]:
    yield from _published(spec.published)
    for stack in stacks(spec):
        yield from _blocks(stack)
        yield from stack_findings(stack)
        yield from flow_findings(stack)
        yield from size_findings(stack)
    yield from too_many_layers(spec)
    yield from _format_rules(spec)
    for name in spec.parts:
        if name == "decoder":
            yield Finding("MP130", ("parts", name), "the model itself is called decoder; choose another name")
    for name in spec.checkpoints:
        if name in RESERVED_CHECKPOINTS:
            yield Finding(
                "MP137", ("checkpoints", name), f"{name} already names a storage; choose another name"
            )
    yield from _unused(spec)


def _format_rules(spec: ModelSpec) -> Iterator[Finding]:
    """A rule names a class of tensors, a tensor of the spec's own, or one of a block: `router.bias`."""
    own = {tensor.name for stack in stacks(spec) for tensor in stack.part.tensors}
    own |= {
        tensor.name
        for stack in stacks(spec)
        for run, _, _ in runs(stack.part.layers, ())
        for tensor in run.tensors
    }
    known = (*get_args(Component), *sorted(own))
    checkpoints: dict[Path, Checkpoint] = {("native",): spec.native}
    checkpoints |= {("checkpoints", name): checkpoint for name, checkpoint in spec.checkpoints.items()}
    for path, checkpoint in checkpoints.items():
        for index, rule in enumerate(checkpoint.rules):
            for place, name in enumerate(rule.tensors):
                if name not in known and "." not in name:
                    message = f"no class of tensors and no tensor of this name{did_you_mean(name, known)}"
                    yield Finding("MP130", (*path, "rules", index, "tensors", place), message)


def _blocks(stack: Stack) -> Iterator[Finding]:
    has_encoder = any(part.role == "encoder" for part in stack.spec.parts.values())
    for name, block in stack.part.attention.items():
        path: Path = (*stack.path, "attention", name)
        yield from attention_findings(block, path)
        yield from rope_findings(block, path)
        if isinstance(block, Attention) and block.cross and not has_encoder:
            message = "cross-attention needs a part with role: encoder"
            yield Finding("MP136", (*path, "cross"), message)
        if isinstance(block, Attention) and not (block.causal or block.cross) and _generates(stack):
            message = "a decoder sees no later tokens; causal: false is for encoders and towers"
            yield Finding("MP134", (*path, "causal"), message)
    for name, ffn in stack.part.ffn.items():
        yield from ffn_findings(ffn, (*stack.path, "ffn", name))


def _generates(stack: Stack) -> bool:
    """Whether the stack itself uses its blocks to produce tokens: the decoder, MTP modules."""
    return getattr(stack.part, "role", "decoder") in ("decoder", "mtp")


def _unused(spec: ModelSpec) -> Iterator[Finding]:
    used: set[tuple[Path, Slot, str]] = set()
    for stack in stacks(spec):
        for run, path, _ in runs(stack.part.layers, ()):
            for use in uses(run, path):
                own = stack.part.attention if use.slot == "attention" else stack.part.ffn
                used.add((stack.path if use.name in own else (), use.slot, use.name))
    for stack in stacks(spec):
        for slot in SLOTS:
            for name in stack.part.attention if slot == "attention" else stack.part.ffn:
                if (stack.path, slot, name) not in used:
                    yield Finding("MP202", (*stack.path, slot, name), "defined and never used")


def _published(published: Published) -> Iterator[Finding]:
    total, active = _count(published.total), _count(published.active)
    for key, count in (("total", total), ("active", active)):
        if count == 0:
            yield Finding(
                "MP138", ("published", key), "a published count cannot be 0; leave it out if unknown"
            )
    if total and active and active > total:
        message = f"active ({published.active}) is more than total ({published.total})"
        yield Finding("MP138", ("published", "active"), message)
    exact = published.exact
    if total and exact and not total / _FAR_APART <= exact <= total * _FAR_APART:
        message = f"exact is more than {_FAR_APART} times away from total ({published.total}); check the unit"
        yield Finding("MP138", ("published", "exact"), message)


def _count(printed: str | None) -> Decimal | None:
    return printed_count(printed) if printed else None
