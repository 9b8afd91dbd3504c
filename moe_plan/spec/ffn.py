"""Feed-forward networks, as a person writes them: dense, or a mixture of experts with its router."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from moe_plan.spec import limits
from moe_plan.spec.fields import Activation, Count, Frozen, Positive


class DenseFfn(Frozen):
    """A feed-forward network that every token uses."""

    kind: Literal["dense"]
    width: Count
    gated: bool = True
    """Three matrices (gate, up, down) or two (up, down)."""
    bias: bool = False
    activation: Activation = "silu"
    limit: Positive | None = None
    """The gate is clipped from above, the other branch from both sides, before the activation."""


class Router(Frozen):
    """How a token chooses its experts."""

    score: Literal["softmax", "sigmoid", "sqrt-softplus", "sparsemixer"] = "softmax"
    """What makes a weight of a logit. `sparsemixer` (Phi-3.5-MoE, arXiv 2409.12136) takes a softmax for
    each choice, over the logits left that come within 2 % of the best of them."""
    normalize: bool = True
    """The weights of the chosen experts are divided by their sum."""
    scale: Positive = 1.0
    """Factor on the weights (routed_scaling_factor)."""
    bias: bool = False
    """A bias on the router's logits."""
    correction_bias: Literal["buffer", "parameter"] | None = None
    """A load-balancing bias per expert, used to select and not to weigh: a checkpoint buffer in
    float32 (DeepSeek-V3), or a trained parameter (Ernie 4.5)."""
    groups: Count | None = None
    """Experts are chosen within the best `top_groups` of this many groups."""
    top_groups: Count | None = None
    group_score: Literal["max", "top2"] = "top2"
    """A group is judged by its best expert (DeepSeek-V2), or by the sum of its best two (DeepSeek-V3)."""
    weigh_input: bool = False
    """The weight multiplies what goes into the expert, not what comes out (Llama 4)."""
    input_scale: bool = False
    """A learned scale on the router's input (Gemma 4)."""
    expert_scale: bool = False
    """A learned scale per expert (Gemma 4)."""
    token_table: bool = False
    """Experts are looked up by token id in an integer table instead of scored (DeepSeek-V4)."""


class MoeFfn(Frozen):
    """Routed experts, with any shared expert that every token uses beside them."""

    kind: Literal["moe"]
    experts: Count
    """Routed experts that hold weights."""
    top_k: Count
    """Experts chosen for a token, zero-compute ones included."""
    width: Count
    """Intermediate width of one routed expert."""
    gated: bool = True
    bias: bool = False
    """Biases on each expert's matrices (gpt-oss)."""
    output_bias: bool = False
    """One bias on the summed output of the experts (JetMoE)."""
    activation: Activation = "silu"
    limit: Positive | None = None
    """The gate is clipped from above, the other branch from both sides, before the activation; in the shared
    expert too."""
    zero_experts: Annotated[int, Field(ge=0, le=limits.COUNT)] = 0
    """Identity experts that a token may choose: no weights, no FLOPs (LongCat)."""
    latent: Count | None = None
    """Width in which the routed experts work, reached by shared projections (Nemotron-3 Super)."""
    shared_width: Count | None = None
    """Total intermediate width of the shared experts."""
    shared_gate: bool = False
    """A sigmoid gate on the shared expert (Qwen)."""
    router: Router = Router(score="softmax")


AnyFfn = Annotated[DenseFfn | MoeFfn, Field(discriminator="kind")]
