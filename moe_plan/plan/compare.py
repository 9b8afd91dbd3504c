"""Models side by side: every figure of each, at one context, batch and choice of formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.estimate import cache, flops, params, weights
from moe_plan.plan.assumptions import assumptions
from moe_plan.plan.structure import Structure, has_zero_experts, structure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moe_plan.api import Model
    from moe_plan.plan.question import Question
    from moe_plan.plan.verification import Check
    from moe_plan.spec.model import Published


class Size(NamedTuple):
    """Parameters, and what follows from them alone."""

    total: int
    active: int
    active_compute: int
    active_body: int
    active_mean: int | None
    """Only where a token may choose zero-compute experts: then `active` is the most it can use."""
    buffer_elements: int
    components: dict[str, int]
    parts: dict[str, dict[str, int]]
    sparsity: float
    """total / active."""
    expert_sparsity: float | None
    """Routed experts over top-k; None in a dense model."""
    dense_compute_ratio: float
    """Parameters multiplied for a token, over those that a dense model of equal total multiplies."""
    dense_memory_ratio: float
    """Parameters held, over those that a dense model of equal active size holds."""


class Memory(NamedTuple):
    """Bytes held: weights in the chosen and the native formats, cache and state of one sequence."""

    weight_bytes: int
    weight_bytes_by_component: dict[str, int]
    weight_formats: tuple[str, ...]
    """Formats in use, the one with the most bytes first."""
    native_weight_bytes: int
    checkpoint_bytes: int
    """All released files: of the chosen checkpoint, or of the native release."""
    part_bytes: dict[str, int]
    """Bytes of the parts outside the text model, as released."""
    kv_bytes_per_token: int
    """What the next token adds at the question's context."""
    kv_elements: cache.CacheElements
    kv_bytes: int
    state_bytes: int


class Work(NamedTuple):
    """FLOPs per token, and what one decode step reads."""

    decode_flops: int
    prefill_flops: int
    training_flops: int
    distinct_experts: float | None
    decode_bytes: int
    decode_kv_bytes: int
    """Cache and state of all sequences: the most that a step can read of them."""


class Figures(NamedTuple):
    """All figures of one model."""

    name: str
    source: str
    published: Published
    size: Size
    structure: Structure
    memory: Memory
    work: Work


class Comparison(NamedTuple):
    """The answer of `compare`: the question, one Figures a model, and what was assumed."""

    question: Question
    models: tuple[Figures, ...]
    assumptions: tuple[str, ...]
    checks: tuple[Check, ...] = ()
    """What replicas of the models gave, one for each of them; none where none was run."""


def compare(models: Iterable[Model], question: Question) -> Comparison:
    """Figures of all `models`. Raises InputError for a format that a model does not have."""
    models = tuple(models)
    figures = tuple(_figures(model, question) for model in models)
    return Comparison(question, figures, assumptions(models, question))


def _figures(model: Model, question: Question) -> Figures:
    spec, made_of = model.fields, structure(model)
    size, memory = _size(model, made_of), _memory(model, question)
    return Figures(
        model.name, spec.source, spec.published, size, made_of, memory, _work(model, question, memory)
    )


def _size(model: Model, made_of: Structure) -> Size:
    inventory, total, active = model.inventory, model.total_params, model.active_params
    table = 0 if params.is_tied(inventory) else model.components.get("embedding", 0)
    return Size(
        total=total,
        active=active,
        active_compute=model.active_compute_params,
        active_body=model.active_body_params,
        active_mean=params.mean_active_params(inventory) if has_zero_experts(inventory) else None,
        buffer_elements=params.buffer_elements(inventory),
        components=model.components,
        parts=model.parts,
        sparsity=total / active,
        expert_sparsity=made_of.experts / made_of.top_k if made_of.experts and made_of.top_k else None,
        dense_compute_ratio=model.active_compute_params / (total - table),
        dense_memory_ratio=total / active,
    )


def _memory(model: Model, question: Question) -> Memory:
    inventory, storage = model.inventory, model.storage(question.weights)
    # A uniform format is nobody's release: the files are then those of the native one.
    release = question.weights if question.weights in model.fields.checkpoints else weights.NATIVE
    return Memory(
        weight_bytes=model.weight_bytes(question.weights),
        weight_bytes_by_component=_ordered(model.component_bytes(question.weights)),
        weight_formats=_formats(model, storage),
        native_weight_bytes=model.weight_bytes(),
        checkpoint_bytes=model.checkpoint_bytes(release),
        part_bytes=weights.part_bytes(inventory, model.storage(release)),
        kv_bytes_per_token=model.kv_bytes_per_token(question.kv, question.context),
        kv_elements=cache.cache_elements(inventory),
        kv_bytes=model.kv_bytes(question.context, question.kv),
        state_bytes=cache.state_bytes(inventory),
    )


def _work(model: Model, question: Question, memory: Memory) -> Work:
    prefill = flops.prefill_flops(model.inventory, question.context)
    return Work(
        decode_flops=model.decode_flops(question.context),
        prefill_flops=_mean(prefill, question.context),
        training_flops=_mean(flops.TRAINING_FACTOR * prefill, question.context),
        distinct_experts=model.distinct_experts(question.batch),
        decode_bytes=model.decode_weight_bytes(question.batch, question.weights),
        decode_kv_bytes=memory.kv_bytes * question.batch,
    )


def _mean(total: int, tokens: int) -> int:
    """As `round` of the exact fraction, halves to even; importing fractions would cost start-up."""
    quotient, rest = divmod(total, tokens)
    return quotient + (2 * rest + quotient % 2 > tokens)


def _formats(model: Model, storage: weights.Storage) -> tuple[str, ...]:
    sizes: dict[str, int] = {}
    for weight, count in model.inventory.text_weights():
        if params.is_parameter(weight):
            form = storage.format_of(weight)
            sizes[form] = sizes.get(form, 0) + count * weights.weight_bytes_of(weight, storage)
    return tuple(sorted(sizes, key=lambda form: (-sizes[form], form)))


def _ordered(by_component: dict[str, int]) -> dict[str, int]:
    return {name: by_component[name] for name in params.COMPONENTS if name in by_component}
