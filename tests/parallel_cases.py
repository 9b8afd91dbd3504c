"""What workers do in tests of several ranks, and the layers that they and one process compute alike."""

from __future__ import annotations

import os
import signal
import time
from importlib import import_module
from typing import NamedTuple


class Case(NamedTuple):
    """One sparse layer over ranks."""

    tokens: tuple[int, ...]
    experts: int
    top_k: int
    zero: int = 0
    width: int = 12
    inner: int = 20
    gated: bool = True
    bias: bool = False
    weigh_input: bool = False
    dtype: str = "float32"
    returns: str = "rows"
    chosen: tuple[tuple[int, ...], ...] | None = None
    """Experts of every token, where they are not to be drawn."""
    seed: int = 0


def made(case: Case):
    """Tokens of all ranks [T, D], their choice, all experts' weights, and the activation."""
    import torch

    from moe_plan.replica.ffn.activations import activation
    from moe_plan.replica.ffn.distinct import distinct_rows
    from moe_plan.replica.ffn.experts import Choice, ExpertWeights

    generator = torch.Generator().manual_seed(case.seed)
    dtype = getattr(torch, case.dtype)

    def normal(*shape: int) -> torch.Tensor:
        return torch.empty(shape).normal_(generator=generator).to(dtype)

    total, columns = sum(case.tokens), case.inner * (2 if case.gated else 1)
    if case.chosen is None:
        chosen_TK = distinct_rows(total, case.top_k, case.experts + case.zero, generator)
    else:
        chosen_TK = torch.tensor(case.chosen, dtype=torch.int64).view(total, case.top_k)
    weights = ExpertWeights(
        normal(case.experts, case.width, columns),
        normal(case.experts, case.inner, case.width),
        normal(case.experts, columns) if case.bias else None,
        normal(case.experts, case.width) if case.bias else None,
    )
    choice = Choice(chosen_TK, torch.rand(chosen_TK.shape, generator=generator).to(dtype))
    return normal(total, case.width), choice, weights, activation("silu", gated=case.gated)


def by_one_process(case: Case):
    """What one process computes for all tokens, [T, D]."""
    from moe_plan.replica.ffn.experts import run_experts

    x_TD, choice, weights, act = made(case)
    return run_experts(x_TD, choice, weights, act, weigh_input=case.weigh_input)


def by_rank(case: Case, exchange):
    """This rank's part of the same, [T, D], and its record."""
    from moe_plan.replica.ffn.experts import Choice, ExpertWeights
    from moe_plan.replica.parallel.expert_parallel import ExpertParallel, Setting
    from moe_plan.replica.parallel.ownership import bounds

    rank, limits = exchange.seat.rank, bounds(case.experts, len(case.tokens))
    x_TD, choice, weights, act = made(case)
    mine = slice(sum(case.tokens[:rank]), sum(case.tokens[: rank + 1]))
    held = slice(limits[rank], limits[rank + 1])
    local = ExpertWeights(*(None if tensor is None else tensor[held].clone() for tensor in weights))
    layer = ExpertParallel(exchange, limits, "layer", Setting(case.returns))
    choice = Choice(choice.experts_TK[mine], choice.weights_TK[mine])
    return layer(x_TD[mine], choice, local, act, weigh_input=case.weigh_input), layer.records[0]


def traffic(record) -> list[int]:
    """Bytes in the order of `witness.wire.WireBytes`."""

    def total(stages: set[str], content: str, field: str) -> int:
        found = [m for m in record.messages if m.stage in stages and m.content == content]
        return sum(getattr(message, field) for message in found)

    return [
        total({"dispatch"}, "payload", "sent_bytes"),
        total({"dispatch"}, "payload", "received_bytes"),
        total({"combine"}, "payload", "sent_bytes"),
        total({"combine"}, "payload", "received_bytes"),
        total({"dispatch", "combine"}, "metadata", "sent_bytes"),
        total({"dispatch", "combine"}, "metadata", "received_bytes"),
    ]


def layers(seat, arguments):
    """Each case's output on this rank, as the bits of its numbers, and its bytes on the wire."""
    import torch

    from moe_plan.replica.parallel.exchange import Exchange
    from moe_plan.replica.parallel.group import group

    told = []
    with group(seat, torch.device("cpu")):
        for fields in arguments["cases"]:
            y_TD, record = by_rank(Case(*fields), Exchange(seat, torch.device("cpu")))
            told.append({"bits": y_TD.contiguous().view(torch.uint8).tolist(), "bytes": traffic(record)})
    return told


def layers_and_more(seat, arguments):
    """`layers`, and then another task in the same workers."""
    module, _, name = arguments["call"].partition(":")
    told = layers(seat, arguments)
    more = getattr(import_module(module), name)(seat._replace(meeting="second"), arguments["arguments"])
    return {"layers": told, "more": more}


def _note_pid(arguments) -> None:
    with open(arguments["pids"], "a") as file:
        file.write(f"{os.getpid()}\n")


def echo(seat, arguments):
    seat.mark("echoing")
    return {"rank": seat.rank, "ranks": seat.ranks, "said": arguments["text"], "pid": os.getpid()}


def environment(seat, arguments):
    return {name: os.environ.get(name) for name in arguments["names"]}


def misbehave(seat, arguments):
    """Rank `culprit` does what it must not, once all others have gone a step further and wait."""
    _note_pid(arguments)
    seat.mark("first step")
    if seat.rank != arguments["culprit"]:
        seat.mark("second step")
        time.sleep(3600)
    while not all(seat.board.seen(rank).step == 2 for rank in range(seat.ranks) if rank != seat.rank):
        time.sleep(0.01)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    match arguments["how"]:
        case "raise":
            raise ValueError("no such expert")
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "leave":
            print("something was wrong", flush=True)
            os._exit(3)
        case "interrupt parent":
            os.kill(os.getppid(), signal.SIGINT)
    time.sleep(3600)


def die_between_exchanges(seat, arguments):
    """A real group whose rank 1 is killed between two exchanges that the others wait in."""
    import torch

    from moe_plan.replica.parallel.exchange import Exchange, Purpose
    from moe_plan.replica.parallel.group import group

    _note_pid(arguments)
    with group(seat, torch.device("cpu")):
        exchange = Exchange(seat, torch.device("cpu"))
        rows, shares = torch.zeros(seat.ranks, 1), [1] * seat.ranks
        exchange.all_to_all(rows, shares, shares, Purpose("dispatch", "payload", "layer 0"))
        if seat.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        exchange.all_to_all(rows, shares, shares, Purpose("combine", "payload", "layer 0"))
