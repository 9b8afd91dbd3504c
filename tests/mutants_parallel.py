"""Injected bugs: experts over ranks, what goes on the wire, and who is blamed."""

from __future__ import annotations

from mutant import Mutant

EP = "replica/parallel/expert_parallel.py"
ROUTES = "replica/parallel/routes.py"
EXCHANGE = "replica/parallel/exchange.py"
OWNERSHIP = "replica/parallel/ownership.py"
SHARD = "replica/parallel/shard.py"
SHARE = "replica/parallel/share.py"
BLAME = "replica/parallel/blame.py"
WIRE = "witness/wire.py"
BITS = "test_replica_parallel.test_equal_to_one_process_to_the_bit"
BYTES = "test_replica_parallel.test_bytes_follow_from_the_choices"
BY_HAND = "test_replica_parallel.test_bytes_by_hand"

PARALLEL = (
    Mutant(
        "rows come back in the splits they went in",
        EP,
        "self.exchange.all_to_all(y, arrived.into.rows, out.rows, payload)",
        "self.exchange.all_to_all(y, out.rows, arrived.into.rows, payload)",
        BITS,
    ),
    Mutant(
        "rows come back in the order of computing",
        EP,
        "as_it_came_MD[order.arrived_M] = y_MD",
        "as_it_came_MD[:] = y_MD",
        BITS,
    ),
    Mutant(
        "places of tokens in ascending order instead of the rows'",
        ROUTES,
        "places.append(place_n.int())",
        "places.append(place_n.sort().values.int())",
        BITS,
    ),
    Mutant(
        "places of a later rank are counted from the first rank's tokens",
        ROUTES,
        "firsts = [sum(into.tokens[:rank]) for rank in range(ranks)]",
        "firsts = [0 for rank in range(ranks)]",
        BITS,
    ),
    Mutant(
        "a token's experts are added last expert first",
        EP,
        "combine(y, _unweighted(plan) if weigh_input else plan, len(x_TD))",
        "combine(y.flip(0), Dispatch(plan.token_N.flip(0), plan.weight_N1.flip(0), plan.counts[::-1]), len(x_TD))",
        BITS,
    ),
    Mutant(
        "weighed before and after",
        EP,
        "combine(y, _unweighted(plan) if weigh_input else plan, len(x_TD))",
        "combine(y, plan, len(x_TD))",
        BITS,
    ),
    Mutant(
        "identity experts forgotten",
        EP,
        "if sum(plan.counts) < choice.experts_TK.numel():",
        "if sum(plan.counts) > choice.experts_TK.numel():",
        BITS,
    ),
    Mutant(
        "ranks' sums unweighted",
        EP,
        "combine(y_MD, _unweighted(rows) if weigh_input else rows, len(x_UD))",
        "combine(y_MD, _unweighted(rows), len(x_UD))",
        "test_replica_parallel.test_sums_only_round_otherwise",
    ),
    Mutant(
        "the last ranks hold one more expert",
        OWNERSHIP,
        "min(rank, left_over)",
        "max(0, rank - ranks + left_over)",
        BYTES,
    ),
    Mutant(
        "a shard begins one expert late",
        SHARD,
        "tensor[limits[rank] : limits[rank + 1]]",
        "tensor[limits[rank] + 1 : limits[rank + 1] + 1]",
        "test_replica_ranks.test_a_shard_has_the_whole_models_weights",
    ),
    Mutant(
        "a token goes once for each of its experts",
        ROUTES,
        "distinct, place_n = torch.unique(token_n, return_inverse=True)",
        "distinct, place_n = token_n, torch.arange(len(token_n))",
        BY_HAND,
    ),
    Mutant(
        "a rank's own rows counted as sent",
        EXCHANGE,
        "own = out.pop(self.seat.rank)",
        "own = out[self.seat.rank]",
        BY_HAND,
    ),
    Mutant(
        "metadata not predicted",
        WIRE,
        "counts_sent + words * sum(route.rows for route in away)",
        "words * sum(route.rows for route in away)",
        BY_HAND,
    ),
    Mutant(
        "latent experts' rows predicted in full width",
        WIRE,
        "block.latent or hidden",
        "hidden",
        "test_replica_ranks.test_widths_on_the_wire_are_the_specs",
    ),
    Mutant(
        "uniform routing drawn with replacement",
        WIRE,
        "(1 - comb(choices - count, top_k) / sets)",
        "(1 - (1 - count / choices) ** top_k)",
        "test_replica_parallel.test_uniform_routing_is_the_mean_over_all_choices",
    ),
    Mutant(
        "every rank takes the first rank's routing",
        SHARE,
        "self.rows = slice(sum(tokens[:rank]), sum(tokens[: rank + 1]))",
        "self.rows = slice(0, tokens[rank])",
        "test_replica_ranks.test_ranks_share_one_routing",
    ),
    Mutant(
        "the rank that is ahead is blamed",
        BLAME,
        "least = min(state.step for state in running.values())",
        "least = max(state.step for state in running.values())",
        "test_replica_launch.test_the_cause_is_named_and_not_its_echo",
    ),
    Mutant(
        "an echo taken for the cause",
        BLAME,
        'causes = [*of.get("died", ()), *of.get("failed", ())]',
        'causes = [*of.get("died", ()), *of.get("failed", ()), *of.get("echo", ())]',
        "test_replica_launch.test_the_cause_is_named_and_not_its_echo",
    ),
)
