"""Injected bugs: experts, routers and what a batch touches."""

from __future__ import annotations

from mutant import Mutant

INVENTORY = "anatomy/inventory.py"
FFN = "anatomy/ffn.py"
READS = "estimate/reads.py"
PARAMS = "estimate/params.py"

EXPERTS = (
    Mutant(
        "top-k forgotten in FLOPs",
        INVENTORY,
        "2 * self.used * self.elements",
        "2 * self.elements",
        "test_flops.test_routed_experts_count_top_k_times",
    ),
    Mutant(
        "every expert runs",
        INVENTORY,
        "2 * self.used * self.elements",
        "2 * self.copies * self.elements",
        "test_flops.test_routed_experts_count_top_k_times",
    ),
    Mutant(
        "a multiply-add is one",
        INVENTORY,
        "2 * self.used * self.elements",
        "self.used * self.elements",
        "test_worked.test_whole_model_flops",
    ),
    Mutant(
        "router missing",
        FFN,
        "Body((*_router(spec, hidden, vocab), *_experts",
        "Body((*_experts",
        "test_worked_ffn.test_experts",
    ),
    Mutant(
        "shared experts dropped",
        FFN,
        "if spec.shared_width is None:",
        "if True:",
        "test_worked_ffn.test_shared_experts",
    ),
    Mutant(
        "shared experts counted as routed",
        FFN,
        '_matrices("shared", "shared_experts"',
        '_matrices("shared", "routed_experts"',
        "test_worked.test_whole_model",
    ),
    Mutant(
        "shared width taken from the routed experts",
        FFN,
        "hidden, spec.shared_width, gated",
        "hidden, spec.width, gated",
        "test_worked_ffn.test_shared_experts",
    ),
    Mutant(
        "shared gate dropped", FFN, "if spec.shared_gate:", "if False:", "test_worked_ffn.test_shared_experts"
    ),
    Mutant(
        "gated network with two matrices",
        FFN,
        'names = ("gate", "up") if gated else ("up",)',
        'names = ("up",)',
        "test_worked_ffn.test_dense",
    ),
    Mutant(
        "plain experts with three matrices",
        FFN,
        'ups = ("gate", "up") if spec.gated else ("up",)',
        'ups = ("gate", "up")',
        "test_worked_ffn.test_experts",
    ),
    Mutant(
        "expert biases dropped",
        FFN,
        "    if spec.bias:\n        rows += [expert(",
        "    if False:\n        rows += [expert(",
        "test_worked_ffn.test_expert_biases",
    ),
    Mutant(
        "zero experts given weights",
        FFN,
        "shape, spec.experts, used, pool,",
        "shape, pool, used, pool,",
        "test_worked_ffn.test_zero_experts",
    ),
    Mutant(
        "zero experts not scored",
        FFN,
        "router, choices = spec.router, spec.experts + spec.zero_experts",
        "router, choices = spec.router, spec.experts",
        "test_worked_ffn.test_zero_experts",
    ),
    Mutant(
        "draws beyond the experts forgotten",
        INVENTORY,
        "self.draws or self.used",
        "self.used",
        "test_worked_ffn.test_more_choices_than_experts",
    ),
    Mutant(
        "draws beyond the experts forgotten on average",
        PARAMS,
        "(weight.draws or weight.used)",
        "weight.used",
        "test_worked_decode.test_more_choices_than_experts",
    ),
    Mutant(
        "latent width of experts ignored",
        FFN,
        "inner = spec.latent or hidden",
        "inner = hidden",
        "test_worked_ffn.test_latent_experts",
    ),
    Mutant(
        "correction bias among the parameters",
        FFN,
        '"fp32" if router.correction_bias == "buffer" else None',
        "None",
        "test_worked_ffn.test_router_extras",
    ),
    Mutant(
        "distinct experts k * B",
        INVENTORY,
        "return self.copies * -expm1(tokens * log1p(-draws / pool))",
        "return float(min(self.copies, self.used * tokens))",
        "test_published.test_distinct_experts",
    ),
    Mutant(
        "a decode step reads every expert",
        INVENTORY,
        "if draws >= pool:",
        "if True:",
        "test_reads.test_mixtral_by_hand",
    ),
    Mutant(
        "a decode step reads k experts whatever the batch",
        INVENTORY,
        "expm1(tokens * log1p(",
        "expm1(1 * log1p(",
        "test_reads.test_deepseek_v3_distinct_experts",
    ),
    Mutant(
        "a decode step skips the tied head",
        READS,
        "if weight.copy:",
        "if weight.copy or not weight.stored:",
        "test_reads.test_tied_head_is_read",
    ),
)
