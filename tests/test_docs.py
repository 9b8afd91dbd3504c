"""The README, CONTRIBUTING and docs are true: commands run, examples give what they say."""

from __future__ import annotations

import contextlib
import io
import re

import pytest
import yaml
from conftest import README_MODELS, ROOT, run_cli, run_shell

from moe_plan.cli import exit_codes
from moe_plan.errors import CODES, InputError, MoePlanError, ReplicaError, UnavailableError, UsageError
from moe_plan.estimate.formats import FORMATS
from moe_plan.spec.load import parse_spec

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("moe-plan ")]


def test_the_table_in_the_readme_is_what_the_command_prints():
    assert run_cli("compare", *README_MODELS, "--verify").out in (
        f"{block.rstrip()}\n" for block in blocks("text")
    )


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_readme_runs(line):
    ran = run_shell(line)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out


def test_the_readme_shows_commands():
    assert len(COMMANDS) >= 5
    installs = [
        line for block in blocks("sh") for line in block.splitlines() if line.startswith("pip install")
    ]
    assert len(installs) == 2


def test_the_spec_in_the_readme_is_valid_and_its_mistake_is_reported_as_shown(tmp_path):
    (text,) = blocks("yaml")
    assert parse_spec(text.encode(), "my-moe.yaml").name == "my-moe"
    (tmp_path / "my-moe.yaml").write_text(text.replace("top_k: 6", "topk: 6"), encoding="utf-8")
    ran = run_cli("explain", "my-moe.yaml", cwd=tmp_path)
    assert ran.code == 3
    assert ran.err.rstrip("\n") in (block.rstrip("\n") for block in blocks("text"))


def test_the_python_in_the_readme_prints_what_its_comments_say():
    (code,) = blocks("python")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert printed.getvalue().splitlines()[0] == "671026404352 37552282624"
    assert "# 671026404352 37552282624" in code


def test_the_formats_table_names_every_format():
    text = (ROOT / "docs" / "numbers.md").read_text(encoding="utf-8")
    for name in FORMATS:
        stem = name.removesuffix("-zp")
        assert stem in text or f"-{stem.split('-')[-1]}" in text or stem.endswith("_k"), name


def test_every_shipped_spec_points_editors_to_the_schema():
    for path in (ROOT / "model_specs").glob("*.yaml"):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first == "# yaml-language-server: $schema=../schemas/model-v1.json", path.name
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["name"] == path.stem


def test_files_that_documents_link_to_exist():
    for document in (
        "README.md",
        "CONTRIBUTING.md",
        "docs/numbers.md",
        "docs/verify.md",
        "docs/hardware.md",
        "docs/profile.md",
    ):
        path = ROOT / document
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), (document, target)


def test_exit_codes_in_help_and_errors_agree():
    text = run_cli("help", "exit-codes").out
    for code in ("0", "1", "2", "3", "4", "5", "10", "15", "130", "141", "143"):
        assert re.search(rf"^\s*{code}\b", text, re.MULTILINE), code
    classes = (MoePlanError, UsageError, InputError, UnavailableError, ReplicaError)
    named = (exit_codes.BUG, exit_codes.USAGE, exit_codes.INPUT, exit_codes.UNAVAILABLE, exit_codes.REPLICA)
    assert tuple(error.exit_code for error in classes) == named
    assert all(re.fullmatch(r"MP[123]\d\d", code) for code in CODES)
