"""What a rule finds wrong, before it has a line and a column."""

from __future__ import annotations

from dataclasses import dataclass, replace

from moe_plan.errors import Problem
from moe_plan.spec.yaml_reader import Document, Path, dotted


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that does not hold, at a path of the spec. Codes from MP200 on are warnings."""

    code: str
    path: Path
    message: str

    @property
    def is_warning(self) -> bool:
        """Whether the spec is accepted all the same."""
        return self.code >= "MP200"


def placed(finding: Finding, document: Document) -> Problem:
    """The finding at the value it names, or at the nearest mapping above where the key was left out."""
    path = finding.path
    while path and path not in document.places:
        path = path[:-1]
    place = document.places[path]
    # What is said of a whole block or part is said at its name.
    at_name = path != finding.path or place.text is None
    line, column = (place.key_line, place.key_column) if at_name else (place.line, place.column)
    problem = Problem(finding.code, document.where, line, column, dotted(finding.path), finding.message)
    return replace(problem, severity="warning") if finding.is_warning else problem
