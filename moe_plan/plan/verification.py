"""What a verification is asked to do, and what came of it for each model."""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from fractions import Fraction

    from moe_plan.plan.ledger import Ledger, Line, Verdict

Status = Literal["holds", "differs", "failed"]
"""All quantities hold; at least one differs; the replica could not be run to its end."""

SEQUENCES = 2
"""In the batch of a replica: one would not show what is mixed up between sequences."""
FULL_WIDTH_TOKENS, FULL_WIDTH_STEPS, FULL_WIDTH_DTYPE = 4, 1, "bf16"
"""At published size one sequence of a few tokens: nothing is computed; counts grow as the formulas say."""
FEWEST_TOKENS, MOST_TOKENS = 8, 16_384
"""Of a prefill: enough for windows, chunks and compressed entries to be felt; what runs in minutes."""
MOST_STEPS = 4_096

ALL_PARAMETERS = ("parameters", "all parameters")
"""Group and name of the line that has the replica's parameters in one sum."""
VERDICTS: tuple[Verdict, ...] = ("equal", "within", "differs", "noted")


class Request(NamedTuple):
    """How to shrink, where to run, and what to measure."""

    scale: Fraction | None = None
    """Factor on widths, above 0 and at most 1; None lets the witness choose one for the model."""
    max_memory_bytes: int | None = None
    """What the replica may take at most; None: what free memory allows."""
    device: str = "cpu"
    """`cpu`, `cuda`, `mps`, or `auto`: an accelerator where there is one."""
    dtype: str = "fp32"
    """`fp32`, `bf16` or `fp16`, of weights and activations."""
    tokens: int = 24
    """Tokens of the prefill."""
    steps: int = 4
    """Decode steps after it."""
    seeds: int = 20
    """Draws of routing over which distinct experts are averaged."""
    seed: int = 0
    """Of the weights and tokens, and the first of the draws."""
    threads: int = 1
    """Threads of torch. Two on a shared machine wait for each other by spinning, which blurs every time."""
    time: bool = True
    """Measure wall time against a roofline that is calibrated on this device first."""
    full_width: bool = True
    """Count parameters and FLOPs at published size too, on torch's meta device."""


class Check(NamedTuple):
    """One model: its ledger, or the reason why there is none."""

    model: str
    ledger: Ledger | None
    failure: str = ""
    """Why the replica failed; empty where there is a ledger."""
    seconds: float = 0.0
    """Wall time that the check took."""

    @property
    def status(self) -> Status:
        """The outcome in a word."""
        if self.ledger is None:
            return "failed"
        return "differs" if self.ledger.differences else "holds"

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many quantities have each verdict, in the order of VERDICTS; none where the replica failed."""
        return verdict_counts(self.ledger.lines) if self.ledger else dict.fromkeys(VERDICTS, 0)

    @property
    def parameters(self) -> int | None:
        """Parameters of the replica as torch counts them; None where the ledger has no such line."""
        lines = self.ledger.lines if self.ledger else ()
        found = (line.measured for line in lines if (line.group, line.name) == ALL_PARAMETERS)
        return next(map(round, found), None)

    @property
    def peak_ratio(self) -> float | None:
        """Measured over predicted peak memory, the one furthest from 1; None where none was taken."""
        lines = self.ledger.lines if self.ledger else ()
        return _furthest(line for line in lines if line.unit == "bytes" and "peak" in _title(line))

    @property
    def time_ratio(self) -> float | None:
        """Measured over predicted wall time, the one furthest from 1; None where none was taken."""
        return _furthest(line for line in (self.ledger.lines if self.ledger else ()) if line.unit == "s")


def verdict_counts(lines: Iterable[Line]) -> dict[Verdict, int]:
    """How many of `lines` have each verdict, in the order of VERDICTS."""
    found = Counter(line.verdict for line in lines)
    return {verdict: found[verdict] for verdict in VERDICTS}


def worst(checks: Iterable[Check]) -> Status:
    """The outcome of all: a failed replica outweighs a difference, since it left something unchecked."""
    found = {check.status for check in checks}
    return "failed" if "failed" in found else "differs" if "differs" in found else "holds"


def groups(lines: Sequence[Line]) -> dict[str, tuple[Line, ...]]:
    """Lines by group, in the order in which the groups first appear."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line.group, []).append(line)
    return {group: tuple(members) for group, members in found.items()}


def _furthest(lines: Iterable[Line]) -> float | None:
    ratios = [line.ratio for line in lines if line.ratio is not None]
    return max(ratios, key=lambda ratio: max(ratio, 1 / ratio) if ratio else inf, default=None)


def _title(line: Line) -> str:
    return f"{line.group} {line.name}".casefold()
