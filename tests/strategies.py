"""Random model specs: runs of random blocks, parts, formats, in every flow that their blocks can be joined in."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st
from strategies_attention import (
    ATTENTION_KINDS,
    deterministic,
    dims,
    epsilons,
    factors,
    flags,
    gqa,
    maybe,
    maybe_factor,
    mla,
    on_models,
)
from strategies_ffn import dense, moe

from moe_plan.spec.flows import SHAPES, flow_norms
from moe_plan.spec.model import Checkpoint, FormatRule, ModelSpec, Norm, Part, Published, Run, Tensor

__all__ = [
    "ATTENTION_KINDS",
    "FORMAT_NAMES",
    "dense",
    "deterministic",
    "gqa",
    "mla",
    "moe",
    "on_models",
    "specs",
]

components = st.sampled_from(["attention", "router", "norm", "dense_mlp", "embedding", "lm_head", "other"])
tensors = st.builds(
    Tensor,
    name=st.sampled_from(["extra.a", "extra.b"]),
    shape=st.lists(dims, min_size=1, max_size=3).map(tuple),
    component=components,
    use=st.sampled_from([None, None, "matmul", "lookup", "vector"]),
    buffer=st.sampled_from([None, None, None, "fp32", "bf16", "int64"]),
)
FORMAT_NAMES = (
    *("fp32", "fp8", "fp8-block", "fp8-block-bf16", "fp8-block-e8m0", "fp8-channel", "int8"),
    *("int4-g32", "int4-g128-zp", "mxfp4", "nvfp4", "q4_k", "q8_0"),
)
RULE_NAMES = (
    *("attention", "routed_experts", "shared_experts", "dense_mlp", "embedding", "lm_head"),
    *("router", "router.weight", "norm"),
)
rules = st.builds(
    FormatRule,
    format=st.sampled_from(FORMAT_NAMES),
    tensors=st.lists(st.sampled_from(RULE_NAMES), min_size=1, max_size=3).map(tuple),
)
stored = st.builds(
    Checkpoint,
    default=st.sampled_from(["bf16", "fp32", "fp16"]),
    rules=st.lists(rules, max_size=3).map(tuple),
    stores_tied_head=flags,
)


def block_names(known: list[str]) -> st.SearchStrategy[str | tuple[str, ...] | None]:
    one = st.sampled_from(known)
    return one | one | st.lists(one, min_size=1, max_size=2).map(tuple) | st.none()


class Known(NamedTuple):
    """The blocks that a run may name, FFN blocks with their kinds, and whether streams join them."""

    attention: list[str]
    ffn: dict[str, str]
    streams: bool


@st.composite
def runs(draw: st.DrawFn, known: Known, depth: int = 1) -> Run:
    repeat = draw(st.integers(1, 3))
    if depth and draw(st.integers(0, 3)) == 0:
        inner = st.lists(runs(known, depth - 1), min_size=1, max_size=2)
        return Run(repeat=repeat, pattern=tuple(draw(inner)))
    flow = draw(st.sampled_from(flows(known)))
    mixer, network = draw(joined(flow, known) if flow in SHAPES else any_blocks(known))
    run = Run(
        repeat=repeat,
        attention=mixer,
        ffn=network,
        flow=flow,
        residual_alpha=draw(factors) if flow == "normed-residual" else 1.0,
        tensors=tuple(draw(st.lists(tensors, max_size=1))),
    )
    return run.model_copy(update={"norms": draw(st.sampled_from([None, flow_norms(run)]))})


def flows(known: Known) -> list[str]:
    """Flows whose blocks are there."""
    if known.streams:
        return ["sequential"]
    whole = {"dense", "moe"} <= set(known.ffn.values())
    return ["sequential"] * 3 + ["sandwich", "normed-residual"] + list(SHAPES if whole else ())


@st.composite
def any_blocks(draw: st.DrawFn, known: Known) -> tuple[str | tuple[str, ...] | None, ...]:
    mixer = draw(block_names(known.attention))
    networks = list(known.ffn)
    return mixer, draw(st.sampled_from(networks)) if mixer is None else draw(block_names(networks))


@st.composite
def joined(draw: st.DrawFn, flow: str, known: Known) -> tuple[tuple[str, ...], ...]:
    """Blocks of the kinds that a flow joins, in its order."""
    shape = SHAPES[flow]
    of_kind = {kind: [name for name, its in known.ffn.items() if its == kind] for kind in shape.ffn}
    mixers = tuple(draw(st.sampled_from(known.attention)) for _ in range(shape.attention))
    return mixers, tuple(draw(st.sampled_from(of_kind[kind])) for kind in shape.ffn)


norms = st.builds(Norm, kind=st.sampled_from(["rms", "layer"]), bias=flags, eps=epsilons, zero_centered=flags)


@st.composite
def parts(draw: st.DrawFn, attention: list[str], kinds: dict[str, str]) -> Part:
    # Blocks of its own hide the model's of the same name.
    first = next(iter(kinds))
    mixers = draw(st.just({}) | st.fixed_dictionaries({attention[0]: gqa()}))
    networks = draw(st.just({}) | st.fixed_dictionaries({first: dense}))
    streams = draw(st.none() | st.integers(1, 4))
    known = Known(attention, kinds | dict.fromkeys(networks, "dense"), streams is not None)
    return Part(
        role=draw(st.sampled_from(["encoder", "mtp", "vision", "audio", "projector"])),
        hidden=draw(maybe(dims)),
        norm=draw(st.none() | norms),
        final_norm=draw(flags),
        attention=mixers,
        ffn=networks,
        layers=tuple(draw(st.lists(runs(known), max_size=2))),
        tensors=tuple(draw(st.lists(tensors, max_size=2))),
        hyper_connections=streams,
    )


def _blocks(kinds: list[st.SearchStrategy]) -> st.SearchStrategy[dict]:
    return st.lists(st.one_of(kinds), min_size=1, max_size=3).map(
        lambda found: {f"b{i}": b for i, b in enumerate(found)}
    )


@st.composite
def specs(draw: st.DrawFn, kinds: tuple[str, ...] = (), ffn: st.SearchStrategy | None = None) -> ModelSpec:
    """A random model; `kinds` narrows its attention, `ffn` its feed-forward blocks."""
    attention = draw(_blocks([ATTENTION_KINDS[kind] for kind in kinds or tuple(ATTENTION_KINDS)]))
    networks = draw(_blocks([ffn] if ffn is not None else [dense, moe(), moe()]))
    streams = draw(st.none() | st.none() | st.integers(1, 4))
    kinds_of = {name: block.kind for name, block in networks.items()}
    known = Known(list(attention), kinds_of, streams is not None)
    return ModelSpec(
        name="random",
        source="a test",
        published=Published(source="a test"),
        hidden=draw(dims),
        vocab=draw(st.integers(1, 300)),
        tied=draw(flags),
        head_bias=draw(flags),
        norm=draw(norms),
        final_norm=draw(flags),
        attention=attention,
        ffn=networks,
        layers=tuple(draw(st.lists(runs(known), min_size=1, max_size=3))),
        tensors=tuple(draw(st.lists(tensors, max_size=2))),
        hyper_connections=streams,
        embedding_scale=draw(factors | st.just("sqrt-hidden")),
        residual_scale=draw(factors),
        logit_scale=draw(factors | st.just("rsqrt-hidden")),
        logit_softcap=draw(maybe_factor),
        parts={
            f"part{i}": part
            for i, part in enumerate(draw(st.lists(parts(known.attention, kinds_of), max_size=2)))
        },
        native=draw(stored),
        checkpoints={"other": draw(stored)} if draw(flags) else {},
    )
