"""Text from outside is printed inert; wrong names get the nearest right ones; problems render exactly."""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moe_plan.errors import (
    CODES,
    ERRORS_SHOWN,
    InputError,
    MoePlanError,
    Problem,
    UnavailableError,
    UsageError,
)
from moe_plan.text import UNSAFE_CATEGORIES, clean, did_you_mean, nearest, one_of

SOURCE = Path(__file__).parent.parent / "moe_plan"


@pytest.mark.parametrize(
    ("dirty", "expected"),
    [
        ("plain text", "plain text"),
        ("", ""),
        ("\x1b[31mred", "\ufffd[31mred"),
        ("\x1b]8;;http://x\x07link", "\ufffd]8;;http://x\ufffdlink"),
        ("a\nb\rc\td", "a\ufffdb\ufffdc\ufffdd"),
        ("a\x00b\x7fc\u009bd", "a\ufffdb\ufffdc\ufffdd"),
        ("a\u202eb\u2066c\u200bd\ufeffe", "a\ufffdb\ufffdc\ufffdd\ufffde"),
        ("a\u2028b\u2029c", "a\ufffdb\ufffdc"),
        ("a\ud800b\udcffc", "a\ufffdb\ufffdc"),
        ("a\ue000b", "a\ufffdb"),
        ("[red]markup[/red] |@team ::error:: =cmd()", "[red]markup[/red] |@team ::error:: =cmd()"),
        ("混合专家 é", "混合专家 é"),
    ],
)
def test_clean(dirty: str, expected: str) -> None:
    assert clean(dirty) == expected


def test_clean_cuts_with_an_ellipsis() -> None:
    assert clean("x" * 120) == "x" * 120
    assert clean("x" * 121) == "x" * 119 + "…"
    assert clean("abcdef", width=3) == "ab…"
    assert len(clean("\x1b" * 10_000_000, width=80)) == 80


@given(st.text(st.characters(), max_size=200))
def test_cleaned_text_is_printable_and_stays(s: str) -> None:
    cleaned = clean(s)
    assert len(cleaned) <= 120
    assert not {unicodedata.category(c) for c in cleaned} & UNSAFE_CATEGORIES
    assert clean(cleaned) == cleaned
    cleaned.encode()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("topk", ("top_k",)),
        ("TOP_K", ("top_k",)),
        ("expert", ("experts",)),
        ("Experts", ("experts",)),
        ("nothing like it", ()),
        ("", ()),
        ("experts" * 100, ()),
    ],
)
def test_nearest(name: str, expected: tuple[str, ...]) -> None:
    assert nearest(name, ("experts", "top_k", "width", "Router")) == expected


def test_nearest_are_three_at_most_in_their_own_case() -> None:
    assert nearest("mixtral", ("Mixtral-A", "Mixtral-B", "Mixtral-C", "Mixtral-D", "x"))[0].startswith(
        "Mixtral-"
    )
    assert len(nearest("mixtral", ("Mixtral-A", "Mixtral-B", "Mixtral-C", "Mixtral-D"))) == 3


def test_did_you_mean() -> None:
    assert did_you_mean("topk", ("top_k", "width")) == "; did you mean top_k?"
    assert did_you_mean("kv_ranks", ("kv_rank", "q_rank")) == "; did you mean kv_rank or q_rank?"
    assert did_you_mean("zzz", ("top_k",)) == ""


def test_one_of() -> None:
    assert [one_of(words) for words in ((), ("a",), ("a", "b"), ("a", "b", "c"))] == [
        "",
        "a",
        "a or b",
        "a, b or c",
    ]
    assert one_of(("a", "b"), "and") == "a and b"


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (
            Problem("MP120", "spec.yaml", 4, 3, "model.topk", "unknown key; did you mean top_k?"),
            "spec.yaml:4:3: error[MP120] model.topk: unknown key; did you mean top_k?",
        ),
        (Problem("MP101", "a b.yaml", None, None, "", "no such file"), "a b.yaml: error[MP101] no such file"),
        (Problem("MP105", "a.yaml", 4, None, "", "broken"), "a.yaml:4: error[MP105] broken"),
        (Problem("MP301", "", None, None, "", "unknown"), "error[MP301] unknown"),
        (
            Problem("MP201", "a", 1, 2, "k", "read as text", "warning"),
            "a:1:2: warning[MP201] k: read as text",
        ),
        (
            Problem("MP120", "a\x1b\n.yaml", 1, 2, "k\udcff", "x\u202ey"),
            "a\ufffd\ufffd.yaml:1:2: error[MP120] k\ufffd: x\ufffdy",
        ),
    ],
)
def test_problem_renders(problem: Problem, expected: str) -> None:
    assert problem.render() == expected


def test_input_error_shows_twenty_and_counts_the_rest() -> None:
    problems = [Problem("MP120", "a", line, 1, "k", "unknown key") for line in range(1, 31)]
    assert str(InputError(problems[:1])) == "a:1:1: error[MP120] k: unknown key"
    assert str(InputError(problems)).splitlines()[ERRORS_SHOWN:] == ["and 10 more problems"]
    assert str(InputError(problems[:1], more=1)).splitlines()[1:] == ["and 1 more problem"]


def test_exit_codes() -> None:
    codes = {error: error.exit_code for error in (MoePlanError, UsageError, InputError, UnavailableError)}
    assert codes == {MoePlanError: 1, UsageError: 2, InputError: 3, UnavailableError: 4}


def test_every_code_used_is_in_the_table() -> None:
    used = {
        code
        for path in SOURCE.rglob("*.py")
        for code in re.findall(r'"(MP\d{3})"', path.read_text(encoding="utf-8"))
        if path.name != "errors.py"
    }
    assert used - {"MP200"} == set(CODES)


def test_importing_errors_and_text_is_cheap() -> None:
    code = "import sys, moe_plan.errors, moe_plan.text; print(sorted({'pydantic', 'yaml', 'difflib'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SOURCE.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
