"""What a run imports: the start-up budget as a list of modules, which no slow machine can break."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import README_MODELS, bare_environment, run_cli, run_shell

PROBE = """
import os, sys
from moe_plan.__main__ import main
out = sys.stdout
sys.stdout = open(os.devnull, "w")
code = main(sys.argv[1:])
print(code, *sorted({name.split(".")[0] for name in sys.modules}), file=out)
"""
HEAVY = {"pydantic", "pydantic_core", "yaml", "numpy", "torch", "rich", "pandas", "transformers"}


def modules_of(*arguments: str, **extra: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        capture_output=True,
        text=True,
        env=bare_environment(**extra),
        check=True,
    )
    code, *names = done.stdout.split()
    assert code == "0"
    return set(names)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("--version",)])
def test_help_imports_not_even_typer(arguments):
    assert not modules_of(*arguments) & (HEAVY | {"typer", "dataclasses", "inspect", "re", "shutil"} - {"re"})


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", *README_MODELS),
        ("compare", *README_MODELS, "--format", "json"),
        ("explain", "deepseek-v3"),
        ("models",),
        ("hardware",),
        ("help", "exit-codes"),
    ],
)
def test_commands_on_the_catalogue_import_nothing_heavy(arguments):
    assert not modules_of(*arguments) & HEAVY


def test_completion_imports_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "moe_plan"],
        capture_output=True,
        text=True,
        env=bare_environment(
            _MOE_PLAN_COMPLETE="complete_bash", COMP_WORDS="moe-plan compare mix", COMP_CWORD="2"
        ),
        check=True,
    )
    assert done.stdout.split() == ["mixtral-8x22b", "mixtral-8x7b"]
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & HEAVY


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("explain deepseek-v3", "deepseek-v3"),
        ("compare dbrx --kv q", "q4_0"),
        ("compare dbrx --weights mx", "mxfp4"),
        ("explain dbrx --component routed_e", "routed_experts"),
        ("models --attention ka mla --attention kd", "kda"),
        ("compare tests/gol", "tests/golden/"),
    ],
)
def test_completion(words, found):
    count = len(words.split())
    ran = run_shell(
        "moe-plan", _MOE_PLAN_COMPLETE="complete_bash", COMP_WORDS=f"moe-plan {words}", COMP_CWORD=str(count)
    )
    assert found in ran.out.split()


def test_completion_scripts_are_still_offered():
    # Which shell it is for is otherwise read off the process tree, and a runner of tests may stand in none.
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    assert "_MOE_PLAN_COMPLETE" in run_cli("--show-completion", "bash", **named).out


def test_version():
    import moe_plan

    assert run_cli("--version") == (0, f"moe-plan {moe_plan.__version__}\n", "")
    assert run_cli("--version", "--debug").out == run_cli("--version").out
