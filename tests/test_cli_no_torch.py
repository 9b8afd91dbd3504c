"""Misuse of `verify` is told before torch is loaded, and life without torch, or with a broken one, is possible."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import Ran, bare_environment, run_cli

NO_TORCH = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise %s

sys.meta_path.insert(0, Block())
from moe_plan.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
NOT_INSTALLED = 'ModuleNotFoundError("No module named \'torch\'", name="torch")'


def run_without_torch(error: str, *arguments: str) -> Ran:
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH % error, *arguments],
        capture_output=True,
        text=True,
        env=bare_environment(),
        timeout=30,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("verify", 2, "nothing to verify: give names of models, or --all"),
        ("verify --all dbrx", 2, "--all names every model of the catalogue"),
        ("verify dbrx --scale 2", 2, "'2' is not a scale above 0 and at most 1"),
        ("verify dbrx --scale 1/0", 2, "is not a scale"),
        ("verify dbrx --scale 0", 2, "is not a scale"),
        ("verify dbrx --scale -1", 2, "is not a scale"),
        ("verify dbrx --max-memory 2", 2, "'2' is not a size such as 2GiB"),
        ("verify dbrx --max-memory 2Gb", 2, "is not a size"),
        ("verify dbrx --max-memory 0GiB", 2, "is not a size"),
        ("verify dbrx --device gpu", 2, "'cpu', 'cuda', 'mps', 'auto'"),
        ("verify dbrx --dtype fp8", 2, "'fp32', 'bf16', 'fp16'"),
        ("verify dbrx --tokens 0", 2, "'0' is not a whole number from 8 to 16,384"),
        ("verify dbrx --steps 1.5", 2, "'1.5' is not a whole number from 1"),
        ("verify dbrx --seed -1", 2, "'-1' is not a whole number from 0 to 4,294,967,295"),
        ("verify dbrx --seed 4294967296", 2, "is not a whole number from 0"),
        ("verify dbrx --threads 0", 2, "'0' is not a whole number from 1 to 1,024"),
        ("verify dbrx --threads 1025", 2, "'1025' is not a whole number"),
        ("verify dbrx --lines some", 2, "'all', 'differences', 'auto'"),
        ("verify dbrx --verify", 2, "--verify"),
        ("verify mixtrall", 3, "error[MP301]"),
        ("profile", 2, "Missing argument 'MODEL'"),
        ("profile dbrx --tokens 0", 2, "'0' is neither numbers of tokens"),
        ("profile dbrx --routing zipf:x", 2, "'x' is no exponent"),
        ("profile dbrx --routing no-such-file", 3, "error[MP101]"),
        ("profile llama-3.1-8b", 3, "error[MP306]"),
        ("compare dbrx --verify --weights fp9", 3, "error[MP302]"),
    ],
)
def test_misuse_is_told_before_torch_is_loaded(line, code, said):
    ran = run_without_torch(NOT_INSTALLED, *line.split())
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert len(ran.err.splitlines()) <= 2


@pytest.mark.parametrize(
    "line",
    ["verify dbrx", "verify --all", "compare dbrx --verify", "profile dbrx", "profile dbrx --ranks 2"],
)
def test_without_torch_the_way_to_get_it_is_told(line):
    ran = run_without_torch(NOT_INSTALLED, *line.split())
    assert (ran.code, ran.out) == (4, "")
    assert ran.err == (
        "moe-plan: error: a replica runs on torch, which is not installed; "
        "add it with: pip install 'moe-plan[replica]'\n"
    )


@pytest.mark.parametrize(
    "error",
    ['ImportError("libcudart.so.13: no such file")', 'OSError("cannot load libtorch_cpu.so")',
     'ModuleNotFoundError("No module named \'sympy\'", name="sympy")'],
)  # fmt: skip
def test_a_broken_torch_is_not_a_bug_of_this_program(error):
    ran = run_without_torch(error, "verify", "dbrx")
    assert (ran.code, ran.out) == (4, "")
    assert ran.err.startswith("moe-plan: error: torch cannot be loaded: ")
    assert ran.err.endswith("; reinstall it with: pip install 'moe-plan[replica]'\n")


def test_a_broken_import_of_our_own_is_a_bug():
    error = 'ImportError("cannot import name \'x\'", name="moe_plan.witness.names")'
    ran = run_without_torch(error, "verify", "dbrx")
    assert (ran.code, ran.out) == (1, "")
    assert "internal error" in ran.err


def test_comparing_without_a_check_needs_no_torch():
    plain = run_without_torch(NOT_INSTALLED, "compare", "dbrx")
    assert plain == run_cli("compare", "dbrx")
    assert plain.code == 0
