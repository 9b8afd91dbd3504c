"""A comparison as records: the models of JSON, and the lines of CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.report.numbers import rounded

if TYPE_CHECKING:
    from moe_plan.estimate.cache import CacheElements
    from moe_plan.plan.compare import Comparison, Figures, Memory, Size, Work
    from moe_plan.plan.structure import Structure
    from moe_plan.plan.verification import Check
    from moe_plan.report.csv import Value
    from moe_plan.spec.model import Published

_PUBLISHED = ("total", "active", "convention", "exact", "source")


def content(comparison: Comparison) -> dict[str, object]:
    """The JSON of `compare` without its format line; bytes, FLOPs and counts are integers."""
    question = comparison.question
    return {
        "context": question.context,
        "batch": question.batch,
        "weights": question.weights,
        "kv": question.kv,
        "models": _models(comparison),
        "assumptions": list(comparison.assumptions),
    }


def csv_lines(comparison: Comparison) -> tuple[list[str], list[list[Value]]]:
    """Header and one line a model: the scalar fields of the JSON, lists joined by spaces."""
    asked = comparison.question._asdict()
    records = [{**_flat(record(figures)), **asked} for figures in comparison.models]
    if comparison.checks:
        pairs = zip(records, comparison.checks, strict=True)
        records = [{**line, **_columns(check)} for line, check in pairs]
    header = list(records[0]) if records else []
    return header, [[line[name] for name in header] for line in records]


def _models(comparison: Comparison) -> list[dict[str, object]]:
    """One record a model, with what its replica gave where one was run."""
    records = [record(figures) for figures in comparison.models]
    if not comparison.checks:
        return records
    from moe_plan.report.verify_records import record as verification  # noqa: PLC0415  only a check needs it

    pairs = zip(records, comparison.checks, strict=True)
    return [{**line, "verification": verification(check, timed=False)} for line, check in pairs]


def _columns(check: Check) -> dict[str, Value]:
    return {
        "verification": check.status,
        "verification_scale": check.ledger and check.ledger.scale,
        "verified_quantities": sum(check.counts.values()),
        "verified_differences": check.counts["differs"],
    }


def record(figures: Figures) -> dict[str, object]:
    """One model, keys in the order that the format fixes; what does not apply is None."""
    return {
        "name": figures.name,
        "source": figures.source,
        "published": _published(figures.published),
        **_size(figures.size),
        **_structure(figures.structure),
        **_ratios(figures.size),
        **_memory(figures.memory),
        **_work(figures.work),
        "dense_compute_ratio": rounded(figures.size.dense_compute_ratio),
        "dense_memory_ratio": rounded(figures.size.dense_memory_ratio),
    }


def _published(published: Published) -> dict[str, object]:
    return {name: getattr(published, name) for name in _PUBLISHED}


def _size(size: Size) -> dict[str, object]:
    return {
        "total_params": size.total,
        "active_params": size.active,
        "active_compute_params": size.active_compute,
        "active_body_params": size.active_body,
        "mean_active_params": size.active_mean,
        "buffer_elements": size.buffer_elements,
        "components": size.components,
        "parts": size.parts,
    }


def _structure(structure: Structure) -> dict[str, object]:
    return {
        "layers": structure.layers,
        "moe_layers": structure.moe_layers,
        "experts": structure.experts,
        "top_k": structure.top_k,
        "attention_kinds": list(structure.attention_kinds),
    }


def _ratios(size: Size) -> dict[str, object]:
    return {
        "sparsity": rounded(size.sparsity),
        "expert_sparsity": None if size.expert_sparsity is None else rounded(size.expert_sparsity),
    }


def _memory(memory: Memory) -> dict[str, object]:
    return {
        "weight_bytes": memory.weight_bytes,
        "weight_bytes_by_component": memory.weight_bytes_by_component,
        "weight_formats": list(memory.weight_formats),
        "native_weight_bytes": memory.native_weight_bytes,
        "checkpoint_bytes": memory.checkpoint_bytes,
        "part_bytes": memory.part_bytes,
        "kv_bytes_per_token": memory.kv_bytes_per_token,
        "kv_elements": _elements(memory.kv_elements),
        "kv_bytes": memory.kv_bytes,
        "state_bytes": memory.state_bytes,
    }


def _elements(elements: CacheElements) -> dict[str, object]:
    """Cached elements by growth; compressed entries are few enough for a rounded average."""
    compressed = elements.per_token_compressed
    whole = compressed.denominator == 1
    return {
        **elements._asdict(),
        "per_token_compressed": int(compressed) if whole else rounded(float(compressed)),
    }


def _work(work: Work) -> dict[str, object]:
    return {
        "flops_per_token": work.decode_flops,
        "prefill_flops_per_token": work.prefill_flops,
        "training_flops_per_token": work.training_flops,
        "distinct_experts": None if work.distinct_experts is None else rounded(work.distinct_experts),
        "decode_bytes": work.decode_bytes,
        "decode_kv_bytes": work.decode_kv_bytes,
    }


def _flat(line: dict[str, object]) -> dict[str, Value]:
    flat: dict[str, Value] = {}
    for name, value in line.items():
        if isinstance(value, list):
            flat[name] = " ".join(str(item) for item in value)
        elif value is None or isinstance(value, str | int | float):
            flat[name] = value
    return flat
