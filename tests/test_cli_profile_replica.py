"""`profile` with real layers and real ranks, from the command line to the exit code."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess

import jsonschema
import pytest
from conftest import COMMAND, bare_environment, run_cli
from test_cli_profile import RANKS_SCHEMA, SCHEMA, torchrun

torch = pytest.importorskip("torch")

# Three parts of the small model: router 8 x 64, an expert of 3 x 64 x 32, and 8 of them of which 2 are used.
ROUTER, EXPERT = 8 * 64, 3 * 64 * 32


def run(*arguments: str, **extra: str):
    return run_cli("profile", *arguments, timeout=200, OMP_NUM_THREADS="1", **extra)


def test_a_spec_of_ones_own(small_spec):
    ran = run(str(small_spec), "--scale", "1", "--tokens", "1,8,600", "--repeats", "3", "--format", "json")
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(ran.out)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert (document["layer"], document["block"], document["hidden"]) == (1, "experts", 64)
    assert document["sizes"]["sparse"] == {
        "width": 32, "parameters": ROUTER + 8 * EXPERT, "active_parameters": ROUTER + 2 * EXPERT,
    }  # fmt: skip
    for batch in document["batches"]:
        tokens, sparse = batch["tokens"], batch["layers"]["sparse"]
        assert sparse["flops"] == 2 * tokens * (ROUTER + 2 * EXPERT)
        assert all(sum(rows) == 2 * tokens for rows in batch["rows"])
        touched = batch["distinct_experts"]["mean"]
        assert sparse["bytes"] == round(4 * (ROUTER + touched * EXPERT + 2 * tokens * 64))
        total = batch["layers"]["dense_equal_total"]
        dense = document["sizes"]["dense_equal_total"]["parameters"]
        assert (total["flops"], total["bytes"]) == (2 * tokens * dense, 4 * (dense + 2 * tokens * 64))
        assert 0 < sparse["seconds_min"] <= sparse["seconds"] <= sparse["seconds_max"]
        assert sparse["runs"] == len(batch["rows"]) == 3
    first, _, last = document["batches"]
    assert first["distinct_experts"] == {"mean": 2, "min": 2, "max": 2, "expected": 2}
    assert last["distinct_experts"]["mean"] == 8
    assert last["imbalance"]["max"] < first["imbalance"]["min"] == 4
    # Six hundred tokens are no six hundred times the work of one for whoever waits for memory.
    per_token = [batch["layers"]["dense_equal_total"]["seconds_per_token"] for batch in (first, last)]
    assert per_token[1] < per_token[0]


def test_ctrl_c_in_earnest(small_spec):
    master, slave = pty.openpty()
    command = [
        *COMMAND, "profile", str(small_spec), "--scale", "1", "--tokens", "1,2,4096", "--repeats", "40", "--format", "json",
    ]  # fmt: skip
    with open(slave, "wb") as terminal:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=terminal, env=bare_environment(OMP_NUM_THREADS="1"),
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )  # fmt: skip
    shown = b""
    try:
        while b"4,096 tokens, 3 of 3: sparse, run " not in shown:
            shown += os.read(master, 4096)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    shown += os.read(master, 65_536)
    os.close(master)
    assert process.returncode == 130
    document = json.loads(out)
    assert document["complete"] is False
    assert [batch["tokens"] for batch in document["batches"]] == [1, 2]
    assert shown.decode().endswith("\r\x1b[Kmoe-plan: interrupted; 2 of 3 batches were measured\r\n")


def test_two_ranks_send_what_was_predicted(small_spec):
    ran = run(
        str(small_spec), "--scale", "1", "--ranks", "2", "--tokens", "5", "--repeats", "2", "--format", "json"
    )
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(ran.out)
    jsonschema.Draft202012Validator(RANKS_SCHEMA).validate(document)
    (batch,) = document["batches"]
    assert [rank["tokens"] for rank in batch["ranks"]] == [3, 2]
    # Three sparse layers.
    assert sum(rank["rows"] for rank in batch["ranks"]) == 3 * 2 * 5
    for rank in batch["ranks"]:
        assert rank["sent_bytes"] == rank["predicted_sent_bytes"] > 0
        assert rank["received_bytes"] == rank["predicted_received_bytes"] > 0
    assert sum(rank["sent_bytes"] for rank in batch["ranks"]) == sum(
        rank["received_bytes"] for rank in batch["ranks"]
    )
    judged = {(line["group"], line["verdict"]) for line in batch["lines"] if line["judged"]}
    assert judged == {("bytes on the wire", "equal"), ("logits", "equal")}
    assert batch["bit_equality_judged"]


def test_ranks_that_do_not_finish_are_named(small_spec):
    ran = run(str(small_spec), "--ranks", "2", "--tokens", "4", "--timeout", "1")
    assert (ran.code, ran.out) == (5, "")
    assert ran.err.startswith("moe-plan: error: rank")
    assert "did not finish within 1 s" in ran.err


def test_ranks_that_torchrun_started(small_spec):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = [*COMMAND, "profile", str(small_spec), "--tokens", "2,3", "--repeats", "1", "--format", "csv"]
    processes = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=bare_environment(OMP_NUM_THREADS="1", **{**torchrun(rank, 2), "MASTER_PORT": str(port)}),
        )
        for rank in range(2)
    ]  # fmt: skip
    told = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    assert told[1] == ("", "")
    lines = told[0][0].splitlines()
    assert len(lines) == 1 + 2 * 2
    assert all(line.startswith("small,") for line in lines[1:])
