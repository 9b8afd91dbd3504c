"""Time of the inventory and of every number of the whole catalogue, after imports.

    python benchmarks/catalogue_speed.py [--runs 10]

Numbers are those of `moe-plan compare` and the weight bytes in every format and cache bytes in every
cache format. Prints medians; the target is 100 ms for inventory and numbers together.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING

import moe_plan
from moe_plan.estimate.cache import KV_FORMATS
from moe_plan.estimate.formats import FORMATS
from moe_plan.spec import catalogue

if TYPE_CHECKING:
    from collections.abc import Callable

    from moe_plan.api import Model

CONTEXT, BATCH, BUDGET_BYTES = 4096, 32, 10**10


def main() -> None:
    """Time reading, inventory, numbers and formats apart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    specs = [catalogue.find(name) for name in catalogue.names()]
    models = [moe_plan.model(spec) for spec in specs]
    steps: dict[str, Callable[[], object]] = {
        "read the catalogue": lambda: [catalogue.find(name) for name in catalogue.names()],
        "inventory": lambda: [moe_plan.model(spec) for spec in specs],
        "numbers of compare": lambda: [_numbers(model) for model in models],
        "bytes in every format": lambda: [_formats(model) for model in models],
    }
    seconds = {name: statistics.median(_time(step) for _ in range(runs)) for name, step in steps.items()}
    for name, value in seconds.items():
        print(f"{name:24} {value * 1e3:6.1f} ms")
    total = sum(value for name, value in seconds.items() if not name.startswith("read"))
    print(f"{'inventory and numbers':24} {total * 1e3:6.1f} ms for {len(models)} models (target 100 ms)")


def _numbers(model: Model) -> tuple[object, ...]:
    return (
        model.total_params,
        model.active_params,
        model.active_compute_params,
        model.active_body_params,
        model.components,
        model.parts,
        model.weight_bytes(),
        model.component_bytes(),
        model.checkpoint_bytes(),
        model.kv_bytes_per_token(),
        model.kv_bytes(CONTEXT),
        model.max_context(BUDGET_BYTES),
        model.decode_flops(CONTEXT),
        model.prefill_flops_per_token(CONTEXT),
        model.training_flops_per_token(CONTEXT),
        model.distinct_experts(BATCH),
        model.decode_weight_bytes(BATCH),
    )


def _formats(model: Model) -> list[int]:
    weights = [model.weight_bytes(name) for name in FORMATS]
    return weights + [model.kv_bytes(CONTEXT, name) for name in KV_FORMATS]


def _time(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
