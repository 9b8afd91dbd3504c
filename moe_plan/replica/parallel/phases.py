"""Where the time of a sparse layer over ranks goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from moe_plan.replica.parallel.exchange import Exchange, Message, Stage


class Phases(NamedTuple):
    """Seconds of one layer on one rank; together all of its time."""

    sort: float
    """Which token goes where, packing, and which row belongs to whom."""
    dispatch: float
    """The three exchanges before the experts: counts, places, tokens."""
    experts: float
    combine: float
    """The exchange after them."""
    add: float
    wait: float
    """For the slowest rank, before the exchanges."""


class Stopwatch:
    """One layer's forward, lap by lap; what exchanges and waiting took is no part of a lap."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._before = len(exchange.messages)
        self._laps: dict[str, float] = {}
        self._waits = self._elsewhere = 0.0
        self._start = exchange.clock()

    def lap(self, name: Literal["sort", "experts", "add"]) -> None:
        """End a lap."""
        now, elsewhere = self._exchange.clock(), self._waits + sum(m.seconds for m in self.messages)
        self._laps[name] = now - self._start - (elsewhere - self._elsewhere)
        self._start, self._elsewhere = now, elsewhere

    def waited(self, seconds: float) -> None:
        """Count `seconds` as waiting for other ranks."""
        self._waits += seconds

    @property
    def messages(self) -> list[Message]:
        """Exchanges since the start."""
        return self._exchange.messages[self._before :]

    @property
    def phases(self) -> Phases:
        """When all laps have ended."""
        return Phases(
            dispatch=self._of("dispatch"), combine=self._of("combine"), wait=self._waits, **self._laps
        )

    def _of(self, stage: Stage) -> float:
        return sum(message.seconds for message in self.messages if message.stage == stage)
