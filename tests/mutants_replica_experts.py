"""Injected bugs: the replica's routers, experts and choices of experts."""

from __future__ import annotations

from mutant import Mutant

ROUTER = "replica/ffn/router.py"
MOE = "replica/ffn/moe.py"
DENSE = "replica/ffn/dense.py"
ROUTING = "replica/routing.py"
DISTINCT = "replica/ffn/distinct.py"
MOA = "replica/attention/moa.py"
MIXTURES = "test_replica_moe.test_mixture_by_hand"
DENSE_ONES = "test_replica_moe.test_dense_by_hand"
FORCED = "test_replica_moe.test_forced_experts_are_weighed_by_their_scores"
COUNTS = "test_replica_moe.test_counts_are_made_for_who_asks_and_not_otherwise"
EXCHANGED = "test_replica_moe.test_what_computes_the_experts_can_be_exchanged"
HOLDS = "test_witness_by_hand.test_a_decoder_of_every_kind"
READS = "test_replica_flows.test_rows_are_counted_by_layer_of_the_decoder"

ROUTERS = (
    Mutant("sigmoid taken for softmax", ROUTER, "return logits_TE.softmax(1)", "return logits_TE.sigmoid()",
           MIXTURES),
    Mutant("softmax taken for sigmoid", ROUTER, "return logits_TE.sigmoid()", "return logits_TE.softmax(1)",
           MIXTURES),
    Mutant("softplus without its root", ROUTER, "functional.softplus(logits_TE).sqrt_()",
           "functional.softplus(logits_TE)", MIXTURES),
    Mutant("weights not divided by their sum", ROUTER, "if self.spec.normalize:", "if False:", MIXTURES),
    Mutant("weights divided whatever the router says", ROUTER, "if self.spec.normalize:", "if True:",
           MIXTURES),
    Mutant("weights divided after their factor is applied to the sum", ROUTER,
           "weights_TK.sum(1, keepdim=True).add_(SMALLEST_SUM)",
           "(weights_TK.sum(1, keepdim=True) * self.spec.scale)", MIXTURES),
    Mutant("scale of the weights forgotten", ROUTER, "if self.spec.scale != 1.0:", "if False:", MIXTURES),
    Mutant("weights divided by the sum over all experts", ROUTER,
           "weights_TK = scores_TE.gather(1, chosen_TK)",
           "weights_TK = (scores_TE / scores_TE.sum(1, keepdim=True)).gather(1, chosen_TK)", MIXTURES),
    Mutant("correction bias used as a weight", ROUTER, "weights_TK = scores_TE.gather(1, chosen_TK)",
           "weights_TK = (scores_TE + self.correction_bias).gather(1, chosen_TK)", FORCED),
    Mutant("correction bias forgotten", ROUTER, "if self.spec.correction_bias is not None:", "if False:",
           MIXTURES),
    Mutant("correction bias subtracted", ROUTER, "scores_TE = scores_TE + self.correction_bias",
           "scores_TE = scores_TE - self.correction_bias", MIXTURES),
    Mutant("groups judged by their worst expert", ROUTER, "scores_TGn.amax(2)", "scores_TGn.amin(2)",
           MIXTURES),
    Mutant("groups judged by their best expert alone", ROUTER, "JUDGES = 2", "JUDGES = 1", MIXTURES),
    Mutant("groups judged by the sum of all experts", ROUTER, "JUDGES = 2", "JUDGES = 99", MIXTURES),
    Mutant("one group too few", ROUTER, "groups_TG.topk(spec.top_groups,",
           "groups_TG.topk(max(1, spec.top_groups - 1),", MIXTURES),
    Mutant("groups ignored", ROUTER, "self.spec.groups is not None and self.spec.top_groups is not None",
           "False", MIXTURES),
    Mutant("experts of a group strided", ROUTER, "scores_TE.reshape(len(scores_TE), spec.groups, -1)",
           "scores_TE.reshape(len(scores_TE), -1, spec.groups).transpose(1, 2)", MIXTURES),
    Mutant("zero experts are never chosen", ROUTER, "zero_TE = scores_TE[:, self.experts :]",
           "zero_TE = scores_TE[:, self.experts :] - 1e3", MIXTURES),
    Mutant("bias on the logits forgotten", ROUTER, "functional.linear(x_TD, self.weight, self.bias)",
           "functional.linear(x_TD, self.weight)", MIXTURES),
    Mutant("router's input not normed", ROUTER, "rms(x_TD, None, self.norm.eps) * self.input_scale",
           "x_TD * self.input_scale", MIXTURES),
    Mutant("scale of the router's input forgotten", ROUTER, "* self.input_scale * x_TD.shape[1] ** -0.5",
           "* x_TD.shape[1] ** -0.5", MIXTURES),
    Mutant("scale of each expert forgotten", ROUTER, "if self.spec.expert_scale:\n            weights",
           "if False:\n            weights", MIXTURES),
    Mutant("one expert too few", ROUTER,
           "self.experts, self.top_k, self.norm = spec.experts, spec.top_k, norm",
           "self.experts, self.top_k, self.norm = spec.experts, max(1, spec.top_k - 1), norm", HOLDS),
    Mutant("table of experts by place instead of token", ROUTER, "self.token_table.index_select(0, ids_T)",
           "self.token_table[: len(ids_T)]", MIXTURES),
    Mutant("sparsemixer masks by the best of all", ROUTER, "torch.maximum(sizes_TE, best_T1)",
           "torch.maximum(sizes_TE, logits_TE.amax(1, keepdim=True))",
           "test_replica_ffn.test_sparsemixer_near_its_margin"),
)  # fmt: skip

MIXING = (
    Mutant("shared expert forgotten", MOE, "if self.shared is not None:", "if False:", MIXTURES),
    Mutant("shared expert is not run", MOE, "if self.shared is not None:", "if False:", HOLDS),
    Mutant("gate of the shared expert forgotten", MOE,
           "if self.shared_gate is not None:\n                shared", "if False:\n                shared",
           MIXTURES),
    Mutant("gate of the shared expert without its sigmoid", MOE,
           "functional.linear(x_TD, self.weight).sigmoid_()", "functional.linear(x_TD, self.weight)",
           MIXTURES),
    Mutant("weights of the input applied to the output", MOE, "weigh_input=self.spec.router.weigh_input",
           "weigh_input=False", MIXTURES),
    Mutant("bias on the sum forgotten", MOE,
           "y_TD.add_(experts.output_bias) if self.spec.output_bias else y_TD", "y_TD", MIXTURES),
    Mutant("gate and up swapped", MOE, 'self.ups = ("gate", "up") if spec.gated else ("up",)',
           'self.ups = ("up", "gate") if spec.gated else ("up",)', MIXTURES),
    Mutant("router sees what the experts see", MOE,
           "seen_TD = x_TD if routed_by_BTD is None else routed_by_BTD.reshape(x_TD.shape)",
           "seen_TD = x_TD", "test_replica_moe.test_the_router_may_see_something_else"),
    Mutant("rows of zero experts counted as the experts'", MOE, "counts=counts[: self.spec.experts]",
           "counts=counts", COUNTS),
    Mutant("an encoder's rows counted as the decoder's", "replica/model.py",
           "options = replace(options, counts=None)", "pass", READS),
    Mutant("dense gate and up swapped", DENSE, 'self.ups = ("gate", "up") if spec.gated else ("up",)',
           'self.ups = ("up", "gate") if spec.gated else ("up",)', DENSE_ONES),
    Mutant("attention experts weighed over all of them", MOA, "weight_N1 = best_TK.softmax(1)",
           "weight_N1 = (best_TK - logits_TX.logsumexp(1, keepdim=True)).exp()",
           "test_replica_moa.test_a_forced_routing_by_hand"),
    Mutant("attention experts' weights in order of experts", MOA, "weight_N1.index_select(0, row_n)",
           "weight_N1[end - count : end]", "test_replica_moa.test_a_forced_routing_by_hand"),
)  # fmt: skip

CHOICES = (
    Mutant("balanced routing favours the first", ROUTING, "torch.arange(tokens * top_k).remainder_(choices)",
           "torch.arange(tokens * top_k).remainder_(top_k)",
           "test_replica_routing.test_balanced_counts_differ_by_one_at_most"),
    Mutant("an expert drawn twice", DISTINCT, "drawn_T.masked_fill_(taken_T, last)", "drawn_T",
           "test_replica_routing.test_distinct_rows_draw_every_pair_alike"),
    Mutant("the last experts are drawn more often", DISTINCT, "torch.randint(0, last + 1,",
           "torch.randint(last // 2, last + 1,",
           "test_replica_routing.test_distinct_rows_draw_every_pair_alike"),
    Mutant("every layer ranks its experts alike", ROUTING, 'Random(f"{self.seed} {layer}")',
           'Random(f"{self.seed}")', "test_replica_routing.test_zipf_ranks_each_layer_anew"),
    Mutant("popularity the other way round", ROUTING, "largest=False, sorted=False",
           "largest=True, sorted=False", "test_replica_routing.test_counts_of_another_model_are_refused"),
)  # fmt: skip
