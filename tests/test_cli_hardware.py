"""`moe-plan hardware` as a process: what it lists, what it shows, its exit codes, what it imports."""

from __future__ import annotations

import csv
import io
import json

import pytest
from conftest import ROOT, run_cli
from test_cli_startup import HEAVY, modules_of

from moe_plan.spec.hardware_catalogue import catalogue

OWN = """kind: accelerator
name: my-gpu
vendor: other
sources:
  sheet: {confidence: vendor, ref: "=cmd() [red]x[/red] | <img src=x> @team"}
memory:
  kind: hbm
  driver: {value: 95 GiB, source: sheet}
"""


def listed(*arguments: str) -> list[dict]:
    ran = run_cli("hardware", *arguments, "--format", "json")
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(ran.out)
    assert document["format"] == "moe-plan/hardware"
    return document["hardware"]


def test_everything_is_listed():
    shipped = catalogue()
    names = [entry["name"] for entry in listed()]
    instances = [name for cloud in shipped.clouds.values() for name in cloud.instances]
    assert names == [*shipped.accelerators, *shipped.systems, *instances]


def test_the_table_counts_the_machines_that_it_leaves_out():
    out = run_cli("hardware").out
    shipped = catalogue()
    count = sum(len(cloud.instances) for cloud in shipped.clouds.values())
    assert f"and {count} machines of clouds: --kind instance lists them" in out
    assert "p5.48xlarge" not in out
    assert all(name in out for name in (*shipped.accelerators, *shipped.systems))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--vendor", "intel"), {"arc-pro-b60", "gaudi2", "gaudi3"}),
        (("h100", "--kind", "accelerator"), {"h100-nvl", "h100-pcie", "h100-sxm"}),
        (("H-100", "--kind", "system"), {"hgx-h100"}),
        (
            ("--vendor", "google", "--kind", "system"),
            {"tpu-v5e-host", "tpu-v5p-host", "tpu-v6e-host", "tpu7x-host"},
        ),
        (("lambda", "--vendor", "nvidia", "--kind", "system"), set()),
    ],
)
def test_filters(arguments, expected):
    ran = run_cli("hardware", *arguments, "--format", "json")
    assert {entry["name"] for entry in json.loads(ran.out)["hardware"]} == expected
    assert ran.code == 0
    assert (ran.err == "") == bool(expected)


def test_a_part_of_a_name_lists_and_a_name_shows():
    assert "p5.48xlarge" not in run_cli("hardware", "h100-sxm").out
    assert run_cli("hardware", "h100-sxm").out.startswith("h100-sxm: NVIDIA H100 SXM5 80GB\n")
    assert run_cli("hardware", "H100").out.startswith("accelerator ")
    assert run_cli("hardware", "H100:80GB").out.startswith("h100-sxm: ")
    assert run_cli("hardware", "p5.48xlarge").out.startswith("h100-sxm: ")


@pytest.mark.parametrize(
    "name", ["t4", "rtx-3090", "gb300", "mi355x", "tpu7x", "trainium2", "gaudi3", "apple-m4", "gb10"]
)
def test_one_shows_every_figure_with_its_source_and_what_is_absent(name):
    document = json.loads(run_cli("hardware", name, "--format", "json").out)
    assert document["figures"]
    assert all(figure["ref"] and figure["confidence"] and figure["source"] for figure in document["figures"])
    text = run_cli("hardware", name).out
    for figure in document["figures"]:
        assert figure["printed"] in text
        assert f"{figure['source']}: {figure['ref']}"[:80] in text
    for absent in document["absent"]:
        assert any(line.split()[:3] == [absent["place"], "-", "-"] for line in text.splitlines()), absent
    lines = list(csv.DictReader(io.StringIO(run_cli("hardware", name, "--format", "csv").out)))
    assert [line["figure"] for line in lines] == [
        *(figure["place"] for figure in document["figures"]),
        *(absent["place"] for absent in document["absent"]),
    ]


@pytest.mark.parametrize(
    ("text", "code", "fragment"),
    [
        ("h1000", 3, "h1000: error[MP307] no hardware of this name in the catalogue; did you mean H100"),
        ("0xH100", 3, "0xH100: error[MP308] 0 of something cannot be planned for; write at least 1"),
        ("H100:141GB", 3, "error[MP309] no H100 with 141 GB"),
        ("12xH100", 3, "12 do not fill nodes of 8"),
        ("none.yaml", 3, "none.yaml: error[MP101] no such file"),
        ("my\x1bgpu", 3, "error[MP308] names of hardware are written in plain ASCII"),
        ("x" * 1000, 3, "longer than 300 characters"),
        ("/dev/zero", 3, "error[MP101] not a regular file"),
    ],
)
def test_what_is_unknown_is_one_line_and_exit_code_3(text, code, fragment):
    ran = run_cli("hardware", text)
    assert (ran.code, ran.out) == (code, "")
    assert fragment in ran.err
    assert ran.err.count("\n") == 1


def test_what_is_taken_for_granted_is_told_in_every_format():
    note = "H100 is taken as h100-sxm, and not h100-nvl or h100-pcie"
    for form in ("table", "json", "markdown", "csv"):
        ran = run_cli("hardware", "8xH100", "--format", form)
        assert ran.code == 0
        assert note in (ran.err if form == "csv" else ran.out)
        assert bool(ran.err) == (form == "csv")


def test_the_message_about_a_name_ends_with_what_to_do():
    assert "`moe-plan hardware` lists it, and a path to a YAML works too" in run_cli("hardware", "zzzzzz").err


@pytest.mark.parametrize(
    "arguments",
    [("--vendor", "nvidea"), ("--kind", "rack"), ("--local", "h100"), ("--local", "--vendor", "amd")],
)
def test_wrong_options_are_exit_code_2(arguments):
    ran = run_cli("hardware", *arguments)
    assert (ran.code, ran.out) == (2, "")


def test_an_own_file_with_hostile_text_is_inert(tmp_path):
    (tmp_path / "own.yaml").write_text(OWN)
    for form in ("table", "json", "markdown", "csv"):
        ran = run_cli("hardware", "8xown.yaml", "--format", form, cwd=tmp_path)
        assert (ran.code, ran.err) == (0, "")
        assert "95 GiB" in ran.out
    assert "<img" not in run_cli("hardware", "own.yaml", "--format", "markdown", cwd=tmp_path).out
    rows = list(csv.reader(io.StringIO(run_cli("hardware", "own.yaml", "--format", "csv", cwd=tmp_path).out)))
    assert all(not cell.startswith("=") for row in rows for cell in row)
    stdin = run_cli("hardware", "-", stdin=OWN)
    assert (stdin.code, stdin.out) == (0, run_cli("hardware", "own.yaml", cwd=tmp_path).out)


def test_a_mistake_in_an_own_file_has_its_place(tmp_path):
    (tmp_path / "own.yaml").write_text(OWN.replace("vendor: other", "vendor: nvida"))
    ran = run_cli("hardware", "own.yaml", cwd=tmp_path)
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith("own.yaml:3:9: error[MP123] vendor: expected nvidia,")
    assert ran.err.rstrip().endswith("did you mean nvidia?")


def test_this_machine_is_told_with_how_it_was_looked_at():
    ran = run_cli("hardware", "--local", "--format", "json")
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(ran.out)
    assert document["format"] == "moe-plan/hardware-local"
    assert document["probes"]
    assert document["available_bytes"] is None or document["available_bytes"] > 0
    assert "looked through" in run_cli("hardware", "--local").out


def test_files_are_written_beside(tmp_path):
    ran = run_cli("hardware", "h200-sxm", "-o", "json=h.json", "-o", "csv", cwd=tmp_path)
    assert ran.code == 0
    assert json.loads((tmp_path / "h.json").read_text())["accelerator"] == "h200-sxm"
    assert (tmp_path / "hardware.csv").read_text().startswith("figure,value,")


@pytest.mark.parametrize(
    "arguments", [("hardware",), ("hardware", "8xH100"), ("hardware", "h100", "--format", "json")]
)
def test_it_imports_nothing_heavy(arguments):
    assert not modules_of(*arguments) & (HEAVY | {"pynvml"})


def test_the_documented_defaults_are_those_of_the_catalogue():
    text = (ROOT / "docs" / "hardware.md").read_text(encoding="utf-8")
    shipped = catalogue().accelerators
    families = {spec.family for spec in shipped.values() if spec.family}
    for family in families:
        members = [spec for spec in shipped.values() if spec.family == family]
        default = next(spec.name for spec in members if spec.family_default)
        if len(members) > 1:
            assert f"| {family} | {default} |" in text, family
    profile = next(spec.name for spec in shipped.values() if spec.mig and spec.mig.default)
    assert f"| a slice without its GPU, such as 1g.10gb | {profile} |" in text
