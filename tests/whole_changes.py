"""Every field of a spec that decides how data flows, changed a little: what a mistyped YAML would say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from moe_plan.replica.unfold import layers_of
from moe_plan.spec.attention import Attention, Indexer
from moe_plan.spec.ffn import Router
from moe_plan.spec.fields import Frozen
from moe_plan.spec.model import ModelSpec, Norm, Run
from moe_plan.spec.rope import Rope


class Change(NamedTuple):
    """One field of the spec with another value."""

    place: str
    spec: ModelSpec


def times(factor: float) -> Callable[[Any], Any]:
    return lambda value: value * factor if isinstance(value, float) else 1.0


def other(*pairs: tuple[str, str]) -> Callable[[Any], Any]:
    return dict(pairs).__getitem__


def flipped(value: bool) -> bool:
    return not value


def less(least: int) -> Callable[[int], int | None]:
    return lambda value: value - 1 if value > least else None


NUMBERS = dict.fromkeys(
    [
        "scale",
        "theta",
        "beta",
        "softcap",
        "clip",
        "limit",
        "mscale",
        "mscale_all_dim",
        "attention_factor",
        "embedding_scale",
        "residual_scale",
        "logit_scale",
        "logit_softcap",
        "residual_alpha",
    ],
    times(1.25),
)
CHANGES: Mapping[str, Callable[[Any], Any]] = NUMBERS | {
    "eps": times(1000.0),
    "factor": times(2.0),
    "beta_fast": times(1 / 8),
    "beta_slow": times(64.0),
    "low_freq_factor": times(2.0),
    "high_freq_factor": times(2.0),
    "original_context": lambda value: max(1, value // 64),
    "window": less(1),
    "chunk": less(1),
    "span": lambda value: value + 1,
    "first": lambda value: 1 - value,
    "dim": lambda value: value - 2 if value > 2 else None,
    "position_distance": lambda value: value + 8,
    "top_groups": less(1),
    "top_k": less(1),
    "interleaved": flipped,
    "proportional": flipped,
    "truncate": flipped,
    "zero_centered": flipped,
    "qk_norm_after_rope": flipped,
    "value_norm": flipped,
    "rank_scaling": flipped,
    "causal": flipped,
    "normalize": flipped,
    "weigh_input": flipped,
    "activation": other(
        ("silu", "gelu"),
        ("gelu-tanh", "gelu"),
        ("gelu", "silu"),
        ("relu", "relu2"),
        ("relu2", "relu"),
        ("oai-swiglu", "silu"),
    ),
    "score": other(
        ("softmax", "sigmoid"),
        ("sigmoid", "softmax"),
        ("sqrt-softplus", "softmax"),
        ("sparsemixer", "softmax"),
    ),
    "group_score": other(("max", "top2"), ("top2", "max")),
}


def means_something(owner: Frozen, name: str) -> bool:
    """Whether the field decides anything beside what else its owner says."""
    match owner, name:
        case (Rope(dim=None), "proportional") | (Indexer(shared=True), _):
            return False
        case Attention(), "qk_norm_after_rope":
            # Without weights a norm does not mind a rotation; over all heads it always stands before.
            return owner.qk_norm == "head" and owner.rope is not None
        case Attention(shared_kv=True), "value_norm":
            return False
        case Attention(), "position_distance":
            return owner.position_buckets is not None
        case Attention(), "causal":
            return not owner.cross
        case (Router(groups=None), "group_score") | (Norm(kind="layer"), "zero_centered"):
            return False
        case Run(), "residual_alpha":
            return owner.flow == "normed-residual"
        case ModelSpec(), "residual_scale":
            scaled = all(run.flow in ("sequential", "sandwich") for run in layers_of(owner.layers))
            return scaled and owner.hyper_connections is None
        case _:
            return True


def changes(spec: ModelSpec) -> Iterator[Change]:
    """Every change alone."""
    for place, changed in _changed(spec):
        assert isinstance(changed, ModelSpec)
        yield Change(place, changed)


def _changed(owner: Frozen) -> Iterator[tuple[str, Frozen]]:
    for name in type(owner).model_fields:
        value = getattr(owner, name)
        for place, changed in _values(owner, name, value):
            yield f"{name}{place}", owner.model_copy(update={name: changed})


def _values(owner: Frozen, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Frozen):
        yield from ((f".{place}", changed) for place, changed in _changed(value))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from ((f".{key}.{place}", value | {key: changed}) for place, changed in _changed(inner))
    elif isinstance(value, tuple) and value and isinstance(value[0], Frozen):
        for index, inner in enumerate(value):
            for place, changed in _changed(inner):
                yield f"[{index}].{place}", (*value[:index], changed, *value[index + 1 :])
    elif value is not None and name in CHANGES and means_something(owner, name):
        changed = CHANGES[name](value)
        if changed is not None:
            yield "", changed
