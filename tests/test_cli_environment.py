"""Colour, width, encodings, closed streams: what the environment may do to the output, and what not."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest
from conftest import README_MODELS, bare_environment, run_cli, run_shell
from test_cli_errors import with_reader_gone

COMPARE = ("compare", *README_MODELS)
ESCAPE = "\x1b"
WIDE = (*COMPARE, "dbrx", "grok-1", "longcat-flash", "deepseek-v4-flash", "qwen3-next-80b-a3b")


def on_terminal(*arguments: str, **extra: str) -> str:
    """What a terminal 80 columns wide receives."""
    master, slave = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "moe_plan", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        env=bare_environment(**extra),
    )
    os.close(slave)
    received = b""
    while True:
        try:
            piece = os.read(master, 65_536)
        except OSError:
            break
        if not piece:
            break
        received += piece
    os.close(master)
    assert process.wait(timeout=20) == 0
    return received.decode().replace("\r\n", "\n")


def without_escapes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize(
    ("environment", "options", "has_color"),
    [
        ({}, (), False),
        ({"FORCE_COLOR": "1"}, (), True),
        ({"FORCE_COLOR": "0"}, (), False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, (), False),
        ({"FORCE_COLOR": "1", "NO_COLOR": ""}, (), True),
        ({"FORCE_COLOR": "1"}, ("--color", "never"), False),
        ({"NO_COLOR": "1"}, ("--color", "always"), True),
        ({"GITHUB_ACTIONS": "1"}, (), False),
        ({"CLICOLOR": "1"}, (), False),
        ({"CLICOLOR_FORCE": "1", "PY_COLORS": "1", "TTY_COMPATIBLE": "1"}, (), False),
    ],
)
def test_color_in_a_pipe(environment, options, has_color):
    ran = run_cli(*COMPARE, *options, **environment)
    assert ran.code == 0
    assert (ESCAPE in ran.out) == has_color


@pytest.mark.parametrize(
    ("environment", "options", "has_color"),
    [
        ({}, (), True),
        ({"NO_COLOR": "1"}, (), False),
        ({"CLICOLOR": "0"}, (), False),
        ({"CLICOLOR": "0", "FORCE_COLOR": "1"}, (), True),
        ({"TERM": "dumb"}, (), False),
        ({"FORCE_COLOR": "0"}, (), False),
        ({}, ("--color", "never"), False),
    ],
)
def test_color_on_a_terminal(environment, options, has_color):
    assert (ESCAPE in on_terminal(*COMPARE, *options, **environment)) == has_color


def test_color_changes_nothing_but_color():
    plain = run_cli(*COMPARE, COLUMNS="80").out
    colored = run_cli(*COMPARE, COLUMNS="80", FORCE_COLOR="1").out
    assert without_escapes(colored).replace("\u2500", "-") == plain


def test_a_terminal_of_80_columns_is_filled_and_not_exceeded():
    for arguments in (WIDE, ("explain", "mixtral-8x7b"), ("models",)):
        lines = without_escapes(on_terminal(*arguments)).splitlines()
        # The source is an address, which is shown whole.
        assert max(len(line) for line in lines if "https://" not in line) <= 80
    assert {len(line) for line in without_escapes(on_terminal(*COMPARE)).splitlines()[:3]} >= {80}


def test_splitting_keeps_every_cell():
    narrow, wide = run_cli(*WIDE, COLUMNS="60").out, run_cli(*WIDE).out
    assert max(map(len, narrow.splitlines())) <= 60
    words = wide.split("\n\n")[0].split()
    remaining = narrow.split()
    for word in words:
        if set(word) != {"-"}:
            assert word in remaining


@pytest.mark.parametrize("columns", ["0", "abc", "-5", "", " 80", "9" * 30, "1e3"])
def test_columns_that_make_no_sense_are_ignored(columns):
    assert run_cli(*COMPARE, COLUMNS=columns) == run_cli(*COMPARE)


def test_ten_columns_cut_no_number():
    ran = run_cli(*COMPARE, COLUMNS="10", TERMINAL_WIDTH="x")
    assert ran.code == 0
    assert "131,072 B" in ran.out
    assert run_cli("--help", COLUMNS="10").code == 0


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX"}])
@pytest.mark.parametrize("form", ["table", "markdown"])
def test_an_ascii_locale_gets_ascii(environment, form):
    ran = run_cli("compare", "mixtral-8x7b", "deepseek-v4-flash", "--format", form, **environment)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.isascii()


@pytest.mark.parametrize("form", ["table", "markdown", "csv", "json"])
def test_hostile_text_of_a_spec_is_inert(form, small_spec):
    for command in ("compare", "explain"):
        ran = run_cli(command, str(small_spec), "--format", form, PYTHONIOENCODING="ascii")
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.isascii()
        assert ESCAPE not in ran.out


def test_an_ascii_terminal_gets_ascii_rules():
    assert without_escapes(on_terminal(*COMPARE, PYTHONIOENCODING="ascii")).isascii()


def test_a_surrogate_in_an_argument_is_replaced_on_standard_error():
    ran = run_shell("moe-plan compare $'a\\xff'")
    assert ran.code == 3
    assert "\ufffd" in ran.err or "?" in ran.err


@pytest.mark.parametrize(
    "arguments", [(), ("--help",), ("--version",), ("compare", "-h"), ("schema",), COMPARE]
)
class TestStreams:
    """Everything that prints survives a closed pipe, a closed stream and a full disk."""

    def test_reader_gone(self, arguments):
        assert with_reader_gone(*arguments) == (141, "")

    def test_closed(self, arguments):
        ran = run_shell(f"moe-plan {' '.join(arguments)} >&-")
        assert (ran.code, ran.err) == (0, "")

    def test_full(self, arguments):
        ran = run_shell(f"moe-plan {' '.join(arguments)} >/dev/full")
        assert (ran.code, ran.err) == (4, "moe-plan: error: cannot write: No space left on device\n")


def test_errors_keep_their_code_with_nowhere_to_go():
    for redirection in ("2>&-", ">&- 2>&-", "2>/dev/full"):
        assert run_shell(f"moe-plan compare nothing {redirection}").code == 3


def test_head_ends_quietly():
    ran = run_shell("moe-plan explain deepseek-v3 --format json | head -1; exit ${PIPESTATUS[0]}")
    assert ran.out == "{\n"
    assert ran.err == ""
    assert ran.code in (0, 141)
