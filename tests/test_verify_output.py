"""What `verify` and `compare --verify` print, to the byte and against a schema, on ledgers of a fake witness."""

from __future__ import annotations

import csv
import io
import json

import jsonschema
import pytest
from conftest import README_MODELS, run_cli
from fake_witness import run_fake

THREE = ("mixtral-8x7b", "deepseek-v3", "dbrx")
MIXED = "mixtral-8x7b=differs,dbrx=fails"
ONE = ("verify", "mixtral-8x7b")
CASES = {
    "verify.txt": (0, "", ONE, {}),
    "verify-80.txt": (0, "", ONE, {"COLUMNS": "80"}),
    "verify-40.txt": (0, "", ONE, {"COLUMNS": "40"}),
    "verify-differs-80.txt": (10, MIXED, ONE, {"COLUMNS": "80"}),
    "verify-differs-200.txt": (10, MIXED, ONE, {"COLUMNS": "200"}),
    "verify-color.txt": (10, MIXED, (*ONE, "--color", "always"), {"COLUMNS": "80"}),
    "verify-ascii.txt": (10, "mixtral-8x7b=hostile", ONE, {"PYTHONIOENCODING": "ascii"}),
    "verify-lines-all.txt": (10, MIXED, (*ONE, "--lines", "all"), {}),
    "verify-lines-differences.txt": (10, MIXED, (*ONE, "--lines", "differences"), {"COLUMNS": "80"}),
    "verify.md": (10, MIXED, (*ONE, "--format", "markdown"), {}),
    "verify.csv": (10, MIXED, (*ONE, "--format", "csv"), {}),
    "verify.json": (10, MIXED, (*ONE, "--format", "json"), {}),
    "verify-three-80.txt": (5, MIXED, ("verify", *THREE), {"COLUMNS": "80"}),
    "verify-three-lines-all.txt": (5, MIXED, ("verify", *THREE, "--lines", "all"), {}),
    "verify-three.md": (5, MIXED, ("verify", *THREE, "--format", "markdown"), {}),
    "verify-three.csv": (5, MIXED, ("verify", *THREE, "--no-time", "--format", "csv"), {}),
    "verify-three.json": (5, MIXED, ("verify", *THREE, "--no-time", "--format", "json"), {}),
    "compare-verify-80.txt": (5, MIXED, ("compare", *THREE, "--verify"), {"COLUMNS": "80"}),
    "compare-verify.md": (10, MIXED, ("compare", *README_MODELS, "--verify", "--format", "markdown"), {}),
    "compare-verify.csv": (5, MIXED, ("compare", *THREE, "--verify", "--format", "csv"), {}),
    "compare-verify.json": (5, MIXED, ("compare", *THREE, "--verify", "--format", "json"), {}),
}
COUNT = {"type": "integer", "minimum": 0}
TEXT = {"type": ["string", "null"]}
NUMBER = {"type": ["number", "null"]}
RESULT = {
    "name": {"type": "string"},
    "status": {"enum": ["holds", "differs", "failed"]},
    "failure": TEXT,
    "scale": TEXT,
    "kept": {"type": "array", "items": {"type": "string"}},
    "device": {"enum": ["cpu", "cuda", "mps", None]},
    "dtype": {"enum": ["fp32", "bf16", "fp16", None]},
    "tokens": {"type": ["integer", "null"]},
    "steps": {"type": ["integer", "null"]},
    "replica_params": {"type": ["integer", "null"]},
    "quantities": COUNT,
    "equal": COUNT,
    "within": COUNT,
    "differs": COUNT,
    "noted": COUNT,
    "wall_s": NUMBER,
}
LINE = {
    "group": {"type": "string"},
    "name": {"type": "string"},
    "unit": {"enum": ["parameters", "elements", "bytes", "FLOP", "experts", "s"]},
    "predicted": NUMBER,
    "measured": NUMBER,
    "ratio": NUMBER,
    "band": NUMBER,
    "judged": {"type": "boolean"},
    "verdict": {"enum": ["equal", "within", "differs", "noted"]},
    "note": TEXT,
}
REQUEST = {
    "scale": TEXT,
    "max_memory_bytes": {"type": ["integer", "null"]},
    "device": {"enum": ["cpu", "cuda", "mps", "auto"]},
    "dtype": {"enum": ["fp32", "bf16", "fp16"]},
    "tokens": COUNT,
    "steps": COUNT,
    "seeds": COUNT,
    "seed": COUNT,
    "threads": COUNT,
    "time": {"type": "boolean"},
    "full_width": {"type": "boolean"},
}


def closed(properties: dict[str, object]) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


MODEL = closed({**RESULT, "lines": {"type": "array", "items": closed(LINE)}})
SCHEMA = closed(
    {
        "format": {"const": "moe-plan/verify"},
        "format_version": {"const": "1.0"},
        "request": closed(REQUEST),
        "sequences": COUNT,
        "full_width": {
            "anyOf": [
                {"type": "null"},
                closed({"sequences": COUNT, "tokens": COUNT, "steps": COUNT, "dtype": {"enum": ["bf16"]}}),
            ]
        },
        "models": {"type": "array", "items": MODEL, "minItems": 1},
    }
)


@pytest.mark.parametrize("name", CASES)
def test_golden(name, golden):
    code, outcomes, arguments, environment = CASES[name]
    ran = run_fake(outcomes, *arguments, **environment)
    assert ran.code == code
    assert ran.out.endswith("\n")
    golden(name, ran.out)


@pytest.mark.parametrize("outcomes", ["", MIXED, "mixtral-8x7b=hostile,dbrx=many"])
def test_json_keeps_to_its_schema(outcomes):
    out = run_fake(outcomes, "verify", *THREE, "--format", "json").out
    document = json.loads(out)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert list(document["request"]) == list(REQUEST)
    for model in document["models"]:
        assert list(model) == [*RESULT, "lines"]
        verdicts = [line["verdict"] for line in model["lines"]]
        assert [model[verdict] for verdict in ("equal", "within", "differs", "noted")] == [
            verdicts.count(verdict) for verdict in ("equal", "within", "differs", "noted")
        ]
        assert model["quantities"] == len(model["lines"])
        for line in model["lines"]:
            assert list(line) == list(LINE)
            if line["unit"] in ("parameters", "elements", "bytes", "FLOP"):
                assert all(
                    line[side] is None or type(line[side]) is int for side in ("predicted", "measured")
                )


def test_json_of_compare_has_the_outcome_of_each_model_and_is_otherwise_unchanged():
    checked = json.loads(run_fake(MIXED, "compare", *THREE, "--verify", "--format", "json").out)
    plain = json.loads(run_cli("compare", *THREE, "--format", "json").out)
    validator = jsonschema.Draft202012Validator(closed(RESULT))
    outcomes = [model.pop("verification") for model in checked["models"]]
    for outcome in outcomes:
        validator.validate(outcome)
        assert outcome["wall_s"] is None
    assert [(o["status"], o["quantities"], o["differs"]) for o in outcomes] == [
        ("differs", 63, 2), ("holds", 63, 0), ("failed", 0, 0),
    ]  # fmt: skip
    assert checked == plain


def test_csv_of_compare_has_four_more_columns():
    def read(out: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(out)))

    checked = read(run_fake(MIXED, "compare", *THREE, "--verify", "--format", "csv").out)
    plain = read(run_cli("compare", *THREE, "--format", "csv").out)
    columns = ("verification", "verification_scale", "verified_quantities", "verified_differences")
    assert [[line.pop(column) for column in columns] for line in checked] == [
        ["differs", "1/16", "63", "2"], ["holds", "1/16", "63", "0"], ["failed", "", "0", "0"],
    ]  # fmt: skip
    assert checked == plain


def test_without_times_the_same_bytes_come_out_in_every_run():
    arguments = ("verify", *THREE, "--no-time", "--format", "json")
    runs = {run_fake(MIXED, *arguments, PYTHONHASHSEED=seed).out for seed in ("0", "1", "12345")}
    assert len(runs) == 1
    (out,) = runs
    assert all(model["wall_s"] is None for model in json.loads(out)["models"])


def test_csv_is_the_lines_of_json():
    lines = list(csv.DictReader(io.StringIO(run_fake(MIXED, "verify", *THREE, "--format", "csv").out)))
    models = json.loads(run_fake(MIXED, "verify", *THREE, "--format", "json").out)["models"]
    expected = [
        {
            "model": model["name"],
            **{name: model[name] for name in ("scale", "device", "dtype", "tokens", "steps")},
            **line,
        }
        for model in models
        for line in model["lines"]
    ]
    assert len(lines) == len(expected) + 1
    for line, wanted in zip(lines, expected, strict=False):
        assert line == {name: "" if wanted[name] is None else str(wanted[name]) for name in line}
    assert lines[-1]["model"] == "dbrx"
    assert (lines[-1]["verdict"], lines[-1]["group"]) == ("failed", "")
    assert "8.2 GiB" in lines[-1]["note"]


@pytest.mark.parametrize("form", ["table", "markdown", "csv", "json"])
def test_hostile_text_is_inert(form):
    ran = run_fake("mixtral-8x7b=hostile", "verify", "mixtral-8x7b", "--format", form)
    assert ran.code == 10
    assert "\x1b" not in ran.out + ran.err
    assert "@team" not in ran.out if form == "markdown" else "@team" in ran.out
    assert len(ran.err.splitlines()) == 1


def test_no_line_of_a_terminal_of_80_columns_is_longer():
    for arguments in (ONE, ("verify", *THREE), ("verify", *THREE, "--lines", "all"), ("verify", "--all")):
        out = run_fake(MIXED, *arguments, COLUMNS="80").out
        assert max(map(len, out.splitlines())) <= 80


def test_every_line_of_the_ledger_is_in_lines_all_and_no_equal_one_in_lines_differences():
    names = {
        line["name"] for line in json.loads(run_fake("", *ONE, "--format", "json").out)["models"][0]["lines"]
    }
    everything = run_fake("", *ONE, "--lines", "all").out
    assert all(f"\n  {name}  " in everything for name in names)
    assert "equal" not in run_fake(MIXED, *ONE, "--lines", "differences").out
    assert "all hold" in run_fake("", *ONE, "--lines", "differences").out
