"""Imports run downwards, heavy packages stay out, and naming a model stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import moe_plan

PACKAGE = Path(moe_plan.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# A module may import from its own room and from lower ones.
FLOOR = {
    "units": 0,
    "text": 0,
    "errors": 1,
    "spec": 2,
    "hardware": 2.5,
    "anatomy": 3,
    # Beside the inventory, not on it: the replica is the other book of a double entry.
    "replica": 3,
    "estimate": 4,
    "api": 5,
    "plan": 6,
    "witness": 7,
    "report": 7,
    "cli": 8,
    "__main__": 9,
}
HEAVY = {
    "torch": {"replica", "witness"},
    "pydantic": {"spec"},
    "pydantic_core": {"spec"},
    "yaml": {"spec"},
    "typer": {"cli", "__main__"},
    "click": {"cli", "__main__"},
    "rich": {"report", "cli", "__main__"},
    "numpy": set(),
    "pynvml": set(),
    "matplotlib": {"report"},
    "transformers": set(),
    "requests": set(),
    "pickle": set(),
}


def room(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(module: Path) -> set[str]:
    """Full names that a module imports anywhere, in functions and for type checking too."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_imports_run_downwards():
    wrong = []
    for module in MODULES:
        here = room(module)
        # The package's front door may name what it re-exports.
        if here == "__init__":
            continue
        for name in imports(module):
            parts = name.split(".")
            if parts[0] == "moe_plan" and len(parts) > 1 and parts[1] in FLOOR:
                there = parts[1]
                allowed = FLOOR[there] < FLOOR[here] or there == here
                if not allowed:
                    wrong.append(f"{module.relative_to(PACKAGE)} imports {name}")
    assert not wrong, wrong


def test_every_module_has_a_room():
    rooms = {room(module) for module in MODULES} - {"__init__"}
    assert rooms <= set(FLOOR), rooms - set(FLOOR)


def test_heavy_packages_stay_in_their_rooms():
    wrong = [
        f"{module.relative_to(PACKAGE)} imports {name}"
        for module in MODULES
        for name in imports(module)
        if name.split(".")[0] in HEAVY and room(module) not in HEAVY[name.split(".")[0]]
    ]
    assert not wrong, wrong


def test_anatomy_and_estimate_take_spec_types_for_checking_only():
    """A locked entry is not a spec class, and pydantic must not be paid for: no import of the schema at run time."""
    for module in MODULES:
        if room(module) not in ("anatomy", "estimate", "api"):
            continue
        tree = ast.parse(module.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                assert node.module != "moe_plan.spec.model", module


def loaded_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PACKAGE.parent, timeout=60)
    return set(done.stdout.split())


def test_loading_a_shipped_model_is_light():
    loaded = loaded_after("import moe_plan; assert moe_plan.load('deepseek-v3').total_params > 0")
    assert "moe_plan.estimate.params" in loaded
    assert not {"torch", "numpy", "pydantic", "yaml", "typer", "rich", "transformers"} & loaded


def test_importing_the_package_is_lighter():
    loaded = loaded_after("import moe_plan")
    assert not {name for name in loaded if name.startswith("moe_plan.")}
