"""Random model specs: every block kind, every option, small unequal sizes that share few factors."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from moe_plan.spec.attention import (
    Attention,
    AttentionExperts,
    CompressedAttention,
    GatedDelta,
    Indexer,
    KimiDelta,
    LightningAttention,
    Mamba1,
    Mamba2,
    MlaAttention,
    ShortConv,
)
from moe_plan.spec.ffn import DenseFfn, MoeFfn, Router
from moe_plan.spec.model import Checkpoint, FormatRule, ModelSpec, Norm, Part, Published, Run, Tensor

# The same examples on every machine and in every run; slow first examples are no fault.
deterministic = settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# Whole models take ten times as long to draw as blocks.
on_models = settings(deterministic, max_examples=50)

small = st.integers(1, 7)
dims = st.integers(1, 40)
flags = st.booleans()


def maybe(values: st.SearchStrategy[int]) -> st.SearchStrategy[int | None]:
    return st.none() | values


def subsets(*names: str) -> st.SearchStrategy[tuple[str, ...]]:
    chosen = st.lists(st.sampled_from(names), unique=True, max_size=len(names))
    return chosen.map(lambda picked: tuple(sorted(picked)))


@st.composite
def gqa(draw: st.DrawFn) -> Attention:
    kv_heads = draw(small)
    mode = draw(st.sampled_from(["plain", "cross", "window", "chunk", "both-ways"]))
    values = draw(st.sampled_from(["own", "own", "other-width", "keys", "shared"]))
    return Attention(
        kind="gqa",
        heads=kv_heads * draw(small),
        kv_heads=kv_heads,
        head_dim=draw(dims),
        value_dim=draw(dims) if values == "other-width" else None,
        q_rank=draw(maybe(dims)),
        bias=draw(subsets("q", "k", "v", "o")),
        qk_norm=draw(st.sampled_from([None, "head", "whole"])),
        gate=draw(flags),
        sinks=draw(flags),
        window=draw(st.integers(1, 50)) if mode == "window" else None,
        chunk=draw(st.integers(1, 50)) if mode == "chunk" else None,
        keys_as_values=values == "keys",
        shared_kv=values == "shared" and mode != "cross",
        position_buckets=draw(maybe(dims)),
        causal=mode != "both-ways",
        cross=mode == "cross",
    )


own_indexers = st.builds(Indexer, heads=small, head_dim=dims, top_k=st.integers(1, 60))
# Whether an earlier layer has a choice to share is a rule across layers, and these specs are not held to it.
indexers = own_indexers | own_indexers.map(lambda own: own.model_copy(update={"shared": True}))


def latent(chosen_by: st.SearchStrategy[Indexer]) -> st.SearchStrategy[MlaAttention]:
    return st.builds(
        MlaAttention,
        kind=st.just("mla"),
        heads=small,
        q_rank=maybe(dims),
        kv_rank=dims,
        nope_dim=dims,
        rope_dim=dims,
        v_dim=dims,
        indexer=st.none() | chosen_by,
    )


# With an indexer of its own, for the closed forms of what an indexer adds.
mla = latent(own_indexers)


@st.composite
def compressed(draw: st.DrawFn) -> CompressedAttention:
    groups, ratio = draw(small), draw(maybe(st.integers(1, 9)))
    return CompressedAttention(
        kind="compressed",
        heads=groups * draw(small),
        head_dim=draw(dims),
        q_rank=draw(dims),
        o_groups=groups,
        o_rank=draw(dims),
        sinks=draw(flags),
        window=draw(st.integers(1, 30)),
        ratio=ratio,
        overlap=ratio is not None and draw(flags),
        indexer=draw(st.none() | indexers) if ratio is not None else None,
    )


@st.composite
def moa(draw: st.DrawFn) -> AttentionExperts:
    experts = draw(small)
    return AttentionExperts(
        kind="moa",
        experts=experts,
        top_k=draw(st.integers(1, experts)),
        heads=draw(small),
        head_dim=draw(dims),
        output_bias=draw(flags),
    )


@st.composite
def gated_delta(draw: st.DrawFn) -> GatedDelta:
    key_heads = draw(small)
    return GatedDelta(
        kind="gated-delta",
        key_heads=key_heads,
        value_heads=key_heads * draw(small),
        key_dim=draw(dims),
        value_dim=draw(dims),
        conv=draw(small),
    )


@st.composite
def mamba2(draw: st.DrawFn) -> Mamba2:
    groups = draw(small)
    return Mamba2(
        kind="mamba2",
        heads=groups * draw(small),
        head_dim=draw(dims),
        state=draw(dims),
        groups=groups,
        conv=draw(small),
        conv_bias=draw(flags),
    )


kda = st.builds(KimiDelta, kind=st.just("kda"), heads=small, head_dim=dims, conv=small)
lightning = st.builds(LightningAttention, kind=st.just("lightning"), heads=small, head_dim=dims)
mamba1 = st.builds(
    Mamba1,
    kind=st.just("mamba1"),
    inner=dims,
    state=dims,
    dt_rank=dims,
    conv=small,
    conv_bias=flags,
    inner_norms=flags,
)
short_conv = st.builds(ShortConv, kind=st.just("short-conv"), taps=small)

ATTENTION_KINDS = {
    "gqa": gqa(),
    "mla": latent(indexers),
    "compressed": compressed(),
    "moa": moa(),
    "gated-delta": gated_delta(),
    "kda": kda,
    "lightning": lightning,
    "mamba1": mamba1,
    "mamba2": mamba2(),
    "short-conv": short_conv,
}

activations = st.sampled_from(["silu", "gelu", "relu", "relu2"])
dense = st.builds(
    DenseFfn, kind=st.just("dense"), width=dims, gated=flags, bias=flags, activation=activations
)


@st.composite
def routers(draw: st.DrawFn, experts: int) -> Router:
    groups = draw(st.none() | st.sampled_from([n for n in range(1, experts + 1) if experts % n == 0]))
    return Router(
        score=draw(st.sampled_from(["softmax", "sigmoid", "sqrt-softplus"])),
        bias=draw(flags),
        correction_bias=draw(st.sampled_from([None, "buffer", "parameter"])),
        groups=groups,
        top_groups=draw(st.integers(1, groups)) if groups else None,
        input_scale=draw(flags),
        expert_scale=draw(flags),
        token_table=draw(flags),
    )


@st.composite
def moe(draw: st.DrawFn, zero_experts: st.SearchStrategy[int] | None = None) -> MoeFfn:
    experts, shared = draw(st.integers(1, 16)), draw(maybe(dims))
    zero = draw(zero_experts if zero_experts is not None else st.sampled_from([0, 0, 3, 8]))
    return MoeFfn(
        kind="moe",
        experts=experts,
        top_k=draw(st.integers(1, experts + zero)),
        width=draw(dims),
        gated=draw(flags),
        bias=draw(flags),
        output_bias=draw(flags),
        activation=draw(activations),
        zero_experts=zero,
        latent=draw(maybe(dims)),
        shared_width=shared,
        shared_gate=shared is not None and draw(flags),
        router=draw(routers(experts)),
    )


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


@st.composite
def runs(draw: st.DrawFn, attention: list[str], ffn: list[str], depth: int = 1) -> Run:
    repeat = draw(st.integers(1, 3))
    if depth and draw(st.integers(0, 3)) == 0:
        inner = st.lists(runs(attention, ffn, depth - 1), min_size=1, max_size=2)
        return Run(repeat=repeat, pattern=tuple(draw(inner)))
    mixer = draw(block_names(attention))
    return Run(
        repeat=repeat,
        attention=mixer,
        ffn=draw(st.sampled_from(ffn)) if mixer is None else draw(block_names(ffn)),
        norms=draw(st.none() | st.integers(0, 4)),
        tensors=tuple(draw(st.lists(tensors, max_size=1))),
    )


norms = st.builds(Norm, kind=st.sampled_from(["rms", "layer"]), bias=flags)


@st.composite
def parts(draw: st.DrawFn, attention: list[str], ffn: list[str]) -> Part:
    return Part(
        role=draw(st.sampled_from(["encoder", "mtp", "vision", "audio", "projector"])),
        hidden=draw(maybe(dims)),
        norm=draw(st.none() | norms),
        final_norm=draw(flags),
        # Blocks of its own hide the model's of the same name.
        attention=draw(st.just({}) | st.fixed_dictionaries({attention[0]: gqa()})),
        ffn=draw(st.just({}) | st.fixed_dictionaries({ffn[0]: dense})),
        layers=tuple(draw(st.lists(runs(attention, ffn), max_size=2))),
        tensors=tuple(draw(st.lists(tensors, max_size=2))),
        hyper_connections=draw(st.none() | st.integers(1, 4)),
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
    names = (list(attention), list(networks))
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
        layers=tuple(draw(st.lists(runs(*names), min_size=1, max_size=3))),
        tensors=tuple(draw(st.lists(tensors, max_size=2))),
        hyper_connections=draw(st.none() | st.none() | st.integers(1, 4)),
        parts={f"part{i}": part for i, part in enumerate(draw(st.lists(parts(*names), max_size=2)))},
        native=draw(stored),
        checkpoints={"other": draw(stored)} if draw(flags) else {},
    )
