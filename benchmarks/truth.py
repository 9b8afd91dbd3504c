"""Every number of the catalogue against exact truth counted without this project's code.

    python benchmarks/truth.py --truth DIR

DIR holds `truth.json` (parameters, FLOPs and cache elements of transformers' own classes on the meta
device, by model) and `weight_bytes.json` (bytes of released checkpoints). Prints a line a model and a
line a checkpoint; a difference is either explained term by term or fails the run (exit 10).
"""

from __future__ import annotations

import argparse
import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reference_flops import reference_terms

import moe_plan
from moe_plan.estimate.cache import cache_elements
from moe_plan.estimate.flops import flop_terms
from moe_plan.estimate.params import buffer_elements

if TYPE_CHECKING:
    from moe_plan.api import Model

ACTIVE = {
    "active": ("active_params", "incl_embedding_and_lm_head"),
    "compute": ("active_compute_params", "excl_embedding_table_incl_lm_head"),
    "body": ("active_body_params", "excl_embedding_and_lm_head"),
}
TOWERS = ("vision", "vision_projector")
# Checkpoints of weight_bytes.json that are not their model's native one with all of its parts.
CHECKPOINTS = {
    "deepseek-v3-main-only": ("deepseek-v3", "native", "text"),
    "minimax-m2.5": ("minimax-m2", "m2.5", "files"),
    "qwen3-235b-a22b-fp8": ("qwen3-235b-a22b", "official-fp8", "files"),
    "qwen3-235b-a22b-nvfp4": ("qwen3-235b-a22b", "official-nvfp4", "files"),
    "mixtral-8x22b (vocab 32000)": ("mixtral-8x22b", "native", "files"),
}
# Differences from the truth that we stand by: (model, quantity) -> amount and reason.
KNOWN = {
    ("jetmoe-8b", quantity): (
        73_728,
        (
            "the output bias of attention and FFN experts is one vector a layer that every token adds; "
            "the truth scales it by k/E: 24 layers * 2 * 2048 * (1 - 2/8)"
        ),
    )
    for quantity in ACTIVE
}
KNOWN_BYTES = {
    "deepseek-v4-flash": (
        "the truth is an estimate at one byte for all but experts and table; the release keeps table, "
        "head, router, compressors and vectors in bf16, hyper-connections in fp32"
    ),
    "nemotron-3-nano-30b-a3b": (
        "fp32 router correction biases, 23 layers * 128 * 4 bytes, which the truth leaves out"
    ),
}


def main() -> int:
    """Print both tables; 0 if nothing is left unexplained."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--truth", type=Path, required=True, help="folder of truth.json and weight_bytes.json"
    )
    folder = parser.parse_args().truth
    truth = json.loads((folder / "truth.json").read_text())
    stored = json.loads((folder / "weight_bytes.json").read_text())
    notes: list[str] = []
    unexplained = sum(_model_line(name, truth[name], notes) for name in sorted(truth))
    print()
    unexplained += sum(_bytes_line(name, stored[name], notes) for name in stored)
    print("\nExplained differences:", *dict.fromkeys(notes), sep="\n  ")
    print(f"\n{len(truth)} models, {len(stored)} checkpoints, {unexplained} unexplained differences")
    return 10 if unexplained else 0


def _model_line(name: str, truth: dict[str, Any], notes: list[str]) -> int:
    model = moe_plan.load(name)
    differences = dict(_count_differences(model, truth))
    wrong = 0
    for quantity, amount in differences.items():
        known = KNOWN.get((name, quantity))
        if known is not None and known[0] == amount:
            notes.append(f"{name}, {quantity} {amount:+,}: {known[1]}")
        else:
            wrong += 1
            notes.append(f"{name}, {quantity} {amount:+,}: UNEXPLAINED")
    flops, residual = _flop_verdict(model, truth, notes)
    counts = "exact" if not differences else ", ".join(f"{q} {a:+,}" for q, a in differences.items())
    print(f"{name:26} {model.total_params:>17,} parameters: {counts:34} FLOPs: {flops}")
    return wrong + residual


def _count_differences(model: Model, truth: dict[str, Any]) -> Any:
    """(quantity, ours less the truth) wherever they differ."""
    pairs = [("total", model.total_params, truth["text_params"])]
    ours = model.components
    theirs = {k: v for k, v in truth["components"].items() if k not in TOWERS}
    pairs += [(key, ours.get(key, 0), theirs.get(key, 0)) for key in {**ours, **theirs}]
    pairs += [
        (q, getattr(model, attribute), truth["active_params"][key]) for q, (attribute, key) in ACTIVE.items()
    ]
    buffers = {k: v for k, v in truth["buffers_in_checkpoint"].items() if "vision" not in k}
    pairs.append(("buffers", buffer_elements(model.inventory), sum(buffers.values())))
    if truth["mtp"]:
        pairs.append(("mtp", sum(model.parts["mtp"].values()), truth["mtp"]["params"]))
    pairs += _cache_pairs(model, truth["kv_cache"])
    return ((quantity, a - b) for quantity, a, b in pairs if a != b)


def _cache_pairs(model: Model, kv: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    cache = cache_elements(model.inventory)
    growing = kv["elements_per_token_unbounded_layers"]
    if kv["v4_layers"]:
        window = kv["v4_layers"] * kv["window"] * 512
        return [
            ("cache per token", cache.per_token_compressed, growing),
            ("cache window", cache.per_token_bounded * kv["window"], window),
        ]
    return [
        ("cache per token", cache.per_token_unbounded, growing),
        ("indexer keys", cache.per_token_indexer, kv["indexer_key_elements_per_token"]),
        ("cache in windows", cache.per_token_bounded, kv["elements_per_token_windowed_layers"]),
    ]


def _flop_verdict(model: Model, truth: dict[str, Any], notes: list[str]) -> tuple[str, int]:
    """Ours against the counter at every length, with the reference's extra terms named."""
    counter = (truth.get("flops") or {}).get("counter")
    if not counter:
        return "no count in the truth", 0
    terms = flop_terms(model.inventory)
    names: list[str] = []
    residual = Fraction(0)
    for length in map(int, counter):
        defined = (terms.weights + terms.per_token) * length + terms.quadratic * length**2
        extra = list(reference_terms(model, length))
        names += [name for name, _ in extra]
        residual += abs(counter[str(length)] - defined - sum(flops for _, flops in extra))
    if residual:
        return f"residual {float(residual):.6g}", 1
    if not names:
        return "exact", 0
    notes.append(
        f"{model.name}, FLOPs beyond the definition, exact once added: {'; '.join(dict.fromkeys(names))}"
    )
    return "explained, residual 0", 0


def _bytes_line(name: str, truth: dict[str, Any], notes: list[str]) -> int:
    reference, weights, scope = CHECKPOINTS.get(name, (name, "native", "files"))
    model = moe_plan.load(reference)
    ours = model.checkpoint_bytes(weights) if scope == "files" else model.weight_bytes(weights)
    difference = ours - truth["bytes"]
    ratio = difference / truth["bytes"]
    print(f"{name:28} {ours:>20,} bytes: {'exact' if not difference else f'{difference:+,} ({ratio:+.2e})'}")
    if not difference:
        return 0
    if name in KNOWN_BYTES:
        notes.append(f"{name}, bytes {difference:+,}: {KNOWN_BYTES[name]}")
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
