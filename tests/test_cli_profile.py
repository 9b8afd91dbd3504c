"""`profile`: exit codes, what is kept when it ends early, and every format, with the fakes of fake_profile.py."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys

import jsonschema
import pytest
from conftest import bare_environment
from fake_profile import FAKE, run_fake

MODEL = "mixtral-8x7b"
SHORT = (MODEL, "--tokens", "1..64")
RANKS = (MODEL, "--ranks", "2")
CASES = {
    "profile.txt": ("", SHORT, {}),
    "profile-80.txt": ("", (MODEL,), {"COLUMNS": "80"}),
    "profile-200.txt": ("", (MODEL,), {"COLUMNS": "200"}),
    "profile-40.txt": ("", SHORT, {"COLUMNS": "40"}),
    "profile-ascii.txt": ("", ("longcat-flash", "--routing", "zipf", "--tokens", "8"), {"PYTHONIOENCODING": "ascii"}),
    "profile-color.txt": ("", (*SHORT, "--color", "always"), {"COLUMNS": "80"}),
    "profile.md": ("", (*SHORT, "--format", "markdown"), {}),
    "profile.csv": ("", (*SHORT, "--format", "csv"), {}),
    "profile.json": ("", (*SHORT, "--format", "json"), {}),
    "profile-ranks.txt": ("", RANKS, {}),
    "profile-ranks-80.txt": ("", RANKS, {"COLUMNS": "80"}),
    "profile-ranks.md": ("", (*RANKS, "--format", "markdown"), {}),
    "profile-ranks.csv": ("", (*RANKS, "--format", "csv"), {}),
    "profile-ranks.json": ("", (*RANKS, "--format", "json"), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_golden(name, golden):
    outcome, arguments, environment = CASES[name]
    ran = run_fake(outcome, *arguments, **environment)
    assert (ran.code, ran.err) == (0, "")
    golden(name, ran.out)
    if "COLUMNS" in environment and "color" not in name:
        # Numbers are never cut, titles of charts wrap, and bars follow the width.
        assert max(map(len, ran.out.splitlines())) <= max(int(environment["COLUMNS"]), 57)
    if not name.endswith("color.txt"):
        assert "\x1b" not in ran.out


COUNT = {"type": "integer", "minimum": 0}
NUMBER = {"type": "number", "minimum": 0}
TEXT = {"type": "string"}
BOUND = {"enum": ["memory", "compute"]}


def closed(**properties):
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


def listed(item):
    return {"type": "array", "items": item}


def or_none(kind):
    return {"anyOf": [kind, {"type": "null"}]}


ROUTING = closed(kind={"enum": ["uniform", "zipf", "counts"]}, exponent=or_none(NUMBER), path=or_none(TEXT))
REQUEST = {
    "tokens": listed(COUNT), "routing": ROUTING, "layer": or_none(COUNT), "scale": or_none(TEXT),
    "max_memory_bytes": or_none(COUNT), "device": TEXT, "dtype": TEXT, "repeats": COUNT, "seed": COUNT,
    "threads": COUNT,
}  # fmt: skip
MACHINE = closed(
    cpu=TEXT, cores=or_none(COUNT), instructions=TEXT, architecture=TEXT, system=TEXT,
)  # fmt: skip
VERSIONS = closed(moe_plan=TEXT, python=TEXT, torch=TEXT)
CEILING = closed(flops_per_s=NUMBER, bytes_per_s=NUMBER, ridge_flops_per_byte=NUMBER)
SPREAD = {"mean": NUMBER, "min": NUMBER, "max": NUMBER}
STEP = closed(
    runs=COUNT, seconds=NUMBER, seconds_min=NUMBER, seconds_max=NUMBER, seconds_per_token=NUMBER, flops=COUNT,
    bytes=COUNT, flops_per_s=NUMBER, bytes_per_s=NUMBER, flops_per_byte=NUMBER, bound=BOUND, least_seconds=NUMBER,
)  # fmt: skip


def of_each(kind):
    return closed(sparse=kind, dense_equal_active=kind, dense_equal_total=kind)


BATCH = closed(
    tokens=COUNT, layers=of_each(STEP), distinct_experts=closed(**SPREAD, expected=NUMBER), imbalance=closed(**SPREAD),
    histogram=listed(NUMBER), rows=listed(listed(COUNT)), ceiling=CEILING,
)  # fmt: skip
SCHEMA = closed(
    format={"const": "moe-plan/profile"}, format_version={"const": "1.0"}, request=closed(**REQUEST), model=TEXT,
    layer=COUNT, block=TEXT, scale=TEXT, hidden=COUNT, experts=COUNT, zero_experts=COUNT, top_k=COUNT,
    sizes=of_each(closed(width=COUNT, parameters=COUNT, active_parameters=COUNT)), device=TEXT, device_name=TEXT,
    dtype=TEXT, machine=MACHINE, versions=VERSIONS, ceiling=CEILING, complete={"type": "boolean"},
    crossings=of_each(closed(tokens=or_none(NUMBER), bound_at_first_batch=BOUND)), batches=listed(BATCH),
)  # fmt: skip
LINE = closed(
    group=TEXT, name=TEXT, unit=TEXT, predicted=or_none(NUMBER), measured=or_none(NUMBER), ratio=or_none(NUMBER),
    band=or_none(NUMBER), judged={"type": "boolean"}, verdict={"enum": ["equal", "within", "differs", "noted"]},
    note=or_none(TEXT),
)  # fmt: skip
RANK = closed(
    rank=COUNT, tokens=COUNT, rows=COUNT, sent_bytes=COUNT, predicted_sent_bytes=COUNT, received_bytes=COUNT,
    predicted_received_bytes=COUNT, sort_s=NUMBER, dispatch_s=NUMBER, experts_s=NUMBER, combine_s=NUMBER, add_s=NUMBER,
    wait_s=NUMBER,
)  # fmt: skip
RANKS_SCHEMA = closed(
    format={"const": "moe-plan/profile-ranks"}, format_version={"const": "1.0"},
    request=closed(**REQUEST, ranks=COUNT), model=TEXT, scale=TEXT, kept=listed(TEXT), ranks=COUNT, backend=TEXT,
    device=TEXT, dtype=TEXT, machine=MACHINE, versions=VERSIONS, complete={"type": "boolean"},
    batches=listed(closed(
        tokens=COUNT, status={"enum": ["holds", "differs"]}, bit_equality_judged={"type": "boolean"}, imbalance=NUMBER,
        ranks=listed(RANK), lines=listed(LINE),
    )),
)  # fmt: skip


def assert_keeps_to(schema, text):
    document = json.loads(text)
    jsonschema.Draft202012Validator(schema).validate(document)
    assert list(document) == list(schema["properties"])
    return document


@pytest.mark.parametrize("model", [MODEL, "longcat-flash"])
def test_json_keeps_to_its_schema(model):
    document = assert_keeps_to(SCHEMA, run_fake("", model, "--format", "json").out)
    assert document["complete"]
    assert [batch["tokens"] for batch in document["batches"]] == [1 << power for power in range(13)]
    for batch in document["batches"]:
        assert sum(batch["histogram"]) == pytest.approx(document["experts"])
        assert all(len(rows) == document["experts"] for rows in batch["rows"])


def test_csv_is_the_json_in_lines():
    document = json.loads(run_fake("", *SHORT, "--format", "json").out)
    lines = list(csv.DictReader(io.StringIO(run_fake("", *SHORT, "--format", "csv").out)))
    steps = [
        (batch["tokens"], name, step) for batch in document["batches"] for name, step in batch["layers"].items()
    ]  # fmt: skip
    assert [(int(line["tokens"]), line["size"]) for line in lines] == [(t, name) for t, name, _ in steps]
    for line, (_, _, step) in zip(lines, steps, strict=True):
        assert {name: line[name] for name in step} == {name: str(value) for name, value in step.items()}


@pytest.mark.parametrize("arguments", [SHORT, (*RANKS, "--tokens", "1..64")])
def test_ctrl_c_keeps_what_was_measured(arguments, tmp_path):
    path = tmp_path / "partial.json"
    ran = run_fake("ctrl-c=3", *arguments, "--format", "json", "-o", f"json={path}")
    assert ran.code == 130
    assert ran.err == "moe-plan: interrupted; 3 of 7 batches were measured\n"
    document = json.loads(ran.out)
    assert document["complete"] is False
    assert [batch["tokens"] for batch in document["batches"]] == [1, 2, 4]
    assert path.read_text() == ran.out


@pytest.mark.parametrize("arguments", [SHORT, (*RANKS, "--tokens", "1..64")])
def test_a_part_is_marked_as_one_in_every_format(arguments):
    for form in ("table", "markdown"):
        out = run_fake("ctrl-c=3", *arguments, "--format", form).out
        assert "interrupted: 3 of 7 batches were measured" in out
    lines = csv.DictReader(io.StringIO(run_fake("ctrl-c=3", *arguments, "--format", "csv").out))
    assert {line["complete"] for line in lines} == {"False"}


@pytest.mark.parametrize("arguments", [SHORT, RANKS])
def test_where_nothing_was_measured_nothing_is_printed(arguments, tmp_path):
    path = ("-o", f"json={tmp_path}/x.json")
    assert run_fake("ctrl-c=0", *arguments, *path) == (130, "", "")
    assert run_fake("sigterm=2", *arguments, *path) == (143, "", "")
    ran = run_fake("fails=0", *arguments, *path)
    assert (ran.code, ran.out) == (5, "")
    assert (
        ran.err == "moe-plan: error: rank 1 was killed by SIGKILL; it was last seen in: dispatch of tokens\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [SHORT, RANKS])
@pytest.mark.parametrize(
    ("outcome", "said"), [("fails", "rank 1 was killed by SIGKILL; it was last"), ("oom", "out of memory on cpu; try")]
)  # fmt: skip
def test_a_failure_keeps_what_was_measured(arguments, outcome, said):
    ran = run_fake(f"{outcome}=2", *arguments)
    assert ran.code == 5
    assert ran.err.startswith(f"moe-plan: error: {said}")
    assert "; 2 of " in ran.err
    assert len(ran.err.splitlines()) == 1
    assert ran.out.startswith("mixtral-8x7b, ")


@pytest.mark.parametrize("arguments", [SHORT, RANKS])
def test_a_bug_is_a_bug(arguments):
    ran = run_fake("bug=1", *arguments)
    assert (ran.code, ran.out) == (1, "")
    assert "internal error in moe-plan: RuntimeError: shapes cannot be multiplied" in ran.err


def test_a_wrong_byte_is_10_and_named():
    ran = run_fake("differs=8", *RANKS)
    assert ran.code == 10
    assert ran.err == (
        "moe-plan: mixtral-8x7b, 8 tokens: 2 of 4 quantities differ: "
        "bytes on the wire, rank 0 sent; bytes on the wire, rank 1 sent\n"
    )
    assert "DIFFERS" in ran.out
    assert run_fake("differs=8", *RANKS, "--detailed-exitcode").code == 15
    document = assert_keeps_to(RANKS_SCHEMA, run_fake("differs=8", *RANKS, "--format", "json").out)
    assert [batch["status"] for batch in document["batches"]] == ["holds", "differs", "holds", "holds"]


def torchrun(rank: int, ranks: int) -> dict[str, str]:
    return {"RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29999"}


def test_under_torchrun_the_first_rank_prints(tmp_path):
    files = ("-o", f"json={tmp_path}/ranks.json")
    second = run_fake("differs=8", MODEL, *files, **torchrun(1, 3))
    assert second == (10, "", "")
    assert list(tmp_path.iterdir()) == []
    first = run_fake("differs=8", MODEL, *files, **torchrun(0, 3))
    assert first.code == 10
    assert "over 3 ranks" in first.out
    assert "4,096 tokens" not in first.out
    # A container may say that its one process is the first of one.
    assert "over" not in run_fake("", MODEL, "--tokens", "1", **torchrun(0, 1)).out.splitlines()[0]
    assert json.loads((tmp_path / "ranks.json").read_text())["ranks"] == 3
    ran = run_fake("ctrl-c=1", MODEL, **torchrun(2, 3))
    assert ran == (130, "", "")


def test_options_reach_the_witness():
    line = (
        "--tokens 8,1..2,100 --routing zipf:0.5 --layer 3 --scale 1/7 --max-memory 4GiB --dtype bf16 --repeats 9 "
        "--seed 7 --threads 2 --format json"
    )
    document = json.loads(run_fake("", MODEL, *line.split()).out)
    assert document["request"] == {
        "tokens": [1, 2, 8, 100], "routing": {"kind": "zipf", "exponent": 0.5, "path": None}, "layer": 3,
        "scale": "1/7", "max_memory_bytes": 1 << 32, "device": "cpu", "dtype": "bf16", "repeats": 9, "seed": 7,
        "threads": 2,
    }  # fmt: skip
    assert document["layer"] == 3


def test_a_routing_file_is_read_for_this_model(tmp_path, small_spec):
    path = tmp_path / "routing.json"
    layers = [[], *[[9, 8, 7, 6, 5, 4, 3, 0]] * 3]
    path.write_text(json.dumps({"format": "moe-plan/routing/v1", "layers": layers}))
    ran = run_fake("", str(small_spec), "--routing", str(path), "--tokens", "4")
    assert ran.code == 0
    assert f"routing as counted in {path}" in ran.out.splitlines()[0]
    ran = run_fake("", MODEL, "--routing", str(path))
    assert (ran.code, ran.out) == (3, "")
    assert "error[MP153]" in ran.err
    missing = run_fake("", MODEL, "--routing", str(tmp_path / "no.json"))
    assert missing.code == 3
    assert "error[MP101]" in missing.err


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("llama-3.1-8b", 3, "error[MP306] no layer of it routes tokens to experts"),
        ("deepseek-v3 --layer 2", 3, "error[MP306] layer: layer 2 routes no tokens to experts; those that do are 3-60"),
        (f"{MODEL} --layer -1", 2, "is not a whole number"),
        (f"{MODEL} --tokens 0", 2, "'0' is neither numbers of tokens from 1 to 65,536"),
        (f"{MODEL} --tokens 1,,8", 2, "is neither numbers of tokens"),
        (f"{MODEL} --tokens 1..x", 2, "is neither numbers of tokens"),
        (f"{MODEL} --tokens 8..4", 2, "'8..4' holds no power of two"),
        (f"{MODEL} --tokens 99999999", 2, "is neither numbers of tokens"),
        (f"{MODEL} --routing zipf:-1", 2, "'-1' is no exponent from 0 to 10"),
        (f"{MODEL} --routing zipf:", 2, "'' is no exponent"),
        (f"{MODEL} --repeats 0", 2, "is not a whole number from 1 to 1,000"),
        (f"{MODEL} --ranks 0", 2, "is not a whole number from 1 to 64"),
        (f"{MODEL} --ranks 2 --layer 1", 2, "--layer and --ranks exclude each other"),
        (f"{MODEL} --ranks 2 --plot x.svg", 2, "--plot and --ranks exclude each other"),
        (f"{MODEL} --plot x.jpg", 2, "a picture is an svg or a png, and 'x.jpg' ends in neither"),
        (f"{MODEL} --plot /nowhere/x.png", 4, "cannot write /nowhere/x.png: its folder does not exist"),
        ("- --routing -", 2, "standard input can be read once; - stands twice"),
        (f"{MODEL} dbrx", 2, "unexpected extra argument"),
    ],
)  # fmt: skip
def test_misuse_is_told_before_anything_is_measured(line, code, said):
    ran = run_fake("bug=0", *line.split())
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert len(ran.err.splitlines()) <= 2


def test_what_does_not_fit_is_refused_with_the_scale_that_does():
    ran = run_fake("bug=0", "deepseek-v3", "--scale", "1/2", "--max-memory", "1GiB")
    assert (ran.code, ran.out) == (5, "")
    assert ran.err.startswith("moe-plan: error: a profile of deepseek-v3 at scale 1/2 needs ")
    assert "; --max-memory allows 1.00 GiB; --scale 1/" in ran.err
    fitting = ran.err.split("--scale ")[1].split()[0]
    assert run_fake("", "deepseek-v3", "--scale", fitting, "--max-memory", "1GiB", "--tokens", "1").code == 0


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    for name, start in (("out.svg", b"<?xml"), ("OUT.PNG", b"\x89PNG\r\n")):
        first, second = tmp_path / f"1{name}", tmp_path / f"2{name}"
        for path in (first, second):
            assert run_fake("", *SHORT, "--plot", str(path)).code == 0
        assert first.read_bytes().startswith(start)
        assert first.read_bytes() == second.read_bytes()
    text = (tmp_path / "1out.svg").read_text()
    assert "<script" not in text
    assert len(text) < 300_000


def test_without_matplotlib_the_way_to_get_it_is_told():
    block = (
        "import importlib.util as u, sys\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'matplotlib' else find(name, *rest)\n"
        "from moe_plan.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", block, "profile", MODEL, "--plot", "x.svg"],
        capture_output=True, text=True, env=bare_environment(), timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == (
        "moe-plan: error: --plot draws with matplotlib, which is not installed; "
        "add it with: pip install 'moe-plan[plot]'\n"
    )


def test_an_early_end_outlives_the_reader():
    for outcome, code in (("", 141), ("ctrl-c=2", 130), ("fails=2", 5)):
        reader, writer = os.pipe()
        os.close(reader)
        assert run_fake(outcome, *SHORT, stdout=writer).code == code
        os.close(writer)


def test_progress_is_on_standard_error_and_erased():
    master, slave = pty.openpty()
    with open(slave, "wb") as terminal:
        subprocess.run(
            [sys.executable, FAKE, "slow=3", "profile", *SHORT],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=terminal, env=bare_environment(), timeout=30,
            check=True,
        )  # fmt: skip
    shown = os.read(master, 65_536).decode()
    os.close(master)
    assert "\r\x1b[K8 tokens\r\x1b[K" in shown
    assert shown.endswith("\r\x1b[K")


def test_a_limit_for_ranks_without_ranks():
    ran = run_fake("", "mixtral-8x7b", "--timeout", "5")
    assert (ran.code, ran.out) == (2, "")
    assert "give it with --ranks" in ran.err
