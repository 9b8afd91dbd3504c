"""Workers as processes: started in groups of their own, listened to, and always ended."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from moe_plan.replica.parallel.blame import State
from moe_plan.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from moe_plan.replica.parallel.board import Board

MODULE = "moe_plan.replica.parallel.worker"
_PIECE = 1 << 16
_WORDS = 4_000
_TOLD = 400
_GONE_WITHIN_SECONDS = 2.0


@dataclass(slots=True)
class Worker:
    """One rank's process and what has come from it."""

    rank: int
    process: subprocess.Popen[bytes]
    results: IO[bytes]
    """Read end of the pipe that its result comes through."""
    said: bytearray = field(default_factory=bytearray)
    complained: bytearray = field(default_factory=bytearray)
    """The end of what it wrote to standard output and error."""
    open_pipes: set[int] = field(default_factory=set)
    told: dict[str, Any] = field(default_factory=dict)
    """What it said, when all of it has come; empty before, and where it said nothing."""

    @property
    def has_ended(self) -> bool:
        """Whether it is gone and everything that it said has been read."""
        return self.process.poll() is not None and not self.open_pipes

    def state(self, board: Board) -> State:
        """How it stands. A result counts, whatever becomes of the process after it."""
        if "result" in self.told:
            fate = State("done")
        elif "error" in self.told:
            fate = State("echo" if self.told["is_echo"] else "failed", clean(self.told["error"], _TOLD))
        elif self.has_ended:
            fate = State("died", _manner(self.process.returncode, bytes(self.complained)))
        else:
            fate = State("running")
        seen = board.seen(self.rank)
        return fate._replace(step=seen.step, doing=seen.doing)


def _manner(code: int, complained: bytes) -> str:
    if code < 0:
        return f"was killed by {_signal_name(-code)}"
    lines = complained.decode(errors="replace").strip().splitlines()
    last = f": {clean(lines[-1], _TOLD)}" if lines else ""
    return f"ended with exit code {code} and without a result{last}"


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def start(orders: Mapping[str, Any], board: int, environment: Mapping[str, str]) -> Worker:
    """A worker with its `orders`; `board` is the descriptor of the board's file.

    Orders are a file that nobody else can open: a pipe would have to be waited for. The worker's standard
    input is never written to; it ends when this process does.
    """
    results, told_through = os.pipe()
    try:
        with tempfile.TemporaryFile() as file:
            given = {**orders, "results": told_through, "board": board, "parent": os.getpid()}
            file.write(json.dumps(given).encode())
            file.seek(0)
            process = subprocess.Popen(  # noqa: S603  this interpreter, this package
                [sys.executable, "-P", "-m", MODULE, str(file.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=(told_through, board, file.fileno()),
                start_new_session=True,
            )
    except BaseException:
        os.close(results)
        raise
    finally:
        os.close(told_through)
    return Worker(orders["rank"], process, os.fdopen(results, "rb", buffering=0))


@contextmanager
def heard(workers: list[Worker]) -> Iterator[selectors.BaseSelector]:
    """A selector over everything that workers say; see `listen`."""
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            assert worker.process.stdout is not None
            for pipe, buffer in ((worker.results, worker.said), (worker.process.stdout, worker.complained)):
                selector.register(pipe, selectors.EVENT_READ, (worker, buffer))
                worker.open_pipes.add(pipe.fileno())
        yield selector


def listen(selector: selectors.BaseSelector, seconds: float) -> None:
    """Take in what workers say, for at most `seconds`."""
    if not selector.get_map():
        time.sleep(seconds)
    for key, _ in selector.select(seconds):
        worker, buffer = key.data
        piece = os.read(key.fd, _PIECE)
        if piece:
            buffer += piece
            del worker.complained[:-_WORDS]
            continue
        selector.unregister(key.fileobj)
        worker.open_pipes.discard(key.fd)
        if buffer is worker.said:
            # Half a sentence, of a worker that was killed in it, says nothing.
            with suppress(ValueError):
                worker.told = json.loads(worker.said)


def end(workers: list[Worker], patience_seconds: float = 0.0) -> None:
    """Wait for workers to end by themselves, kill the groups of those that have not, and close every pipe."""
    until = time.monotonic() + patience_seconds
    for worker in workers:
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(max(0.0, until - time.monotonic()))
    for worker in workers:
        # Until it has been waited for, nobody else can have its number.
        if worker.process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(worker.process.pid, signal.SIGKILL)
    for worker in workers:
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(_GONE_WITHIN_SECONDS)
        for pipe in (worker.process.stdin, worker.process.stdout, worker.results):
            if pipe is not None:
                pipe.close()
