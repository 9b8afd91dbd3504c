"""`verify` and `compare --verify`, exit codes and what is said where, with the fake witness of fake_witness.py."""

from __future__ import annotations

import json
import os

import pytest
from conftest import run_cli
from fake_witness import run_fake

from moe_plan.cli import verify_command
from moe_plan.plan import verification
from moe_plan.replica import shrink_lengths


def test_all_holds():
    ran = run_fake("", "verify", "mixtral-8x7b")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(
        "mixtral-8x7b, replica at scale 1/16: cpu, fp32, 2 sequences, prefill of 24 tokens each, 4 decode"
    )
    assert "67 quantities" in ran.out
    assert "all hold" in ran.out
    assert "DIFFERS" not in ran.out


@pytest.mark.parametrize("command", [("verify",), ("compare", "--verify")])
def test_a_difference_is_10_and_named(command):
    ran = run_fake("dbrx=differs", *command, "mixtral-8x7b", "dbrx", "-q")
    assert ran.code == 10
    quantities = 67 if command == ("verify",) else 63
    assert ran.err == (
        f"moe-plan: dbrx: 2 of {quantities} quantities differ: "
        "FLOPs of decode step 2, attention.scores; memory, peak activations of prefill\n"
    )
    assert ran.out
    assert run_fake("dbrx=differs", *command, "dbrx", "--detailed-exitcode").code == 15
    assert run_fake("", *command, "dbrx", "--detailed-exitcode").code == 0


def test_a_detailed_exit_code_of_nothing_checked():
    ran = run_cli("compare", "dbrx", "--detailed-exitcode")
    assert (ran.code, ran.out) == (2, "")
    assert "give it with --verify" in ran.err


@pytest.mark.parametrize("option", [("--tokens", "7"), ("--tokens", "16385"), ("--steps", "4097")])
def test_sizes_that_cannot_be_run_are_refused_at_once(option):
    ran = run_cli("verify", "dbrx", *option)
    assert (ran.code, ran.out) == (2, "")
    assert "is not a whole number from" in ran.err


def test_bounds_are_those_of_the_plan():
    names = ("FEWEST_TOKENS", "MOST_TOKENS", "MOST_STEPS")
    assert [getattr(verify_command, name) for name in names] == [
        getattr(verification, name) for name in names
    ]
    assert verification.FEWEST_TOKENS == shrink_lengths.FEWEST_TOKENS


def test_many_differences_are_counted():
    ran = run_fake("mixtral-8x7b=many", "verify", "mixtral-8x7b", "--no-time", "--no-full-width")
    assert ran.code == 10
    assert ran.err.count(";") == 5
    assert ran.err.endswith("; and 58 more\n")


def test_a_failed_replica_hides_no_ledger():
    outcomes = "dbrx=fails,grok-1=differs"
    ran = run_fake(outcomes, "verify", "mixtral-8x7b", "dbrx", "grok-1")
    assert ran.code == 5
    reason = "the replica failed: replica of dbrx takes 93.0 GiB, and 8.2 GiB may be taken; 1/64 fits"
    assert f"moe-plan: error: dbrx: {reason}\nmoe-plan: grok-1: 2 of 67 quantities differ" in ran.err
    assert f"dbrx: {reason}" in ran.out
    lines = {line.split()[0]: line.split() for line in ran.out.splitlines() if line}
    assert [lines[name][4] for name in ("mixtral-8x7b", "dbrx", "grok-1")] == ["0", "failed", "2"]
    models = json.loads(run_fake(outcomes, "verify", "dbrx", "grok-1", "--format", "json").out)["models"]
    assert [model["status"] for model in models] == ["failed", "differs"]
    assert models[0]["failure"] == reason.removeprefix("the replica failed: ")
    assert models[0]["lines"] == []
    assert models[0]["replica_params"] is None


def test_where_every_replica_failed_there_is_nothing_to_print():
    for names in (("dbrx",), ("dbrx", "dbrx")):
        ran = run_fake("dbrx=fails", "verify", *names, "--format", "json")
        assert (ran.code, ran.out) == (5, "")
        assert ran.err.count("moe-plan: error: dbrx: the replica failed: ") == len(names)


def test_a_comparison_is_printed_though_a_replica_failed():
    ran = run_fake("dbrx=fails", "compare", "--verify", "dbrx")
    assert ran.code == 5
    assert "total parameters" in ran.out
    assert ran.out.splitlines()[-1].startswith("dbrx: the replica failed: ")


@pytest.mark.parametrize("outcome", ["oom", "cpu-oom"])
def test_out_of_memory_is_a_failed_replica(outcome):
    ran = run_fake(f"dbrx={outcome}", "verify", "dbrx")
    assert (ran.code, ran.out) == (5, "")
    assert ran.err == (
        "moe-plan: error: dbrx: the replica failed: out of memory on cpu; try a smaller --scale or --max-memory\n"
    )


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        ("bug", 1, "internal error in moe-plan: RuntimeError: shapes cannot be multiplied"),
        ("refuses", 3, "dbrx: error[MP305] no replica of this kind"),
        ("elsewhere", 4, "moe-plan: error: no device cpu here"),
        ("ctrl-c", 130, ""),
        ("sigterm", 143, ""),
    ],
)
def test_what_is_no_failed_replica_ends_the_run(outcome, code, said, tmp_path):
    path = tmp_path / "x.json"
    ran = run_fake(f"dbrx={outcome}", "verify", "mixtral-8x7b", "dbrx", "grok-1", "-o", f"json={path}")
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith(said)
    assert bool(ran.err) == bool(said)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_all_prints_nothing():
    assert run_fake("dots.llm1=ctrl-c", "verify", "--all") == (130, "", "")


def test_all_is_the_catalogue():
    from moe_plan import models

    document = json.loads(run_fake("", "verify", "--all", "--format", "json", "--no-time").out)
    assert tuple(model["name"] for model in document["models"]) == models()


def test_options_reach_the_witness():
    options = (
        "--scale 1/7 --max-memory 1.5GiB --device auto --dtype bf16 --tokens 9 --steps 3 --seed 0 --threads 2"
    )
    line = ["verify", "dbrx", *options.split(), "--no-time", "--no-full-width", "--format", "json"]
    request = json.loads(run_fake("", *line).out)["request"]
    assert request == {
        "scale": "1/7", "max_memory_bytes": 3 * 2**29, "device": "auto", "dtype": "bf16", "tokens": 9, "steps": 3,
        "seeds": 20, "seed": 0, "threads": 2, "time": False, "full_width": False,
    }  # fmt: skip


def test_a_path_works_as_a_name(small_spec):
    ran = run_fake("small=differs", "verify", str(small_spec))
    assert ran.code == 10
    assert ran.err.startswith("moe-plan: small: 2 of 67")


def test_a_verdict_outlives_the_reader():
    for outcome, code in (("", 141), ("dbrx=differs", 10), ("dbrx=fails", 5)):
        reader, writer = os.pipe()
        os.close(reader)
        ran = run_fake(outcome, "verify", "dbrx", "grok-1", stdout=writer)
        os.close(writer)
        assert ran.code == code
        assert bool(ran.err) == (code != 141)


def test_a_full_disk_is_told_beside_the_verdict():
    with open("/dev/full", "wb") as full:
        ran = run_fake("dbrx=differs", "verify", "dbrx", stdout=full.fileno())
    assert ran.code == 4
    assert "moe-plan: dbrx: 2 of 67 quantities differ" in ran.err
    assert "cannot write: No space left on device" in ran.err


def test_files_hold_what_standard_output_would(tmp_path):
    paths = {form: tmp_path / form for form in ("table", "json", "markdown", "csv")}
    files = [part for form, path in paths.items() for part in ("-o", f"{form}={path}")]
    assert run_fake("dbrx=differs", "verify", "dbrx", "mixtral-8x7b", *files).code == 10
    for form, path in paths.items():
        assert (
            path.read_text()
            == run_fake("dbrx=differs", "verify", "dbrx", "mixtral-8x7b", "--format", form).out
        )
    assert run_fake("", "verify", "dbrx", "-o", f"json={tmp_path}").code == 4
