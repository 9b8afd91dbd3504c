"""Taking part in a group that torchrun or srun started: one worker here, and a store in which all meet.

Each rank's parent tells the others how its worker fared, so that every one of them can name the cause.
"""

from __future__ import annotations

import json
import socket
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from moe_plan.errors import ReplicaError, UsageError
from moe_plan.replica.parallel.blame import State, blame
from moe_plan.replica.parallel.watch import Task, Watched, watch
from moe_plan.text import clean

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

    from moe_plan.replica.parallel.environment import Joined

_STORES: dict[tuple[str, int], TCPStore] = {}
"""One for each address, as long as this process lives."""
_LOOK_EVERY_SECONDS = 0.5
_ANSWERS_WITHIN_SECONDS = 2.0
_LEAVE_WITHIN_SECONDS = 5.0
_WORDS = 160


def take_part(place: Joined, ranks: int, task: Task, timeout_s: float, threads: int) -> list[Any]:
    """The results of all ranks, on every rank. Raises as `launch` does."""
    if ranks != place.ranks:
        message = f"{ranks} ranks are asked for, and {place.started_by} started {place.ranks}"
        raise UsageError(message)
    deadline = time.monotonic() + timeout_s
    try:
        return _meet(place, task, timeout_s, threads, deadline)
    except (RuntimeError, ValueError) as error:
        # The store's own errors are RuntimeErrors, and long.
        raise ReplicaError(_unreachable(place, clean(str(error), _WORDS))) from None


def _unreachable(place: Joined, why: str) -> str:
    store = f"the store that rank 0 keeps at {place.address}:{place.port}"
    return f"rank 0 is not there: rank {place.rank} cannot reach {store}: {why}"


def _wait_for_store(place: Joined, deadline: float) -> None:
    """Until something listens there; torch's own client waits for twice its timeout."""
    while True:
        try:
            with socket.create_connection((place.address, place.port), timeout=1.0):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise ReplicaError(_unreachable(place, str(error))) from None
            time.sleep(_LOOK_EVERY_SECONDS / 5)


def _store(place: Joined, deadline: float) -> TCPStore:
    """The store in which all ranks meet; the process that keeps it does so until it ends.

    Ranks come to a later launch at different times: the store must be there for the first of them.
    """
    where = place.address, place.port
    left = timedelta(seconds=max(1.0, deadline - time.monotonic()))
    if where not in _STORES:
        if not place.keeps_store:
            _wait_for_store(place, deadline)
        _STORES[where] = TCPStore(*where, is_master=place.keeps_store, timeout=left, wait_for_workers=False)
    _STORES[where].set_timeout(left)
    return _STORES[where]


def _meet(place: Joined, task: Task, timeout_s: float, threads: int, deadline: float) -> list[Any]:
    whole = _store(place, deadline)
    # A store outlives a launch: the n-th launch of every rank meets under the same name.
    meeting = f"moe-plan/{whole.add(f'moe-plan/launches/{place.rank}', 1)}"
    common = PrefixStore(meeting, whole)
    seat = {**place._asdict(), "meeting": meeting}
    for name in ("keeps_store", "started_by"):
        del seat[name]
    watched = watch([seat], task, deadline - time.monotonic(), threads, _Alarm(common).rings)
    if not watched.results:
        _tell_and_raise(common, place, watched, timeout_s)
    common.set(f"result/{place.rank}", json.dumps(watched.results[place.rank]))
    results = _results(common, place, watched, timeout_s, deadline)
    _leave(common, place, _LEAVE_WITHIN_SECONDS)
    return results


class _Alarm:
    """Whether any rank has failed, asked of the store no oftener than need be."""

    def __init__(self, common: Store) -> None:
        self._common = common
        self._next = 0.0

    def rings(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + _LOOK_EVERY_SECONDS
        return self._common.check(["alarm"])


def _results(common: Store, place: Joined, watched: Watched, timeout_s: float, deadline: float) -> list[Any]:
    """Everybody's result, in the order of ranks; until the deadline, or until a rank fails."""
    keys = [f"result/{rank}" for rank in range(place.ranks)]
    alarm = _Alarm(common)
    while not common.check(keys):
        if alarm.rings() or time.monotonic() > deadline:
            _tell_and_raise(common, place, watched, timeout_s)
        time.sleep(_LOOK_EVERY_SECONDS / 5)
    return [json.loads(common.get(key)) for key in keys]


def _tell_and_raise(common: Store, place: Joined, watched: Watched, timeout_s: float) -> None:
    """Tell the others how this rank fared, hear how they did, and raise ReplicaError."""
    common.set(f"state/{place.rank}", json.dumps(watched.states[place.rank]))
    common.set("alarm", "")
    keys = [f"state/{rank}" for rank in range(place.ranks)]
    until = time.monotonic() + _ANSWERS_WITHIN_SECONDS
    while not common.check(keys) and time.monotonic() < until:
        time.sleep(_LOOK_EVERY_SECONDS / 5)
    states = {
        rank: State(*json.loads(common.get(key))) if common.check([key]) else State("silent")
        for rank, key in enumerate(keys)
    }
    _leave(common, place, _ANSWERS_WITHIN_SECONDS)
    raise ReplicaError(blame(states, timeout_s, is_late=watched.is_late))


def _leave(common: Store, place: Joined, seconds: float) -> None:
    """The rank that keeps the store leaves last, or after so many seconds."""
    gone = common.add("gone", 1)
    until = time.monotonic() + seconds
    while place.keeps_store and gone < place.ranks and time.monotonic() < until:
        time.sleep(_LOOK_EVERY_SECONDS / 5)
        gone = common.add("gone", 0)
