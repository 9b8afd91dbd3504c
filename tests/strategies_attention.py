"""Random attention blocks: every kind, every option, small unequal sizes that share few factors."""

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
from moe_plan.spec.rope import Llama3, Rope, Temperature, Yarn

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
epsilons = st.sampled_from([1e-6, 1e-5])


def maybe(values: st.SearchStrategy[int]) -> st.SearchStrategy[int | None]:
    return st.none() | values


def subsets(*names: str) -> st.SearchStrategy[tuple[str, ...]]:
    chosen = st.lists(st.sampled_from(names), unique=True, max_size=len(names))
    return chosen.map(lambda picked: tuple(sorted(picked)))


factors = st.sampled_from([0.1, 0.5, 1.0, 2.5, 30.0])
maybe_factor = st.none() | st.none() | factors
scalings = st.builds(
    Yarn,
    kind=st.just("yarn"),
    factor=factors,
    original_context=st.integers(8, 64),
    beta_fast=st.sampled_from([32.0, 4.0]),
    beta_slow=st.sampled_from([1.0, 2.0]),
    mscale=maybe_factor,
    mscale_all_dim=maybe_factor,
    attention_factor=maybe_factor,
    truncate=flags,
) | st.builds(
    Llama3,
    kind=st.just("llama3"),
    factor=factors,
    original_context=st.integers(8, 64),
    low_freq_factor=st.sampled_from([1.0, 2.0]),
    high_freq_factor=st.sampled_from([4.0, 8.0]),
)
temperatures = st.builds(Temperature, beta=factors, span=st.integers(1, 40), first=st.integers(0, 1))


@st.composite
def ropes(draw: st.DrawFn, width: int) -> Rope | None:
    """Rotary positions of a head of `width` channels, or none."""
    if draw(st.integers(0, 3)) == 0:
        return None
    scaling = draw(st.none() | scalings)
    return Rope(
        theta=draw(st.sampled_from([100.0, 10_000.0, 5e6])),
        dim=2 * draw(st.integers(1, width // 2)) if width > 1 and draw(flags) else None,
        interleaved=draw(flags),
        proportional=scaling is None and draw(flags),
        scaling=scaling,
    )


@st.composite
def gqa(draw: st.DrawFn) -> Attention:
    kv_heads, head_dim = draw(small), draw(dims)
    qk_norm = draw(st.sampled_from([None, "head", "whole", "unit"]))
    positions = draw(st.sampled_from([None, None, "own", "shared"]))
    mode = draw(st.sampled_from(["plain", "cross", "window", "chunk", "both-ways"]))
    values = draw(st.sampled_from(["own", "own", "other-width", "keys", "shared"]))
    return Attention(
        kind="gqa",
        heads=kv_heads * draw(small),
        kv_heads=kv_heads,
        head_dim=head_dim,
        value_dim=draw(dims) if values == "other-width" else None,
        q_rank=draw(maybe(dims)),
        bias=draw(subsets("q", "k", "v", "o")),
        qk_norm=qk_norm,
        qk_norm_after_rope=qk_norm is not None and draw(flags),
        value_norm=draw(flags),
        rope=draw(ropes(head_dim)),
        scale=draw(maybe_factor),
        temperature=draw(st.none() | temperatures),
        softcap=draw(maybe_factor),
        clip=draw(maybe_factor),
        gate=draw(flags),
        sinks=draw(flags),
        window=draw(st.integers(1, 50)) if mode == "window" else None,
        chunk=draw(st.integers(1, 50)) if mode == "chunk" else None,
        keys_as_values=values == "keys",
        shared_kv=values == "shared" and mode != "cross",
        position_buckets=draw(st.integers(4, 40)) if positions == "own" else None,
        position_distance=draw(st.sampled_from([64, 128])),
        shared_positions=positions == "shared",
        causal=mode != "both-ways",
        cross=mode == "cross",
    )


own_indexers = st.builds(Indexer, heads=small, head_dim=dims, top_k=st.integers(1, 60), interleaved=flags)
# Whether an earlier layer has a choice to share is a rule across layers, and these specs are not held to it.
indexers = own_indexers | own_indexers.map(lambda own: own.model_copy(update={"shared": True}))


@st.composite
def latent(draw: st.DrawFn, chosen_by: st.SearchStrategy[Indexer]) -> MlaAttention:
    rope_dim = draw(dims)
    return MlaAttention(
        kind="mla",
        heads=draw(small),
        q_rank=draw(maybe(dims)),
        kv_rank=draw(dims),
        nope_dim=draw(dims),
        rope_dim=rope_dim,
        v_dim=draw(dims),
        indexer=draw(st.none() | chosen_by),
        rope=draw(ropes(rope_dim)),
        scale=draw(maybe_factor),
        temperature=draw(st.none() | temperatures),
        rank_scaling=draw(flags),
        eps=draw(epsilons),
    )


# With an indexer of its own, for the closed forms of what an indexer adds.
mla = latent(own_indexers)


@st.composite
def compressed(draw: st.DrawFn) -> CompressedAttention:
    groups, ratio, head_dim = draw(small), draw(maybe(st.integers(1, 9))), draw(dims)
    return CompressedAttention(
        kind="compressed",
        heads=groups * draw(small),
        head_dim=head_dim,
        q_rank=draw(dims),
        o_groups=groups,
        o_rank=draw(dims),
        sinks=draw(flags),
        rope=draw(ropes(head_dim)),
        window=draw(st.integers(1, 30)),
        ratio=ratio,
        overlap=ratio is not None and draw(flags),
        indexer=draw(st.none() | indexers) if ratio is not None else None,
    )


@st.composite
def moa(draw: st.DrawFn) -> AttentionExperts:
    experts, head_dim = draw(small), draw(dims)
    return AttentionExperts(
        kind="moa",
        experts=experts,
        top_k=draw(st.integers(1, experts)),
        heads=draw(small),
        head_dim=head_dim,
        output_bias=draw(flags),
        rope=draw(ropes(head_dim)),
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
lightning = st.builds(LightningAttention, kind=st.just("lightning"), heads=small, head_dim=dims, eps=epsilons)
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
