"""Injected bugs: what a profile measures, and with what it compares."""

from __future__ import annotations

from mutant import Mutant

LAYER = "witness/profile_layer.py"
RUN = "witness/profile_run.py"
ROUTING = "witness/profile_routing.py"
RANKS = "witness/profile_ranks.py"
PROFILE = "witness/profile.py"
WORK = "test_witness_profile.test_flops_and_bytes_are_those_of_the_rows_and_of_the_experts_touched"
DISTINCT = "test_witness_profile.test_distinct_experts_by_the_formula_are_the_mean_of_all_choices"
POINTS = "test_witness_profile.test_points_have_what_was_asked_for"
PUT_BACK = "test_witness_profile.test_experts_that_shrinking_leaves_out_are_put_back"
OVER_RANKS = "test_witness_profile.test_a_model_over_ranks_routes_as_published"

PROFILES = (
    Mutant("the output is not written", RUN, "+ 2 * x_BTD.nbytes", "+ x_BTD.nbytes", WORK),
    Mutant(
        "an expert is read for each of its rows",
        RUN,
        "touched = sum(count > 0 for count in rows)",
        "touched = sum(rows)",
        WORK,
    ),
    Mutant(
        "the twin of equal active size has all parameters",
        LAYER,
        "active=_dense(sparse, smaller.hidden, size.active_parameters)",
        "active=_dense(sparse, smaller.hidden, size.parameters)",
        WORK,
    ),
    Mutant(
        "a token uses every expert's parameters",
        LAYER,
        "sum(weight.used * weight.elements for weight in trained)",
        "sum(weight.copies * weight.elements for weight in trained)",
        WORK,
    ),
    Mutant(
        "experts without weights are expected to be touched",
        ROUTING,
        "each[: routed.block.experts]",
        "each[:]",
        DISTINCT,
    ),
    Mutant(
        "one token is expected however many there are",
        ROUTING,
        "-expm1(tokens * log1p(-p))",
        "-expm1(log1p(-p))",
        DISTINCT,
    ),
    Mutant(
        "imbalance over the experts with work alone",
        PROFILE,
        "max(rows) * len(rows) / sum(rows)",
        "max(rows) * sum(map(bool, rows)) / sum(rows) / 2",
        POINTS,
    ),
    Mutant(
        "every layer that is kept takes the first layers' counts",
        RANKS,
        "routing.layers[first[kept[layer].name]]",
        "routing.layers[layer]",
        OVER_RANKS,
    ),
    Mutant(
        "ranks share fewer experts than published",
        RANKS,
        '("experts", "top_k", "zero_experts", "router")',
        '("top_k", "router")',
        PUT_BACK,
    ),
)
