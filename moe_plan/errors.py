"""Every exception that a user may see, with its exit code, and the table of error codes."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

from moe_plan.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ERRORS_SHOWN = 20
WHERE_WIDTH = 1_000
KEY_WIDTH = 160
MESSAGE_WIDTH = 600

CODES: Mapping[str, str] = MappingProxyType(
    {
        "MP101": "the file cannot be read: missing, a folder, no permission, not a regular file",
        "MP102": "the file is larger than a spec may be",
        "MP103": "the file is something else: pickle, weights, a Git LFS pointer, HTML, a config.json",
        "MP104": "the text is not plain UTF-8: another encoding, a NUL, a control character",
        "MP105": "the YAML cannot be parsed",
        "MP106": "the file is empty or holds no mapping",
        "MP107": "the file holds more than one document",
        "MP108": "YAML that specs do not use: anchors, aliases, merge keys, tags, directives",
        "MP109": "a key stands twice in one mapping",
        "MP110": "nested too deeply, too many values, or one value too long",
        "MP111": "a number that cannot be represented: infinite, not a number, too many digits",
        "MP112": "a template placeholder was left in",
        "MP113": "a mapping key is not plain text",
        "MP120": "unknown key",
        "MP121": "a required key is missing",
        "MP122": "a value of the wrong type",
        "MP123": "a value that is not among the allowed ones",
        "MP124": "a number, text or list outside its bounds",
        "MP125": "text that does not have the required form",
        "MP130": "a name that is not defined",
        "MP131": "a run of layers that says too little or too much",
        "MP132": "counts that contradict each other",
        "MP133": "a count that does not divide another",
        "MP134": "options that exclude or need one another",
        "MP135": "a model too large to believe",
        "MP136": "layers that need another layer or part which is not there",
        "MP137": "a checkpoint name that already means something else",
        "MP138": "published figures that contradict each other",
        "MP150": "a routing file that is too large, or neither its JSON nor its CSV",
        "MP151": "a routing file with a key or column missing, unknown or twice, or of another format",
        "MP152": "a routing file whose layer, expert or count is not a whole number in its range",
        "MP153": "a routing file of another model: layers or experts that it has not, or that are missing",
        "MP154": "an expert that a routing file counts twice",
        "MP155": "a routing file in which fewer experts have tokens than one token chooses",
        "MP160": "a figure whose source is not among the file's sources",
        "MP161": "an accelerator of which no memory is given",
        "MP162": "a figure in the wrong unit, or one that no hardware has",
        "MP163": "a system or instance of an accelerator or slice that is not there",
        "MP164": "counts of a system that contradict each other",
        "MP201": "warning: a word that YAML 1.1 reads as true or false was read as text",
        "MP202": "warning: a block is defined and never used",
        "MP203": "warning: a published figure that the layers do not sum to",
        "MP301": "no model of this name in the catalogue",
        "MP302": "no weight format or checkpoint of this name",
        "MP303": "no KV cache format of this name",
        "MP304": "no layer of this number",
        "MP305": "no component of this name",
        "MP306": "no routed experts in this model, or in this layer of it",
        "MP307": "no hardware of this name in the catalogue",
        "MP308": "hardware that is written in a way which is not understood",
        "MP309": "no accelerator of this name with this memory, vendor or slice",
    }
)
"""What each code means. Codes are never reused; 1xx are faults in a file, 2xx
warnings about one, 3xx wrong names on the command line."""


class MoePlanError(Exception):
    """Base of all errors that are reported in one line instead of a traceback."""

    exit_code: ClassVar[int] = 1


class UsageError(MoePlanError):
    """An option or command that does not exist, or options that exclude each other."""

    exit_code: ClassVar[int] = 2


class UnavailableError(MoePlanError):
    """Something outside the input is missing: an extra, the network, a writable output."""

    exit_code: ClassVar[int] = 4


class ReplicaError(MoePlanError):
    """The replica failed: it is larger than free memory allows, took too long, or one of its ranks died."""

    exit_code: ClassVar[int] = 5


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in an input, or one warning about it."""

    code: str
    where: str
    """The file as the user named it, '' where there is none."""
    line: int | None
    column: int | None
    key: str
    """Dotted path of the key, '' at the top."""
    message: str
    severity: Literal["error", "warning"] = "error"

    def render(self) -> str:
        """One line, safe to print: `file:line:column: error[MPnnn] key: message`."""
        place = [clean(self.where, WHERE_WIDTH)] if self.where else []
        place += [str(number) for number in (self.line, self.column) if number is not None]
        start = ":".join(place) + ": " if place else ""
        key = clean(self.key, KEY_WIDTH) + ": " if self.key else ""
        return f"{start}{self.severity}[{self.code}] {key}{clean(self.message, MESSAGE_WIDTH)}"


class InputError(MoePlanError):
    """A spec, name or file is invalid. Holds every problem found, or `more` that were only counted."""

    exit_code: ClassVar[int] = 3

    def __init__(self, problems: Iterable[Problem], more: int = 0) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.more = more
        super().__init__(self.problems, more)

    def __str__(self) -> str:
        lines = [problem.render() for problem in self.problems[:ERRORS_SHOWN]]
        hidden = len(self.problems) - len(lines) + self.more
        if hidden:
            lines.append(f"and {hidden} more problem{'s' if hidden > 1 else ''}")
        return "\n".join(lines)
