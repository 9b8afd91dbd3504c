"""A worker process: `python -m moe_plan.replica.parallel.worker N`, where file descriptor N holds its orders.

Its result, or what went wrong, leaves as JSON through a pipe of its own; nothing is ever unpickled. Standard
input stays open as long as the parent lives: when it ends, so does the worker.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import traceback
from importlib import import_module
from threading import Thread
from typing import Any

from moe_plan.errors import MoePlanError
from moe_plan.replica.parallel.board import Board
from moe_plan.replica.parallel.seat import GroupError, Seat

_PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """End this process as soon as `parent` has ended, however that came about.

    Linux's kernel sees to it, even while this process is stuck; elsewhere a thread waits for the end of
    standard input.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        # It was gone before the kernel had been told.
        os.kill(os.getpid(), signal.SIGKILL)
    Thread(target=_wait_for_end_of_input, daemon=True).start()


def _wait_for_end_of_input() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def _outcome(seat: Seat, call: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """What the parent is told: a result; or an error, and whether it is only an echo of another rank's."""
    module, _, name = call.partition(":")
    try:
        return {"result": getattr(import_module(module), name)(seat, arguments)}
    except Exception as error:  # noqa: BLE001  whatever it is, the parent must hear of it
        traceback.print_exc()
        is_told = isinstance(error, GroupError | MoePlanError)
        text = str(error) if is_told else f"{type(error).__name__}: {error}"
        return {"error": text, "is_echo": isinstance(error, GroupError)}


def main() -> None:
    """Run one task and end; an error ends the process at once, without waiting for other ranks."""
    with os.fdopen(int(sys.argv[1]), encoding="utf-8") as orders:
        given = json.load(orders)
    end_with(given["parent"])
    board = Board(given["board"], given["ranks"])
    place = {
        name: given[name]
        for name in ("rank", "ranks", "local_rank", "address", "port", "meeting", "timeout_s")
    }
    told = _outcome(Seat(**place, board=board), given["call"], given["arguments"])
    with os.fdopen(given["results"], "w", encoding="utf-8") as results:
        json.dump(told, results)
    sys.stderr.flush()
    if "error" in told:
        os._exit(1)


if __name__ == "__main__":
    main()
