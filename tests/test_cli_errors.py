"""Every exit code that is documented is reached, and what the error line says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import bare_environment, run_cli, run_shell
from fake_witness import run_fake

from moe_plan.cli import exit_codes

BUG = """
import sys
import moe_plan.cli.main as program

def broken(*_):
    raise ZeroDivisionError("one [red] \\x1b")

program.parse = broken
sys.exit(program.run(sys.argv[1:]))
"""


def run_bug(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", BUG, *arguments], capture_output=True, env=bare_environment(), check=False
    )
    assert done.stdout == b""
    return done.returncode, done.stderr.decode()


def stopped_by(number: int) -> int:
    """Exit code of a command that waits for its standard input when the signal comes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "moe_plan", "compare", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=bare_environment(),
        # A run in the background of a script ignores Ctrl-C, and its children would too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    time.sleep(1.0)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (out, err) == (b"", b"")
    return process.returncode


def with_reader_gone(*arguments: str) -> tuple[int, str]:
    """Exit code and errors of a command whose standard output nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "moe_plan", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.PIPE,
        env=bare_environment(),
        check=False,
    )
    os.close(writer)
    return done.returncode, done.stderr.decode()


REACHED = {
    0: lambda: run_cli("compare", "mixtral-8x7b").code,
    1: lambda: run_bug()[0],
    2: lambda: run_cli("compar").code,
    3: lambda: run_cli("compare", "mixtrall").code,
    4: lambda: run_shell("moe-plan compare mixtral-8x7b >/dev/full").code,
    5: lambda: run_fake("dbrx=fails", "verify", "dbrx").code,
    10: lambda: run_fake("dbrx=differs", "verify", "dbrx").code,
    15: lambda: run_fake("dbrx=differs", "verify", "dbrx", "--detailed-exitcode").code,
    130: lambda: stopped_by(signal.SIGINT),
    141: lambda: with_reader_gone("compare", "mixtral-8x7b")[0],
    143: lambda: stopped_by(signal.SIGTERM),
}


@pytest.mark.parametrize("code", [code for code, _ in exit_codes.TABLE])
def test_every_documented_exit_code_is_reached(code):
    assert REACHED[code]() == code


def test_the_table_of_exit_codes_stands_in_every_help():
    for arguments in ((), ("compare",), ("explain",), ("verify",), ("models",), ("schema",), ("help",)):
        assert exit_codes.text().splitlines()[-1].strip() in run_cli(*arguments, "--help").out


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("compar", 2, "Did you mean 'compare'?"),
        ("compare", 2, "Missing argument 'MODEL...'"),
        ("compare mixtral-8x7b --contxt 3", 2, "--context"),
        ("compare mixtral-8x7b --format jsn", 2, "'table', 'json', 'markdown', 'csv'"),
        ("compare mixtral-8x7b --color blue", 2, "'auto', 'always', 'never'"),
        ("compare mixtral-8x7b --context 0", 2, "'0' is not a whole number from 1 to 1,000,000,000,000"),
        ("compare mixtral-8x7b --context -1", 2, "'-1' is not a whole number"),
        ("compare mixtral-8x7b --context 128k", 2, "'128k' is not a whole number"),
        ("compare mixtral-8x7b --context 1e6", 2, "'1e6' is not a whole number"),
        ("compare mixtral-8x7b --context 1_000", 2, "'1_000' is not a whole number"),
        ("compare mixtral-8x7b --context ４０９６", 2, "is not a whole number"),
        ("compare mixtral-8x7b --context 1000000000001", 2, "is not a whole number"),
        ("compare mixtral-8x7b --batch 1.5", 2, "'1.5' is not a whole number"),
        ("compare mixtral-8x7b --batch true", 2, "'true' is not a whole number"),
        ("models --min-total 100GB", 2, "is not a number of parameters"),
        ("models --min-total B", 2, "is not a number of parameters"),
        ("models --max-total 1.B", 2, "is not a number of parameters"),
        ("models --attention windw", 2, "known: gqa"),
        ("models --attention mamba", 2, "did you mean mamba1 or mamba2"),
        ("explain mixtral-8x7b --layer x", 2, "--layer takes a number"),
        ("explain mixtral-8x7b --layer -1", 2, "--layer takes a number"),
        ("explain mixtral-8x7b dbrx", 2, "unexpected extra argument"),
        ("help compar", 2, "Did you mean 'compare'?"),
        ("compare mixtral-8x7b -o jsn=x", 2, "did you mean json?"),
        ("compare mixtral-8x7b -o json=", 2, "names no file"),
        ("compare mixtral", 3, "error[MP301]"),
        ("compare mixtral-8x7", 3, "did you mean mixtral-8x7b"),
        ("compare nothing-like-it", 3, "`moe-plan models` lists them"),
        ("compare no/such/file.yaml", 3, "error[MP101]"),
        ("compare mixtral-8x7b --weights fp9", 3, "error[MP302]"),
        ("compare mixtral-8x7b --kv fp9", 3, "error[MP303]"),
        ("explain mixtral-8x7b --layer 32", 3, "decoder has layers 0 to 31"),
        ("explain mixtral-8x7b --layer encoder:0", 3, "no part encoder with layers"),
        ("explain switch-base-8 --layer encodr:0", 3, "did you mean encoder or decoder?"),
        ("explain mixtral-8x7b --component roter", 3, "did you mean router?"),
        ("explain mixtral-8x7b --component shared_experts", 3, "it has embedding"),
    ],
)
def test_what_an_error_says(line, code, said):
    ran = run_cli(*line.split())
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert len(ran.err.splitlines()) <= 2


def test_faults_of_all_models_are_reported_at_once():
    ran = run_cli("compare", "mixtrall", "mixtral-8x7b", "deepsek-v3")
    assert ran.code == 3
    assert [line.split(":")[0] for line in ran.err.splitlines()] == ["mixtrall", "deepsek-v3"]


def test_a_bug_is_one_line_and_a_traceback_with_debug():
    code, err = run_bug("compare")
    assert code == 1
    assert err.startswith(
        "internal error in moe-plan: ZeroDivisionError: one [red] \ufffd; rerun with --debug"
    )
    assert len(err.splitlines()) == 1
    assert "Traceback" in run_bug("compare", "--debug")[1]


@pytest.mark.parametrize(
    "name", ["[red]x[/red]", "\x1b[31mx", "\u202ex", "a\nb", "x" * 10_000, "-", "@team", "a\udcffb"]
)
def test_hostile_names_are_shown_inert(name):
    ran = run_cli("compare", name)
    assert (ran.code, ran.out) == (3, "")
    assert not set(ran.err) & set("\x1b\u202e")
    assert len(ran.err.splitlines()) == 1
    assert len(ran.err) < 2_000


def test_no_models_is_a_note_and_not_an_error():
    ran = run_cli("models", "zzz", "--format", "json")
    assert (ran.code, ran.err) == (0, "none of the 44 models of the catalogue matches\n")
    assert '"models": []' in ran.out
    assert run_cli("models", "zzz", "-q").err == ""


def test_warnings_of_the_loader_go_to_standard_error(small_spec):
    small_spec.write_text(small_spec.read_text() + "license: no\n")
    ran = run_cli("compare", str(small_spec), "--format", "json")
    assert ran.code == 0
    assert "warning[MP201]" in ran.err
    assert ran.out.startswith("{")
    assert run_cli("compare", str(small_spec), "-q").err == ""
