"""What each rank does of `run_expert_parallel`: run its share, measure, and on rank 0 compare."""

from __future__ import annotations

import os
import sys
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from moe_plan.replica.build import materialise, on_meta
from moe_plan.replica.parallel.calibrate import Calibration
from moe_plan.replica.parallel.exchange import Exchange, Purpose
from moe_plan.replica.parallel.expert_parallel import ExpertParallel, Record, Setting, rounds_by_place
from moe_plan.replica.parallel.group import device_of, group
from moe_plan.replica.parallel.lockstep import in_lockstep
from moe_plan.replica.parallel.phases import Phases
from moe_plan.replica.parallel.report import Difference, Equality, LayerReport, RankReport, Traffic, as_json
from moe_plan.replica.parallel.shard import materialise_shard, sparse_layers, spread
from moe_plan.replica.parallel.share import Batch, Share, whole_batch
from moe_plan.spec.model import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

    from moe_plan.replica.ffn.moe import Moe
    from moe_plan.replica.model import Replica
    from moe_plan.replica.parallel.exchange import Message, Stage
    from moe_plan.replica.parallel.seat import Seat

References = list[tuple["Tensor", "Tensor"]]
"""For each batch the logits of one process, share by share and as one batch: [T, V] of all ranks."""


def run(seat: Seat, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """For each batch this rank's report, and on rank 0 the comparison; see `run.run_expert_parallel`."""
    spec = ModelSpec.model_validate_json(arguments["spec"])
    device = device_of(seat, arguments["device"])
    batches = [
        Batch(tuple(b["sequences"]), b["length"], b["seed"], b["routing"]) for b in arguments["batches"]
    ]
    dtype, seed = arguments["dtype"], arguments["seed"]
    with torch.no_grad(), group(seat, device):
        references: References = []
        if arguments["compares"] and seat.rank == 0:
            seat.mark("computing what one process computes")
            whole = materialise(on_meta(spec, dtype), device, seed)
            references = [_reference(whole, batch, device) for batch in batches]
            del whole
        seat.mark("making its weights")
        replica = materialise_shard(on_meta(spec, dtype), device, seed, seat.rank, seat.ranks)
        exchange = Exchange(seat, device)
        told: list[dict[str, Any]] = []
        for index, batch in enumerate(batches):
            share = Share(batch, seat.rank, spec.vocab, device)
            rank, logits_TV = _measured(replica, share, exchange, arguments)
            reference = references[index] if references else None
            compared = _compared(logits_TV, batch, exchange, reference) if arguments["compares"] else None
            told.append({"rank": as_json(rank), "equality": as_json(compared)})
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return [{**of_batch, "cores": cores, "load": os.getloadavg()[0]} for of_batch in told]


def _reference(whole: Replica, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    vocab = whole.spec.vocab
    shares = [Share(batch, rank, vocab, device) for rank in range(len(batch.sequences))]
    apart = torch.cat([logits.flatten(0, 1) for logits in in_lockstep(whole, shares)])
    return apart, whole_batch(batch, vocab, device).forward(whole).flatten(0, 1)


def _measured(
    replica: Replica, share: Share, exchange: Exchange, arguments: dict[str, Any]
) -> tuple[RankReport, Tensor]:
    """This rank's report on one batch, and its logits [T, V]."""
    layers = spread(replica, exchange, Setting(arguments["returns"]))
    logits_TV = share.forward(replica).flatten(0, 1)
    sent = [message.sent_bytes for layer in layers for message in layer.records[0].messages]
    calibration = Calibration(exchange.seat, exchange.device, exchange.most(max(sent, default=0)))
    timed = spread(replica, exchange, Setting(arguments["returns"], is_timed=True))
    for _ in range(arguments["repeats"]):
        share.forward(replica)
        calibration.round()
    blocks = sparse_layers(replica).values()
    reports = tuple(map(_layer_report, blocks, layers, [layer.records for layer in timed]))
    tokens = share.batch.tokens[share.rank]
    return RankReport(share.rank, tokens, reports, calibration.points()), logits_TV


def _layer_report(block: Moe, layer: ExpertParallel, timed: list[Record]) -> LayerReport:
    first = layer.records[0]
    columns = zip(*(record.phases for record in timed), strict=True)
    return LayerReport(
        where=layer.where,
        experts=block.spec.experts,
        choices=block.choices,
        top_k=block.spec.top_k,
        rounds_by_place=rounds_by_place(block.spec, first.width),
        width=first.width,
        itemsize=first.itemsize,
        chosen_TK=tuple(map(tuple, first.choice.experts_TK.tolist())),
        rows=first.rows,
        dispatch=_traffic(first.messages, "dispatch"),
        combine=_traffic(first.messages, "combine"),
        seconds=Phases(*map(median, columns)),
    )


def _traffic(messages: list[Message], stage: Stage) -> Traffic:
    payload = [m for m in messages if (m.stage, m.content) == (stage, "payload")]
    metadata = [m for m in messages if (m.stage, m.content) == (stage, "metadata")]
    return Traffic(
        sum(message.sent_bytes for message in payload),
        sum(message.received_bytes for message in payload),
        sum(message.sent_bytes for message in metadata),
        sum(message.received_bytes for message in metadata),
        sum(message.kept_bytes for message in (*payload, *metadata)),
    )


def _compared(
    logits_TV: Tensor, batch: Batch, exchange: Exchange, reference: tuple[Tensor, Tensor] | None
) -> Equality | None:
    """All ranks' logits, brought to rank 0, against what one process computed; None on other ranks."""
    rank, ranks = exchange.seat.rank, exchange.seat.ranks
    sends = [len(logits_TV)] + [0] * (ranks - 1)
    receives = batch.tokens if rank == 0 else [0] * ranks
    all_TV = exchange.all_to_all(logits_TV, sends, receives, Purpose("results", "payload", "logits"))
    if reference is None:
        return None
    grouped, whole = (_difference(all_TV, one) for one in reference)
    return Equality(len(all_TV), grouped, whole, all_TV.abs().max().item())


def _difference(left: Tensor, right: Tensor) -> Difference:
    differs = (left.view(torch.uint8) != right.contiguous().view(torch.uint8)).view(*left.shape, -1).any(-1)
    return Difference(int(differs.sum().item()), (left.double() - right.double()).abs().max().item())
