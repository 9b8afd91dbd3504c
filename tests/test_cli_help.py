"""The interface, frozen: options of every command, the shipped help text, the schema, the console script."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import typer
from conftest import README_MODELS, ROOT, bare_environment, run_cli

COMMON = ["--color", "--debug", "--format", "--help", "--output", "--quiet", "-h", "-o", "-q"]
OPTIONS = {
    "": ["--debug", "--help", "--install-completion", "--show-completion", "--version", "-h"],
    "compare": sorted(
        [*COMMON, "--batch", "--context", "--detailed-exitcode", "--kv", "--verify", "--weights"]
    ),
    "explain": sorted([*COMMON, "--component", "--context", "--kv", "--layer", "--weights"]),
    "verify": sorted(
        [
            *COMMON,
            "--all",
            "--detailed-exitcode",
            "--device",
            "--dtype",
            "--full-width",
            "--lines",
            "--max-memory",
            "--no-full-width",
            "--no-time",
            "--scale",
            "--seed",
            "--steps",
            "--threads",
            "--time",
            "--tokens",
        ]
    ),
    "profile": sorted(
        [
            *COMMON,
            "--detailed-exitcode",
            "--device",
            "--dtype",
            "--layer",
            "--max-memory",
            "--plot",
            "--ranks",
            "--repeats",
            "--routing",
            "--scale",
            "--seed",
            "--threads",
            "--timeout",
            "--tokens",
        ]
    ),
    "models": sorted([*COMMON, "--attention", "--dense", "--max-total", "--min-total", "--moe", "--sort"]),
    "hardware": sorted([*COMMON, "--kind", "--local", "--vendor"]),
    "schema": ["--debug", "--help", "-h"],
    "help": ["--debug", "--help", "-h"],
}


def options_of(command, context) -> list[str]:
    names = [
        name for option in command.get_params(context) for name in (*option.opts, *option.secondary_opts)
    ]
    return sorted(name for name in names if name.startswith("-"))


def test_options_are_frozen():
    from moe_plan.cli.app import app

    root = typer.main.get_command(app)
    context = root.context_class(root, info_name="moe-plan", help_option_names=["-h", "--help"])
    found = {"": options_of(root, context)}
    found |= {name: options_of(command, context) for name, command in root.commands.items()}
    assert found == OPTIONS


def test_the_shipped_help_is_what_typer_would_print():
    shipped = (ROOT / "moe_plan" / "cli" / "help.txt").read_text(encoding="utf-8")
    for columns in ("80", "100", "200"):
        # `--debug --help` takes the long way through typer.
        assert run_cli("--debug", "--help", COLUMNS=columns).out == shipped
        assert run_cli("--help", COLUMNS=columns).out == shipped
    assert run_cli().out == run_cli("-h").out == run_cli("help").out == shipped
    assert run_cli("--help", COLUMNS="60").out == run_cli("--debug", "--help", COLUMNS="60").out != shipped


@pytest.mark.parametrize("command", [name for name in OPTIONS if name])
def test_help_of_a_command(command):
    ran = run_cli("help", command)
    assert ran == run_cli(command, "-h")
    assert ran.code == 0
    assert all(option in ran.out for option in OPTIONS[command])


class TestSchema:
    text = (ROOT / "schemas" / "model-v1.json").read_text(encoding="utf-8")

    def test_the_command_prints_the_committed_file(self):
        assert run_cli("schema") == (0, self.text, "")

    def test_editors_can_use_it(self):
        schema = json.loads(self.text)
        assert schema["title"] == "moe-plan model spec v1"
        assert "$id" not in schema
        # yaml-language-server reads draft 7, in which tuples are spelt otherwise.
        assert "prefixItems" not in self.text
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.Draft7Validator.check_schema(schema)

    def test_it_accepts_the_catalogue_and_refuses_unknown_keys(self):
        import yaml

        validator = jsonschema.Draft202012Validator(json.loads(self.text))
        for path in sorted((ROOT / "model_specs").glob("m*.yaml")):
            spec = yaml.safe_load(path.read_text(encoding="utf-8"))
            validator.validate(spec)
            assert not validator.is_valid({**spec, "topk": 1})


class TestHardwareSchema:
    text = (ROOT / "schemas" / "hardware-v1.json").read_text(encoding="utf-8")

    def test_the_command_prints_the_committed_file(self):
        assert run_cli("schema", "hardware") == (0, self.text, "")

    def test_editors_can_use_it(self):
        schema = json.loads(self.text)
        assert schema["title"] == "moe-plan hardware spec v1"
        assert "prefixItems" not in self.text
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.Draft7Validator.check_schema(schema)

    def test_it_accepts_the_catalogue_and_refuses_unknown_keys(self):
        import yaml

        validator = jsonschema.Draft202012Validator(json.loads(self.text))
        for path in sorted((ROOT / "hardware_specs").glob("*.yaml")):
            spec = yaml.safe_load(path.read_text(encoding="utf-8"))
            validator.validate(spec)
            assert not validator.is_valid({**spec, "vram": 1}), path.name


def test_the_console_script_is_the_module():
    script = Path(sys.executable).with_name("moe-plan")
    if not script.exists():
        pytest.skip("moe-plan is not installed beside this Python")
    for arguments in (("--version",), ("compare", *README_MODELS), ("compare", "mixtrall"), ("compar",)):
        done = subprocess.run(
            [script, *arguments], capture_output=True, text=True, env=bare_environment(), check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == run_cli(*arguments)
