"""YAML 1.2 scalars, places and limits of the event reader, against what YAML 1.1 readers do."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moe_plan.errors import InputError
from moe_plan.spec import limits
from moe_plan.spec.hardware import HardwareSpec
from moe_plan.spec.model import ModelSpec
from moe_plan.spec.scalars import ScalarError, parsed_scalar
from moe_plan.spec.shape import Member, expected_at, members
from moe_plan.spec.wording import FORMS
from moe_plan.spec.yaml_reader import dotted, read_yaml
from moe_plan.spec.yaml_text import position


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[("", None), ("~", None), ("null", None), ("Null", None), ("NULL", None), ("nULL", "nULL")],
        *[
            ("true", True),
            ("True", True),
            ("TRUE", True),
            ("false", False),
            ("FALSE", False),
            ("tRUE", "tRUE"),
        ],
        *[(word, word) for word in ("yes", "NO", "on", "Off", "y", "n")],
        *[
            ("0", 0),
            ("17", 17),
            ("-17", -17),
            ("+17", 17),
            ("017", 17),
            ("08", 8),
            ("0o17", 15),
            ("0xFf", 255),
        ],
        *[("1_000", "1_000"), ("1:30", "1:30"), ("12:30:45", "12:30:45"), ("0b11", "0b11"), ("-0x1", "-0x1")],
        *[("2024-13-45", "2024-13-45"), ("2024-01-01", "2024-01-01"), ("1,000", "1,000"), ("１２", "１２")],
        *[("1e6", 1_000_000), ("1.0e6", 1_000_000), ("1E+6", 1_000_000), ("12.5e1", 125), ("100e-2", 1)],
        *[
            ("-2e3", -2_000),
            ("0e0", 0),
            ("0e5", 0),
            ("1e39", 10**39),
            ("123456789012345678e2", 12345678901234567800),
        ],
        *[
            ("1.0", 1.0),
            ("2.5", 2.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1.5e0", 1.5),
            ("1e-3", 0.001),
            ("1e100", 1e100),
        ],
        *[("1e-9999999", 0.0), ("0e9999999", 0.0), ("0.0", 0.0), ("-.5", -0.5)],
        *[(".", "."), ("-", "-"), ("+", "+"), ("e5", "e5"), ("1e", "1e"), ("1.2.3", "1.2.3"), ("0x", "0x")],
        *[(".infinity", ".infinity"), ("inf", "inf"), ("nan", "nan"), ("-.nan", "-.nan"), ("7B", "7B")],
        ("0" * 4_000 + "8", 8),
        ("9" * limits.INT_DIGITS, 10**limits.INT_DIGITS - 1),
    ],
)
def test_scalar(text: str, expected: object) -> None:
    value = parsed_scalar(text)
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(
    "text",
    [
        *(
            ".inf",
            "-.inf",
            "+.INF",
            ".nan",
            ".NaN",
            "1e400",
            "-1E400",
            "1.0e+400",
            "695e0514",
            "1e99999999999",
        ),
        *("9" * (limits.INT_DIGITS + 1), "0x" + "f" * 41, "0o" + "7" * 41, "9" * 400 + "."),
    ],
)
def test_number_out_of_range(text: str) -> None:
    with pytest.raises(ScalarError):
        parsed_scalar(text)


@given(st.from_regex(r"\A[-+]?[0-9.]{0,50}([eE][-+]?[0-9]{0,12})?\Z"))
def test_anything_like_a_number_is_read_or_refused(text: str) -> None:
    try:
        value = parsed_scalar(text)
    except ScalarError:
        return
    if isinstance(value, int | float) and not isinstance(value, bool):
        assert value == float(text) or isinstance(value, int)


@given(st.integers(-(10**limits.INT_DIGITS) + 1, 10**limits.INT_DIGITS - 1))
def test_integers_come_back(number: int) -> None:
    assert parsed_scalar(str(number)) == number


@pytest.mark.parametrize(
    ("yaml", "value"),
    [
        (b"a: '8'", "8"),
        (b'a: "true"', "true"),
        (b"a: ''", ""),
        (b"a: |\n  8\n", "8\n"),
        (b"a: >-\n  null\n", "null"),
        (b'a: "\\x1b"', "\x1b"),
        (b'a: "\\u00e9\\U0001F600"', "é\U0001f600"),
        ("a: é".encode(), "é"),
        (b"a: x # comment", "x"),
        (b"a: x#y", "x#y"),
        (b"a: https://x.y/z", "https://x.y/z"),
        (b"a: {b: [1, {c: 2}]}", {"b": (1, {"c": 2})}),
        (b"a:\n- 1\n- 2\n", (1, 2)),
        (b"a:", None),
        (b"a: [true, ~, 1.5]", (True, None, 1.5)),
    ],
)
def test_values(yaml: bytes, value: object) -> None:
    assert read_yaml(yaml, "x").value == {"a": value}


def test_keys_are_text() -> None:
    value = read_yaml(b"on: 1\nno: 2\nnull: 3\n1: 4\n1.0: 5\ntrue: 6\n? 'q'\n: 7\n", "x").value
    assert value == {"on": 1, "no": 2, "null": 3, "1": 4, "1.0": 5, "true": 6, "q": 7}


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_places(line_end: str, mark: str) -> None:
    lines = ["# é", "a:", "  - {b: 1, c: 'é'}", "  -", "    d: e", "f: é"]
    places = read_yaml((mark + line_end.join(lines)).encode(), "x").places
    found = {dotted(path): (p.key_line, p.key_column, p.line, p.column, p.text) for path, p in places.items()}
    assert found == {
        "": (2, 1, 2, 1, None),
        "a": (2, 1, 3, 3, None),
        "a.0": (3, 5, 3, 5, None),
        "a.0.b": (3, 6, 3, 9, "1"),
        "a.0.c": (3, 12, 3, 15, "é"),
        "a.1": (5, 5, 5, 5, None),
        "a.1.d": (5, 5, 5, 8, "e"),
        "f": (6, 1, 6, 4, "é"),
    }


def test_position_counts_every_line_end_once() -> None:
    assert [position(text) for text in ("", "ab", "a\n", "a\r\nb", "a\rb\r", "\n\n\r\n")] == [
        (1, 1),
        (1, 3),
        (2, 1),
        (2, 2),
        (3, 1),
        (4, 1),
    ]


def refused(data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read_yaml(data, "x")
    return caught.value.problems[0].code


def test_depth_is_limited_exactly() -> None:
    inner = limits.DEPTH - 1
    assert read_yaml(b"a: " + b"[" * inner + b"]" * inner, "x").value
    assert refused(b"a: " + b"[" * (inner + 1) + b"]" * (inner + 1)) == "MP110"


def test_nodes_are_limited_exactly() -> None:
    items = limits.NODES - 3
    assert read_yaml(b"a: [" + b"1," * items + b"]", "x").value
    assert refused(b"a: [" + b"1," * (items + 1) + b"]") == "MP110"


def test_scalars_are_limited_exactly() -> None:
    assert read_yaml(b"a: '" + b"x" * limits.SCALAR_CHARS + b"'", "x").value
    assert refused(b"a: '" + b"x" * (limits.SCALAR_CHARS + 1) + b"'") == "MP110"


def test_size_is_limited_exactly() -> None:
    padding = limits.SPEC_BYTES - len(b"a: 1\n#")
    assert read_yaml(b"a: 1\n#" + b"x" * padding, "x").value == {"a": 1}
    assert refused(b"a: 1\n#" + b"x" * (padding + 1)) == "MP102"


@given(st.binary(max_size=60) | st.text("[]{},:-?&*!|>'\"%@`#\n ab1.~\\", max_size=60).map(str.encode))
def test_no_bytes_escape_the_reader(data: bytes) -> None:
    try:
        document = read_yaml(data, "x")
    except InputError as error:
        assert len(error.problems) == 1
        return
    assert isinstance(document.value, dict)


# What the schema expects, as the messages read it


def patterns(candidates: tuple[Member, ...]) -> set[str]:
    """Every pattern below a type, each class visited once."""
    found: set[str] = set()
    waiting, seen = list(candidates), set()
    while waiting:
        member = waiting.pop()
        if isinstance(pattern := member.bound("pattern"), str):
            found.add(pattern)
        if member.model and member.model not in seen:
            seen.add(member.model)
            fields = member.model.model_fields.values()
            waiting += [
                inner for field in fields for inner in members(field.annotation, tuple(field.metadata))
            ]
        elif not member.choices:
            waiting += [inner for argument in get_args(member.annotation) for inner in members(argument)]
    return found


def test_every_pattern_of_the_schema_has_words() -> None:
    assert patterns(members(ModelSpec)) | patterns(members(HardwareSpec)) == set(FORMS)


def test_expected_at_follows_runs_in_runs() -> None:
    value = {"layers": ({"pattern": ({"repeat": 0},)},)}
    (member,) = expected_at(ModelSpec, ("layers", 0, "pattern", 0, "repeat"), value)
    assert (member.annotation, member.bound("ge"), member.bound("le")) == (int, 1, limits.LAYERS)


def test_expected_at_an_unknown_path_is_nothing() -> None:
    assert expected_at(ModelSpec, ("nothing", "here"), {"nothing": {"here": 1}}) == ()
