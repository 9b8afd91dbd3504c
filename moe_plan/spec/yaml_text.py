"""Bytes to the text that the YAML parser may see: UTF-8, printable, no surprises about line ends."""

from __future__ import annotations

import re

from moe_plan.errors import InputError, Problem
from moe_plan.spec import limits

_BYTE_ORDER_MARK = "\ufeff"
_UTF_16_OR_32 = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")

# What YAML 1.2 calls not printable, and U+0085, U+2028, U+2029, which YAML 1.1 parsers take for line ends.
_FORBIDDEN = re.compile(
    "[^\t\n\r -~\u00a0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_LINE_END = re.compile("\r\n|\r|\n")


def decoded(data: bytes, where: str) -> str:
    """The text of a YAML file without its byte order mark. Raises InputError with line and column."""
    if len(data) > limits.SPEC_BYTES:
        message = f"larger than {limits.SPEC_BYTES // 1024} KiB, the most that a spec may have"
        raise InputError([Problem("MP102", where, None, None, "", message)])
    return plain_text(data, where)


def plain_text(data: bytes, where: str) -> str:
    """The text of a file without its byte order mark. Raises InputError for what is not plain UTF-8."""
    if data.startswith(_UTF_16_OR_32):
        raise _fault(where, "", "the file is UTF-16 or UTF-32; save it as UTF-8")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        raise _fault(
            where, before, f"byte 0x{data[error.start]:02x} is not UTF-8; save it as UTF-8"
        ) from None
    text = text.removeprefix(_BYTE_ORDER_MARK)
    found = _FORBIDDEN.search(text)
    if found:
        raise _fault(where, text[: found.start()], _forbidden_message(ord(found.group())))
    return text


def position(before: str) -> tuple[int, int]:
    """Line and column, from 1, of the character that follows `before`."""
    line, start = 1, 0
    for end in _LINE_END.finditer(before):
        line, start = line + 1, end.end()
    return line, len(before) - start + 1


def _fault(where: str, before: str, message: str) -> InputError:
    line, column = position(before.removeprefix(_BYTE_ORDER_MARK))
    return InputError([Problem("MP104", where, line, column, "", message)])


def _forbidden_message(code_point: int) -> str:
    if code_point == 0:
        return "a NUL character; is the file binary, or UTF-16?"
    return f"the character U+{code_point:04X} may not stand in a spec; inside quotes write it as an escape"
