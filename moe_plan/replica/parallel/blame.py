"""Which rank ended a run: one sentence from what is known of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Fate = Literal["done", "failed", "died", "echo", "running", "silent"]
"""How a rank stands when a run ends.

`failed` raised an error of its own, `died` left no word, `echo` saw an exchange fail, `running` had not
ended, and of a `silent` one, on another machine, nothing is known.
"""


class State(NamedTuple):
    """One rank, when the run ends."""

    fate: Fate
    text: str = ""
    """Its own words, or how it died."""
    step: int = 0
    doing: str = "starting"


def blame(states: Mapping[int, State], timeout_s: float, *, is_late: bool) -> str:
    """Name the rank or ranks that ended the run, and what they did; `is_late` where time ran out."""
    of: dict[Fate, list[int]] = {}
    for rank, state in sorted(states.items()):
        of.setdefault(state.fate, []).append(rank)
    causes = [*of.get("died", ()), *of.get("failed", ())]
    if causes:
        return "; ".join(_cause(rank, states[rank]) for rank in sorted(causes))
    if "silent" in of:
        silence = f"{_named(of['silent'])} did not answer"
        return f"{silence}; {_first(states, of['echo'])}" if "echo" in of else silence
    running = {rank: states[rank] for rank in of.get("running", ())}
    if set(of) == {"done"}:
        return f"every rank was done, and their results did not come together within {timeout_s:g} s"
    if is_late or "echo" not in of:
        return _laggards(running, f"did not finish within {timeout_s:g} s")
    waiting = _first(states, of["echo"])
    return f"{waiting}; {_laggards(running, 'had not ended')}" if running else waiting


def _cause(rank: int, state: State) -> str:
    if state.fate == "died":
        return f"rank {rank} {state.text}; it was last seen in: {state.doing}"
    return f"rank {rank} failed: {state.text} (in: {state.doing})"


def _first(states: Mapping[int, State], ranks: Sequence[int]) -> str:
    return f"{_named(ranks)} could not exchange: {states[ranks[0]].text} (in: {states[ranks[0]].doing})"


def _laggards(running: Mapping[int, State], fault: str) -> str:
    """The ranks that have entered the fewest exchanges keep the others waiting."""
    least = min(state.step for state in running.values())
    behind = [rank for rank, state in running.items() if state.step == least]
    ahead = [rank for rank in running if rank not in behind]
    late = f"{_named(behind)} {fault}; last seen in: {running[behind[0]].doing}"
    if not ahead:
        return late
    return f"{late}; {_named(ahead)} waited in: {running[ahead[0]].doing}"


def _named(ranks: Sequence[int]) -> str:
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    return f"ranks {', '.join(map(str, ranks[:-1]))} and {ranks[-1]}"
