"""PyYAML's parser as a stream of events, and its complaints in plain English."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from yaml import MarkedYAMLError, YAMLError, events
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner

from moe_plan.errors import Problem
from moe_plan.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaml.error import Mark

PLACEHOLDER_MESSAGE = "a template placeholder was left in; specs are not expanded, write the value"

_UNCLOSED = {
    "while parsing a flow sequence": "the list that opens here is not closed with ]",
    "while parsing a flow mapping": "the mapping that opens here is not closed with }",
    "while scanning a quoted scalar": "the quote that opens here is not closed",
}
# What the parsers say (libyaml first, PyYAML's own after it), and what a person would.
_SENTENCES = {
    "mapping values are not allowed": "a ':' where no key can stand; check the indentation, or use quotes",
    "find expected key": "no key can stand here; check indentation, brackets and quotes up to this point",
    "expected <block end>": "no key can stand here; check indentation, brackets and quotes up to this point",
    "expected node content": "a value is missing here, or a bracket or comma is one too many",
    "expected the node content": "a value is missing here, or a bracket or comma is one too many",
    "find expected ':'": "a ':' is missing after this key",
    "expected '-' indicator": "expected the next '- ' of the list; check the indentation",
    "invalid Unicode character escape": "an escape that is not a character",
    "unknown escape character": "an unknown escape; write \\\\ for a backslash, or use single quotes",
}

Kind = Literal["document", "mapping", "list", "scalar", "alias", "close", "document end", "end"]
_KINDS: dict[type[events.Event], Kind] = {
    events.DocumentStartEvent: "document",
    events.MappingStartEvent: "mapping",
    events.SequenceStartEvent: "list",
    events.ScalarEvent: "scalar",
    events.AliasEvent: "alias",
    events.MappingEndEvent: "close",
    events.SequenceEndEvent: "close",
    events.DocumentEndEvent: "document end",
    events.StreamEndEvent: "end",
}
# What specs do not use, by the attribute of PyYAML's event that shows it.
_REFUSALS = {
    "anchor": "anchors (&name) are not used in specs; delete the anchor",
    "tag": "tags (!name) are not used in specs; delete the tag",
    "tags": "directives are not used in specs; delete the line with '%'",
}
_YAML_VERSIONS = (None, (1, 2))


@dataclass(frozen=True, slots=True)
class Event:
    """One step of the parser. Lines and columns count from 1."""

    kind: Kind
    line: int
    column: int
    text: str = ""
    """The text of a scalar."""
    quoted: bool = False
    """Whether a scalar stands in quotes or is a block scalar, and so is text whatever it says."""
    refusal: str = ""
    """Why a spec may not hold this: an anchor, an alias, a tag, a directive."""


class PurePythonParser(Reader, Scanner, Parser):
    """PyYAML's own parser, for installations without libyaml: six to ten times slower, same events."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)


def event_stream(text: str) -> Iterator[Event]:
    """The events of `text`, from the document on. Raises YAMLError when it comes to a fault."""
    parser = _parser(text)
    parser.get_event()  # the start of the stream
    while parser.check_event():
        yield _plain(parser.get_event())


def _parser(text: str) -> Any:
    try:
        # Absent where PyYAML was built without libyaml; the stubs do not know it.
        from yaml.cyaml import CParser  # type: ignore[attr-defined]  # noqa: PLC0415
    except ImportError:
        return PurePythonParser(text)
    return CParser(text)


def _plain(event: Any) -> Event:
    mark = event.start_mark
    kind = _KINDS[type(event)]
    line, column = mark.line + 1, mark.column + 1
    if kind == "alias":
        return Event(kind, line, column, refusal="aliases (*name) are not used in specs; write the value out")
    refusal = next((message for name, message in _REFUSALS.items() if getattr(event, name, None)), "")
    if kind == "document" and event.version not in _YAML_VERSIONS:
        refusal = _REFUSALS["tags"]
    if kind == "scalar":
        return Event(kind, line, column, event.value, bool(event.style), refusal)
    return Event(kind, line, column, refusal=refusal)


def syntax_problem(error: YAMLError, text: str, where: str) -> Problem:
    """What the parser refused, and where."""
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return Problem("MP105", where, None, None, "", "the YAML cannot be parsed")
    at = error.problem_mark
    if _holds_placeholder(text, at):
        return Problem("MP112", where, at.line + 1, at.column + 1, "", PLACEHOLDER_MESSAGE)
    opened = _UNCLOSED.get(error.context or "")
    if opened and error.context_mark is not None and "escape" not in str(error.problem):
        at, message = error.context_mark, f"{opened} before line {at.line + 1}, column {at.column + 1}"
    else:
        message = _explained(error, _character(text, at))
    return Problem("MP105", where, at.line + 1, at.column + 1, "", message)


def _explained(error: MarkedYAMLError, character: str) -> str:
    problem = str(error.problem)
    if "cannot start any token" in problem:
        return (
            "a tab; indent with spaces"
            if character == "\t"
            else f"a value cannot begin with '{clean(character)}'; quote it"
        )
    for fragment, sentence in _SENTENCES.items():
        if fragment in problem:
            return sentence
    context = f"{error.context}: " if error.context else ""
    return f"the YAML cannot be parsed: {context}{problem}"


def _line(text: str, at: Mark) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[at.line] if at.line < len(lines) else ""


def _character(text: str, at: Mark) -> str:
    return _line(text, at)[at.column : at.column + 1]


def _holds_placeholder(text: str, at: Mark) -> bool:
    line = _line(text, at)
    return "{{" in line or "{%" in line
