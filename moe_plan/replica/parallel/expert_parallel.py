"""The sparse layer over ranks: each holds some of the experts, all hold everything else.

A rank sends each of its tokens once to every rank that holds an expert of it, with a list of the rows that
its experts are to compute. The owner of an expert so has all rows of it, of all ranks, in the order of
ranks and tokens: its products are those of one process that holds all tokens. With "rows" the owner returns
every row, unweighted, and the token's rank adds them as one process does: equal to the bit, for one row of
D elements for each token and expert on the way back. With "sums" it weighs and adds its own rows of a
token first: one row for each token and rank, and sums in another order, equal to rounding.

Equal bits also need functions that give a row the same values wherever it stands. Two do not, by a unit in
the last place: products of fewer than four rows, where a row does not start at a multiple of 16 bytes (MKL);
and torch's vectorised sigmoid, silu and gelu, at the end of a contiguous tensor that is no whole number of
vectors. Released models have widths that are spared; `rounds_by_place` tells which shrunk ones are not.

Legend: T tokens, K experts of a token, N rows (a token and one of its experts) of this rank's tokens, M rows
of this rank's experts, D width, S tokens as they are sent, U tokens as they arrive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from moe_plan.replica.ffn.experts import Dispatch, add_identity, combine, dispatch, expert_rows
from moe_plan.replica.parallel.exchange import Purpose
from moe_plan.replica.parallel.phases import Stopwatch
from moe_plan.replica.parallel.routes import incoming, order_of, outgoing

if TYPE_CHECKING:
    from torch import Tensor

    from moe_plan.replica.ffn.dispatch import Choice
    from moe_plan.replica.ffn.products import Act, ExpertWeights
    from moe_plan.replica.parallel.exchange import Content, Exchange, Message, Stage
    from moe_plan.replica.parallel.phases import Phases
    from moe_plan.replica.parallel.routes import Incoming, Order, Outgoing
    from moe_plan.spec.ffn import MoeFfn

Return = Literal["rows", "sums"]
_ALIGNED = 4
"""Float32 elements of 16 bytes."""
_TWO_VECTORS = 32
"""Float32 elements of two AVX-512 registers, and of four of AVX2."""


def rounds_by_place(spec: MoeFfn, width: int) -> bool:
    """Whether an expert's row may come out otherwise with other experts' rows before it: see above.

    `width` is that in which the experts work. Gate columns, which stand apart, are run over row by row.
    """
    columns = spec.width * (2 if spec.gated else 1)
    in_one_piece = spec.activation == "oai-swiglu" or not spec.gated
    has_tail = in_one_piece and not spec.activation.startswith("relu") and spec.width % _TWO_VECTORS != 0
    return has_tail or width % _ALIGNED != 0 or columns % _ALIGNED != 0


class Setting(NamedTuple):
    """How the ranks of a run work together."""

    returns: Return = "rows"
    is_timed: bool = False
    """Whether ranks wait for each other before they exchange, so that waiting is told from exchanging."""


class Record(NamedTuple):
    """One layer's forward on this rank."""

    choice: Choice
    width: int
    itemsize: int
    rows: int
    """Rows that this rank's experts computed."""
    messages: list[Message]
    phases: Phases


class Arrived(NamedTuple):
    """What this rank computes for all ranks."""

    x_UD: Tensor
    rows: Dispatch
    """Sorted by expert, rank and token; `token_N` are rows of `x_UD`."""
    into: Incoming
    order: Order


class ExpertParallel:
    """What computes the routed experts of one layer: stands where `run_experts` does in one process."""

    def __init__(self, exchange: Exchange, bounds: tuple[int, ...], where: str, setting: Setting) -> None:
        """`bounds` are those of `ownership.bounds`; `where` names the layer."""
        self.exchange, self.bounds, self.where, self.setting = exchange, bounds, where, setting
        self.records: list[Record] = []

    def __call__(
        self, x_TD: Tensor, choice: Choice, weights: ExpertWeights, act: Act, *, weigh_input: bool = False
    ) -> Tensor:
        """Weighted sum of each token's experts, [T, D]; `weights` are those of this rank's experts alone."""
        watch = Stopwatch(self.exchange)
        plan = dispatch(choice, self.bounds[-1])
        out = outgoing(plan, self.bounds)
        arrived = self._dispatch(x_TD, plan, out, watch, weighs=weigh_input)
        watch.lap("sort")
        y_MD = self._compute(arrived, weights, act, weigh_input=weigh_input)
        watch.lap("experts")
        y_ND = self._return(y_MD, out, arrived, watch)
        total_TD = self._add(y_ND, plan, out, x_TD, weigh_input=weigh_input)
        if sum(plan.counts) < choice.experts_TK.numel():
            add_identity(total_TD, x_TD, choice, self.bounds[-1])
        total_TD = total_TD.to(x_TD.dtype)
        watch.lap("add")
        width, itemsize, rows = x_TD.shape[1], x_TD.element_size(), len(arrived.rows.token_N)
        self.records.append(Record(choice, width, itemsize, rows, watch.messages, watch.phases))
        return total_TD

    def _meet(self, watch: Stopwatch) -> None:
        if self.setting.is_timed:
            watch.waited(self.exchange.meet(f"meeting, {self.where}"))

    def _purpose(self, stage: Stage, content: Content) -> Purpose:
        return Purpose(stage, content, self.where)

    def _dispatch(
        self, x_TD: Tensor, plan: Dispatch, out: Outgoing, watch: Stopwatch, *, weighs: bool
    ) -> Arrived:
        """Counts, places and tokens of all ranks, one after the other: other work comes before or after."""
        exchange, bounds, ranks = self.exchange, self.bounds, self.exchange.seat.ranks
        own = bounds[exchange.seat.rank + 1] - bounds[exchange.seat.rank]
        sizes = [bounds[rank + 1] - bounds[rank] + 1 for rank in range(ranks)]
        metadata, payload = self._purpose("dispatch", "metadata"), self._purpose("dispatch", "payload")
        columns = [out.places_N]
        if weighs or self.setting.returns == "sums":
            columns.append(plan.weight_N1.squeeze(1).float().view(torch.int32))
        places, header = torch.stack(columns, 1), out.header.to(x_TD.device).unsqueeze(1)
        x_SD = x_TD.index_select(0, torch.cat(out.tokens))
        self._meet(watch)
        headers = exchange.all_to_all(header, sizes, [own + 1] * ranks, metadata)
        into = incoming(headers.view(ranks, own + 1).tolist())
        places = exchange.all_to_all(places, out.rows, into.rows, metadata)
        x_UD = exchange.all_to_all(x_SD, out.token_counts, into.tokens, payload)
        order = order_of(into, x_TD.device)
        token_M = (places[:, 0] + order.first_M).index_select(0, order.arrived_M)
        weight_M1 = places[:, -1:].contiguous().view(torch.float32).index_select(0, order.arrived_M)
        return Arrived(x_UD, Dispatch(token_M, weight_M1, order.counts), into, order)

    def _compute(self, arrived: Arrived, weights: ExpertWeights, act: Act, *, weigh_input: bool) -> Tensor:
        """What goes back: rows [M, D] as they arrived, or sums [U, D]."""
        x_UD, rows, _, order = arrived
        x_MD = x_UD.index_select(0, rows.token_N)
        if weigh_input:
            x_MD.mul_(rows.weight_N1.to(x_MD.dtype))
        y_MD = expert_rows(x_MD, rows.counts, weights, act)
        if self.setting.returns == "rows":
            as_it_came_MD = torch.empty_like(y_MD)
            as_it_came_MD[order.arrived_M] = y_MD
            return as_it_came_MD
        return combine(y_MD, _unweighted(rows) if weigh_input else rows, len(x_UD)).to(x_UD.dtype)

    def _return(self, y: Tensor, out: Outgoing, arrived: Arrived, watch: Stopwatch) -> Tensor:
        """Rows [N, D] of this rank's tokens, sorted by expert and token, or sums [S, D]."""
        payload = self._purpose("combine", "payload")
        self._meet(watch)
        if self.setting.returns == "sums":
            return self.exchange.all_to_all(y, arrived.into.tokens, out.token_counts, payload)
        return self.exchange.all_to_all(y, arrived.into.rows, out.rows, payload)

    def _add(self, y: Tensor, plan: Dispatch, out: Outgoing, x_TD: Tensor, *, weigh_input: bool) -> Tensor:
        """Tokens [T, D] in the type of sums."""
        if self.setting.returns == "sums":
            # One row of each rank, its sum over its own experts, rank after rank.
            ones = y.new_ones((len(y), 1))
            return combine(y, Dispatch(torch.cat(out.tokens), ones, tuple(out.token_counts)), len(x_TD))
        return combine(y, _unweighted(plan) if weigh_input else plan, len(x_TD))


def _unweighted(rows: Dispatch) -> Dispatch:
    """Rows whose weight has been used already: a factor of one changes no bit."""
    return rows._replace(weight_N1=torch.ones_like(rows.weight_N1))
