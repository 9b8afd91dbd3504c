"""`verify` and `compare --verify` with real replicas, from the command line to the exit code."""

from __future__ import annotations

import json
import re

import pytest
from conftest import ROOT, run_cli

torch = pytest.importorskip("torch")

SHORT = ("--tokens", "8", "--steps", "2", "--no-time", "--no-full-width")
DOCUMENTED = (ROOT / "docs" / "verify.md").read_text(encoding="utf-8")


def run(*arguments: str, **extra: str):
    return run_cli(*arguments, timeout=120, OMP_NUM_THREADS="1", **extra)


def test_two_models_hold():
    ran = run("verify", "mixtral-8x7b", "deepseek-v2-lite", *SHORT, "--format", "json")
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(ran.out)
    assert [model["status"] for model in document["models"]] == ["holds", "holds"]
    for model in document["models"]:
        exact = [line for line in model["lines"] if line["unit"] in ("parameters", "FLOP")]
        assert len(exact) > 40
        assert all(line["predicted"] == line["measured"] for line in exact)
        assert model["replica_params"] > 100_000


def test_a_spec_of_ones_own_is_verified_with_the_same_bytes_in_every_run(small_spec):
    first, second = (
        run("verify", str(small_spec), *SHORT, "--scale", "1", "--format", "csv", PYTHONHASHSEED=seed)
        for seed in ("0", "12345")
    )
    assert first == second
    assert (first.code, first.err) == (0, "")
    assert "small,1,cpu,fp32,8,2,parameters,experts.gate,parameters,49152,49152,1.0,,equal," in first.out


def test_everything_of_one_model(tmp_path):
    path = tmp_path / "ledger.json"
    line = ("verify", "mixtral-8x7b", "--tokens", "8", "--steps", "1", "-o", f"json={path}")
    ran = run(*line, COLUMNS="80")
    assert (ran.code, ran.err) == (0, "")
    assert max(map(len, ran.out.splitlines())) <= 80
    assert re.search(r"^\d+ quantities +all hold$", ran.out, re.MULTILINE)
    # At full width the parameters are the model's own.
    assert re.search(r"^full width: parameters +46\.7B +46\.7B +1 ", ran.out, re.MULTILINE)
    assert re.search(r"^  decode step +[\d.]+ [mu]?s", ran.out, re.MULTILINE)
    (model,) = json.loads(path.read_text())["models"]
    assert_documented({entry["group"] for entry in model["lines"]})


def assert_documented(groups: set[str]) -> None:
    assert len(groups) > 8
    for group in groups:
        name = group.removeprefix("full width: ")
        stem = re.sub(r"(prefill|decode step \d+)$", "", name).strip()
        assert f"| {stem}" in DOCUMENTED or f"`{stem}`" in DOCUMENTED, group


def test_compare_checks_what_it_compares():
    ran = run("compare", "mixtral-8x7b", "qwen3-30b-a3b", "--verify", "--format", "json")
    assert (ran.code, ran.err) == (0, "")
    outcomes = [model["verification"] for model in json.loads(ran.out)["models"]]
    assert [(outcome["status"], outcome["differs"]) for outcome in outcomes] == [("holds", 0)] * 2
    assert all(outcome["quantities"] > 60 for outcome in outcomes)


def test_what_does_not_fit_is_refused():
    ran = run("verify", "mixtral-8x7b", *SHORT, "--scale", "1", "--max-memory", "1MiB")
    assert (ran.code, ran.out) == (5, "")
    assert ran.err.startswith("moe-plan: error: mixtral-8x7b: the replica failed: ")
    assert len(ran.err.splitlines()) == 1


def test_a_device_that_is_not_there():
    missing = "mps" if torch.cuda.is_available() else "cuda"
    ran = run("verify", "mixtral-8x7b", *SHORT, "--device", missing)
    assert (ran.code, ran.out) == (4, "")
    assert missing in ran.err
