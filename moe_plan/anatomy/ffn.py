"""Feed-forward networks: dense, and a mixture of experts with its router and shared expert."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from moe_plan.anatomy.inventory import Body, Use, Weight

if TYPE_CHECKING:
    from moe_plan.spec.ffn import AnyFfn, DenseFfn, MoeFfn


def ffn_body(spec: AnyFfn, hidden: int, vocab: int) -> Body:
    """Weights of one FFN block over `hidden` inputs; `vocab` sizes a token-id routing table."""
    if spec.kind == "dense":
        return Body(_dense(spec, hidden))
    if spec.kind == "moe":
        return Body((*_router(spec, hidden, vocab), *_experts(spec, hidden), *_shared(spec, hidden)))
    assert_never(spec)


def _dense(spec: DenseFfn, hidden: int) -> tuple[Weight, ...]:
    rows = list(_matrices("dense", "dense_mlp", hidden, spec.width, gated=spec.gated))
    if spec.bias:
        names = ("gate", "up") if spec.gated else ("up",)
        rows += [
            Weight(f"dense.{n}_bias", "dense_mlp", (spec.width,), use="vector", max_tp=spec.width)
            for n in names
        ]
        rows.append(Weight("dense.down_bias", "dense_mlp", (hidden,), use="vector"))
    return tuple(rows)


def _matrices(owner: str, component: str, hidden: int, width: int, *, gated: bool) -> tuple[Weight, ...]:
    names = ("gate", "up") if gated else ("up",)
    ups = tuple(Weight(f"{owner}.{n}", component, (width, hidden), max_tp=width) for n in names)
    return (*ups, Weight(f"{owner}.down", component, (hidden, width), max_tp=width))


def _router(spec: MoeFfn, hidden: int, vocab: int) -> tuple[Weight, ...]:
    router, choices = spec.router, spec.experts + spec.zero_experts
    rows = [Weight("router.weight", "router", (choices, hidden))]
    if router.bias:
        rows.append(Weight("router.bias", "router", (choices,), use="vector"))
    if router.correction_bias is not None:
        kept = "fp32" if router.correction_bias == "buffer" else None
        rows.append(Weight("router.correction_bias", "router", (choices,), use="vector", buffer=kept))
    if router.input_scale:
        rows.append(Weight("router.input_scale", "router", (hidden,), use="vector"))
    if router.expert_scale:
        rows.append(Weight("router.expert_scale", "router", (choices,), use="vector"))
    if router.token_table:
        table = Weight("router.token_table", "router", (spec.top_k,), vocab, 1, use="lookup", buffer="int64")
        rows.append(table)
    return tuple(rows)


def _experts(spec: MoeFfn, hidden: int) -> tuple[Weight, ...]:
    inner = spec.latent or hidden
    pool = spec.experts + spec.zero_experts

    def expert(name: str, *shape: int, matrix: bool, tp: int) -> Weight:
        use: Use = "matmul" if matrix else "vector"
        owner = f"experts.{name}"
        return Weight(
            owner, "routed_experts", shape, spec.experts, used, pool, spec.top_k, use=use, max_tp=tp
        )

    used = min(spec.top_k, spec.experts)
    ups = ("gate", "up") if spec.gated else ("up",)
    rows = [expert(name, spec.width, inner, matrix=True, tp=spec.width) for name in ups]
    rows.append(expert("down", inner, spec.width, matrix=True, tp=spec.width))
    if spec.bias:
        rows += [expert(f"{name}_bias", spec.width, matrix=False, tp=spec.width) for name in ups]
        rows.append(expert("down_bias", inner, matrix=False, tp=1))
    if spec.output_bias:
        rows.append(Weight("experts.output_bias", "routed_experts", (hidden,), use="vector"))
    if spec.latent is not None:
        rows.append(Weight("experts.latent_down", "routed_experts", (spec.latent, hidden)))
        rows.append(Weight("experts.latent_up", "routed_experts", (hidden, spec.latent)))
    return tuple(rows)


def _shared(spec: MoeFfn, hidden: int) -> tuple[Weight, ...]:
    if spec.shared_width is None:
        return ()
    rows = _matrices("shared", "shared_experts", hidden, spec.shared_width, gated=spec.gated)
    if spec.shared_gate:
        return (*rows, Weight("shared_gate.weight", "shared_expert_gate", (1, hidden)))
    return rows
