"""Running the command as users do, in a process of its own with a bare environment; golden files."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
README_MODELS = ("mixtral-8x7b", "deepseek-v3", "llama-4-maverick")
# The installed command where there is one, as in CI; the module in a checkout that is not installed.
SCRIPT = Path(sys.executable).with_name("moe-plan")
COMMAND = (str(SCRIPT),) if SCRIPT.exists() else (sys.executable, "-m", "moe_plan")
KEPT = ("PATH", "HOME", "TMPDIR", "COVERAGE_PROCESS_START")
# Compiled once for all the processes of a run, and nothing is left in the source tree.
BYTECODE = tempfile.TemporaryDirectory()


class Ran(NamedTuple):
    """What a process left behind."""

    code: int
    out: str
    err: str


def bare_environment(**extra: str) -> dict[str, str]:
    """No colour variables, no COLUMNS, a UTF-8 locale; `extra` on top."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    fixed = {
        "PYTHONPATH": str(ROOT),
        "PYTHONPYCACHEPREFIX": BYTECODE.name,
        "LC_ALL": "C.UTF-8",
        "TERM": "xterm",
    }
    return {**kept, **fixed, **extra}


def run_cli(
    *arguments: str, stdin: str | bytes = b"", cwd: Path | None = None, timeout: float = 120, **extra: str
) -> Ran:
    """Run the command on `arguments` with `extra` in its environment."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        env=bare_environment(**extra),
        cwd=cwd,
        timeout=timeout,
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def run_shell(line: str, **extra: str) -> Ran:
    """Run a line of bash in which `moe-plan` is the command."""
    script = f'moe-plan() {{ {shlex.join(COMMAND)} "$@"; }}\n{line}'
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        env=bare_environment(**extra),
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden anew")


@pytest.fixture
def golden(request: pytest.FixtureRequest):
    """A function that holds text against a file of tests/golden, or writes it with --update-golden."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
        assert path.read_text(encoding="utf-8") == text, (
            f"{name}: rerun with --update-golden if this is meant"
        )

    return check


@pytest.fixture
def small_spec(tmp_path: Path) -> Path:
    """A spec file with hostile text where text is free."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL_SPEC, encoding="utf-8")
    return path


SMALL_SPEC = r"""name: small
source: "=cmd() [red]x[/red] \u202e@team | <img src=x onerror=alert(1)> \x1b[31m"
published: {total: 351K, source: none}
hidden: 64
vocab: 1000
context: 128
attention:
  a: {kind: gqa, heads: 4, kv_heads: 2, head_dim: 16}
ffn:
  dense: {kind: dense, width: 128}
  experts: {kind: moe, experts: 8, top_k: 2, width: 32, router: {score: sigmoid, correction_bias: buffer}}
layers:
  - {attention: a, ffn: dense}
  - {repeat: 3, attention: a, ffn: experts}
"""
