"""Workers watched until all have answered, one has failed, or time is up; then none of them is left."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from moe_plan.replica.parallel.board import Board, board_file
from moe_plan.replica.parallel.processes import Worker, end, heard, listen, start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from moe_plan.replica.parallel.blame import State

LOOPBACK = "127.0.0.1"
_TICK_SECONDS = 0.05
_SETTLING_SECONDS = 2.0
"""After an exchange has failed somewhere, how long its cause may take to show."""


_LEAVING_SECONDS = 2.0
"""How long workers whose results are all here may take to end."""


class Task(NamedTuple):
    """What every rank does: `call(seat, arguments)`, which returns something that JSON can hold."""

    call: str
    """`package.module:function`."""
    arguments: Mapping[str, Any]


class Watched(NamedTuple):
    """Workers of this machine, when none of them runs on."""

    states: dict[int, State]
    results: dict[int, Any]
    is_late: bool


def watch(
    seats: list[dict[str, Any]],
    task: Task,
    timeout_s: float,
    threads: int,
    is_over: Callable[[], bool] = lambda: False,
) -> Watched:
    """Run the task on every seat until all have answered, one has failed, time is up, or `is_over()`."""
    deadline = time.monotonic() + timeout_s
    ranks = seats[0]["ranks"]
    workers: list[Worker] = []
    with board_file(ranks) as file:
        board = Board(file.fileno(), ranks)
        patience = 0.0
        try:
            for seat in seats:
                orders = {**seat, "timeout_s": timeout_s, "call": task.call, "arguments": task.arguments}
                workers.append(start(orders, file.fileno(), _environment(threads, seat["address"])))
            is_late = _listen_to(workers, board, deadline, is_over)
            states = {worker.rank: worker.state(board) for worker in workers}
            results = {worker.rank: worker.told["result"] for worker in workers if "result" in worker.told}
            patience = _LEAVING_SECONDS if len(results) == len(workers) else 0.0
            return Watched(states, results, is_late)
        finally:
            end(workers, patience)
            board.close()


def _listen_to(workers: list[Worker], board: Board, deadline: float, is_over: Callable[[], bool]) -> bool:
    """Until all have answered or one has failed; whether time ran out. Its cause may follow an echo."""
    with heard(workers) as selector:
        while True:
            listen(selector, _TICK_SECONDS)
            fates = {worker.state(board).fate for worker in workers}
            if "echo" in fates:
                deadline = min(deadline, time.monotonic() + _SETTLING_SECONDS)
            if fates & {"died", "failed"} or "running" not in fates or is_over():
                return False
            if time.monotonic() >= deadline:
                return "echo" not in fates


def _environment(threads: int, address: str) -> dict[str, str]:
    """This process's environment, with its import path, and `threads` threads for every library."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, "PYTHONPATH": path}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    if address == LOOPBACK:
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    return environment
