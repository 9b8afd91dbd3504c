"""What an unquoted YAML scalar means: the YAML 1.2 core schema, with bounds.

Unlike YAML 1.1, `no` and `1:30` are text, `017` is seventeen and `1e6` is the whole number 1000000.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

from moe_plan.spec import limits

Scalar = str | int | float | bool | None

NULLS = frozenset({"", "~", "null", "Null", "NULL"})
TRUES = frozenset({"true", "True", "TRUE"})
FALSES = frozenset({"false", "False", "FALSE"})

# PyYAML and other YAML 1.1 readers make booleans of these; here they stay text, with a warning.
YAML_1_1_BOOLEANS = frozenset(
    form for word in ("yes", "no", "on", "off") for form in (word, word.capitalize(), word.upper())
)

_DECIMAL = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE](?P<exponent>[-+]?[0-9]+))?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_EXPONENT_DIGITS = 6

_NO_INFINITY = "infinities and NaN are not allowed; write a finite number"
_TOO_MANY_DIGITS = f"a whole number of more than {limits.INT_DIGITS} digits; quote it if it is text"
_OUT_OF_RANGE = "the number is out of range; quote it if it is text, such as a commit hash"


class ScalarError(ValueError):
    """A number that cannot be represented; the text of the exception is the message to show."""


def parsed_scalar(text: str) -> Scalar:
    """The value of an unquoted scalar. Raises ScalarError for infinite and oversized numbers."""
    if text in NULLS:
        return None
    if text in TRUES or text in FALSES:
        return text in TRUES
    if text[0] not in "+-.0123456789":
        return text
    if _NOT_FINITE.fullmatch(text):
        raise ScalarError(_NO_INFINITY)
    for pattern, prefix, base in ((_DECIMAL, "", 10), (_OCTAL, "0o", 8), (_HEXADECIMAL, "0x", 16)):
        if pattern.fullmatch(text):
            return _whole(text.removeprefix(prefix), base)
    match = _FLOAT.fullmatch(text)
    return _decimal(text, match["exponent"]) if match else text


def _whole(digits: str, base: int) -> int:
    if len(digits.lstrip("+-").lstrip("0")) > limits.INT_DIGITS:
        raise ScalarError(_TOO_MANY_DIGITS)
    return int(digits, base)


def _decimal(text: str, exponent: str | None) -> int | float:
    """`1e6` is a count written short, so a whole value with an exponent becomes an int."""
    value = float(text)
    if math.isinf(value):
        raise ScalarError(_OUT_OF_RANGE)
    if exponent is None or len(exponent) > _EXPONENT_DIGITS:
        return value
    exact = Decimal(text)
    is_short = exact.adjusted() < limits.INT_DIGITS
    return int(exact) if is_short and exact == exact.to_integral_value() else value
