"""The ledger of a check: predicted against measured, one line a quantity, with its verdict."""

from __future__ import annotations

from typing import Literal, NamedTuple

Verdict = Literal["equal", "within", "differs", "noted"]
"""`equal` to the last unit; `within` its band; `differs`: the check failed; `noted`: printed, not judged."""

Unit = Literal["parameters", "elements", "bytes", "FLOP", "experts", "s"]


class Line(NamedTuple):
    """One quantity."""

    group: str
    """What kind of quantity: `parameters`, `FLOPs of prefill`, `cache after prefill`, `full width`, ..."""
    name: str
    """Which one: `attention.q`, `layer 3 attention.keys`."""
    predicted: float
    measured: float
    unit: Unit
    band: float | None = None
    """Relative difference that is allowed; None where it must be none at all."""
    judged: bool = True
    """False for what is printed for information and decides nothing."""
    note: str = ""
    """What the number assumes, or the named reason of a difference."""

    @property
    def ratio(self) -> float | None:
        """Measured over predicted; None where nothing was predicted and something measured."""
        if self.predicted:
            return self.measured / self.predicted
        return 1.0 if self.measured == 0 else None

    @property
    def verdict(self) -> Verdict:
        """How the measurement stands to the prediction."""
        if self.predicted == self.measured:
            return "equal"
        if not self.judged:
            return "noted"
        if self.band is not None and self.predicted and abs(self.measured / self.predicted - 1) <= self.band:
            return "within"
        return "differs"


class Ledger(NamedTuple):
    """All lines of one model, and on what they were measured."""

    model: str
    scale: str
    """The factor on widths: `1/16`, or `1`."""
    kept: tuple[str, ...]
    """What the shrunk replica kept of the model, in plain sentences."""
    device: str
    dtype: str
    tokens: int
    """Tokens of the prefill."""
    steps: int
    """Decode steps after it."""
    lines: tuple[Line, ...]

    @property
    def differences(self) -> tuple[Line, ...]:
        """The lines that failed."""
        return tuple(line for line in self.lines if line.verdict == "differs")
