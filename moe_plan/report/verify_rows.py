"""Lines of a ledger as rows: numbers in words, and what may stand together on one row."""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING, Literal, NamedTuple

from moe_plan.plan.verification import VERDICTS, groups, verdict_counts
from moe_plan.report import numbers
from moe_plan.report.table import Row, section, texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moe_plan.plan.ledger import Line, Unit

Shown = Literal["all", "differences", "auto"]
"""Which lines of a ledger have a row of their own; `auto` lets equal ones stand together."""

_FEW = 3
_ADDITIVE: frozenset[Unit] = frozenset({"parameters", "elements", "bytes", "FLOP"})
_SUM = "all "
_NUMBERED = re.compile(r"[0-9]+$")
_HEAD = re.compile(r"[^. ]+[. ]")
_MILLION = 10**6


class Style(NamedTuple):
    """How much room there is."""

    narrow: bool
    """Large numbers are rounded, and their units are those of the group."""
    notes: bool
    """There is a column for notes."""


class Shared(NamedTuple):
    """A row to be: a line that stands for `size` equal ones, or for itself."""

    line: Line
    size: int = 1


def rows(lines: Sequence[Line], shown: Shown, style: Style) -> Iterator[Row]:
    """The rows of one ledger, group by group."""
    for group, members in groups(lines).items():
        if shown == "differences":
            members = tuple(line for line in members if line.verdict == "differs")  # noqa: PLW2901  the rest is hidden
        if shown == "auto" and _is_one_row(group, members):
            yield row(_total(group, members), style, indent="")
        elif members:
            yield section(f"{group}: {tally(members)}")
            kept = _collapsed(members) if shown == "auto" else map(Shared, members)
            yield from (row(shared, style) for shared in kept)


def row(shared: Shared, style: Style, indent: str = "  ") -> Row:
    """One row: name, predicted, measured, ratio, verdict, and the note where there is a column for it."""
    line = shared.line
    verdict = f"{shared.size} equal" if shared.size > 1 else verdict_text(line)
    cells = *_numbers(line, narrow=style.narrow), ratio_text(line.ratio), verdict
    note = (line.note,) if style.notes else ()
    return Row(texts(indent + line.name, *cells, *note), "alarm" if line.verdict == "differs" else "body")


def tally(lines: Sequence[Line]) -> str:
    """`12 equal, 1 within, 2 differ`: the verdicts that occur."""
    found = verdict_counts(lines)
    named = {"differs": "differ" if found["differs"] != 1 else "differs"}
    return ", ".join(
        f"{found[verdict]} {named.get(verdict, verdict)}" for verdict in VERDICTS if found[verdict]
    )


def _numbers(line: Line, *, narrow: bool) -> tuple[str, str]:
    """Predicted and measured; exact, or with their difference, where rounding would make them look equal."""
    predicted, measured = (
        quantity(value, line.unit, narrow=narrow) for value in (line.predicted, line.measured)
    )
    if predicted != measured or line.verdict != "differs":
        return predicted, measured
    if not narrow:
        return _exact(line.predicted, line.unit), _exact(line.measured, line.unit)
    difference = line.measured - line.predicted
    sign = "-" if difference < 0 else "+"
    return predicted, sign + _exact(abs(difference), line.unit).removesuffix(" FLOP")


def verdict_text(line: Line) -> str:
    """The verdict, with the band where it had one to keep."""
    band = "" if line.band is None else f"{line.band * 100:.2g}%"
    if line.verdict == "differs":
        return f"DIFFERS >{band}" if band else "DIFFERS"
    return f"within {band}" if line.verdict == "within" else line.verdict


def ratio_text(ratio: float | None) -> str:
    """Four decimals where they matter: 1 is exactly 1, and 1.0000 only nearly."""
    if ratio is None:
        return numbers.MISSING
    return "1" if ratio == 1 else f"{ratio:.4f}" if ratio < 10 else numbers.ratio(ratio)  # noqa: PLR2004


def quantity(value: float, unit: Unit, *, narrow: bool = False) -> str:
    """A number as people read it in its unit."""
    if not isfinite(value):
        return str(value)
    if unit == "s":
        return numbers.seconds(value)
    if unit == "experts":
        return f"{value:.2f}"
    if unit == "bytes":
        return numbers.size(round(value))
    if unit == "FLOP":
        return numbers.brief(round(value)) if narrow else numbers.flops(round(value))
    return numbers.count(round(value)) if narrow and value >= _MILLION else numbers.exact(round(value))


def _exact(value: float, unit: Unit) -> str:
    if unit in ("s", "experts") or not isfinite(value):
        return f"{value:.9g}"
    text = numbers.exact(round(value)) if value == round(value) else f"{value:,.6f}"
    return text + {"bytes": " B", "FLOP": " FLOP"}.get(unit, "")


def _is_one_row(group: str, lines: Sequence[Line]) -> bool:
    """Groups that repeat an earlier one, of a further step or of full width, where all of it is equal."""
    repeats = bool(_NUMBERED.search(group)) or group.startswith("full width")
    return repeats and len(lines) > 1 and _is_equal(lines) and len({line.unit for line in lines}) == 1


def _collapsed(lines: Sequence[Line]) -> Iterator[Shared]:
    """Equal lines with the same first word as one, where the group is long; the others as they are."""
    if len(lines) <= _FEW:
        yield from map(Shared, lines)
        return
    heaps: dict[tuple[str, str], list[Line]] = {}
    for index, line in enumerate(lines):
        head = _HEAD.match(line.name)
        may_join = line.verdict == "equal" and line.unit in _ADDITIVE and not line.name.startswith(_SUM)
        key = (head[0], line.unit) if head and may_join else ("", str(index))
        heaps.setdefault(key, []).append(line)
    for (head_text, _), members in heaps.items():
        yield Shared(members[0]) if len(members) == 1 else _total(f"{head_text}*", members)


def _total(name: str, lines: Sequence[Line]) -> Shared:
    """Equal lines as one: the group's own sum where it has one, else theirs."""
    sums = [line for line in lines if line.name.startswith(_SUM)][:1] or lines
    value = sum(line.measured for line in sums)
    notes = {line.note for line in lines}
    note = notes.pop() if len(notes) == 1 else ""
    joined = lines[0]._replace(name=name, predicted=value, measured=value, band=None, note=note)
    return Shared(joined, len(lines))


def _is_equal(lines: Sequence[Line]) -> bool:
    return all(line.verdict == "equal" for line in lines)
