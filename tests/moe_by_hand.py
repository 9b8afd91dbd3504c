"""Feed-forward networks in plain Python floats, one token at a time, from named tensors and the spec's words."""

from __future__ import annotations

import math

EPS = 1e-5
"""Of the norm that a router may have."""


def numpyless(value):
    """Nested lists of Python floats: nothing below is torch's arithmetic."""
    return value.double().tolist()


ACTIVATIONS = {
    "silu": lambda v: v / (1 + math.exp(-v)),
    "gelu": lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2,
    "gelu-tanh": lambda v: v / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))),
    "relu": lambda v: max(v, 0),
    "relu2": lambda v: max(v, 0) ** 2,
}


def times(x, rows, bias=None):
    """Rows of a matrix [out, in] times a vector."""
    bias = bias or [0.0] * len(rows)
    return [sum(a * b for a, b in zip(x, row, strict=True)) + b for row, b in zip(rows, bias, strict=True)]


def activated(spec, gate, up):
    limit = spec.limit or math.inf
    if not spec.gated:
        return [ACTIVATIONS[spec.activation](min(u, limit)) for u in up]
    gate = [min(g, limit) for g in gate]
    up = [max(-limit, min(u, limit)) for u in up]
    if spec.activation == "oai-swiglu":
        return [(u + 1) * g / (1 + math.exp(-1.702 * g)) for g, u in zip(gate, up, strict=True)]
    return [ACTIVATIONS[spec.activation](g) * u for g, u in zip(gate, up, strict=True)]


def fed(spec, t, owner, x, expert=None):
    """One network by its named tensors; an expert's are [E, in, out], all others [out, in]."""

    def named(part):
        value = t.get(f"{owner}.{part}")
        if value is None or expert is None:
            return value
        return (
            value[expert] if "bias" in part else [list(column) for column in zip(*value[expert], strict=True)]
        )

    gate = times(x, named("gate"), named("gate_bias")) if spec.gated else None
    up = times(x, named("up"), named("up_bias"))
    return times(activated(spec, gate, up), named("down"), named("down_bias"))


def scores_of(kind, logits):
    if kind == "softmax":
        total = sum(math.exp(v) for v in logits)
        return [math.exp(v) / total for v in logits]
    if kind == "sigmoid":
        return [1 / (1 + math.exp(-v)) for v in logits]
    return [math.sqrt(math.log1p(math.exp(v))) for v in logits]


def routed(spec, t, x, token_id):
    """Experts of one token with their weights, in words of the spec."""
    router = spec.router
    if router.input_scale:
        root = math.sqrt(sum(v * v for v in x) / len(x) + EPS)
        x = [v / root * s / math.sqrt(len(x)) for v, s in zip(x, t["router.input_scale"], strict=True)]
    scores = scores_of(router.score, times(x, t["router.weight"], t.get("router.bias")))
    judged = [
        s + b for s, b in zip(scores, t.get("router.correction_bias", [0.0] * len(scores)), strict=True)
    ]
    eligible = set(range(len(scores)))
    if router.groups:
        size = spec.experts // router.groups
        groups = [list(range(g * size, (g + 1) * size)) for g in range(router.groups)]
        best = 1 if router.group_score == "max" else 2
        worth = {
            g: sum(sorted((judged[e] for e in group), reverse=True)[:best]) for g, group in enumerate(groups)
        }
        kept = sorted(worth, key=worth.get, reverse=True)[: router.top_groups]
        eligible = {e for g in kept for e in groups[g]} | set(range(spec.experts, len(scores)))
    chosen = sorted(eligible, key=lambda e: judged[e], reverse=True)[: spec.top_k]
    if router.token_table:
        chosen = [int(e) for e in t["router.token_table"][token_id]]
    total = sum(scores[e] for e in chosen) if router.normalize else 1.0
    scale = t.get("router.expert_scale", [1.0] * len(scores))
    return {e: scores[e] / total * router.scale * scale[e] for e in chosen}


def mixed(spec, t, x, weights):
    """Output of the whole block for one token."""
    inner = times(x, t["experts.latent_down"]) if spec.latent else x
    total = [0.0] * len(inner)
    for expert, weight in weights.items():
        given = [v * weight for v in inner] if spec.router.weigh_input else inner
        out = given if expert >= spec.experts else fed(spec, t, "experts", given, expert)
        factor = 1.0 if spec.router.weigh_input else weight
        total = [a + factor * b for a, b in zip(total, out, strict=True)]
    if spec.latent:
        total = times(total, t["experts.latent_up"])
    if spec.output_bias:
        total = [a + b for a, b in zip(total, t["experts.output_bias"], strict=True)]
    if spec.shared_width:
        (gate,) = times(x, t["shared_gate.weight"]) if spec.shared_gate else (math.inf,)
        out = fed(spec, t, "shared", x)
        total = [a + b / (1 + math.exp(-gate)) for a, b in zip(total, out, strict=True)]
    return total
