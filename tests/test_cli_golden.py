"""The output of every command and format, to the byte. `pytest --update-golden` writes the files anew."""

from __future__ import annotations

import csv
import io
import json

import pytest
from conftest import README_MODELS, run_cli

CASES = {
    "compare-80.txt": (("compare", *README_MODELS), {"COLUMNS": "80"}),
    "compare-200.txt": (("compare", *README_MODELS), {"COLUMNS": "200"}),
    "compare-40.txt": (("compare", *README_MODELS), {"COLUMNS": "40"}),
    "compare-one.txt": (("compare", "mixtral-8x7b"), {}),
    "compare-color.txt": (("compare", *README_MODELS, "--color", "always"), {"COLUMNS": "80"}),
    "compare-ascii.txt": (("compare", *README_MODELS), {"PYTHONIOENCODING": "ascii"}),
    "compare.md": (("compare", *README_MODELS, "--format", "markdown"), {}),
    "compare.csv": (("compare", *README_MODELS, "--format", "csv"), {}),
    "compare.json": (("compare", *README_MODELS, "--format", "json"), {}),
    "compare-options.txt": (
        [
            "compare",
            "longcat-flash",
            "qwen3-next-80b-a3b",
            "switch-base-8",
            "llama-3.1-8b",
            "deepseek-v3.2",
            "--context",
            "200000",
            "--batch",
            "32",
            "--weights",
            "fp8-block",
            "--kv",
            "fp8",
        ],
        {},
    ),
    "explain.txt": (("explain", "mixtral-8x7b"), {}),
    "explain-80.txt": (("explain", "deepseek-v3"), {"COLUMNS": "80"}),
    "explain.md": (("explain", "mixtral-8x7b", "--format", "markdown"), {}),
    "explain.csv": (("explain", "mixtral-8x7b", "--format", "csv"), {}),
    "explain.json": (("explain", "mixtral-8x7b", "--format", "json"), {}),
    "explain-layer.txt": (("explain", "switch-base-8", "--layer", "encoder:1"), {}),
    "explain-component.txt": (("explain", "deepseek-v3", "--component", "router", "--weights", "bf16"), {}),
    "models.txt": (("models",), {"COLUMNS": "80"}),
    "models.md": (("models", "qwen", "--format", "markdown"), {}),
    "models.csv": (("models", "--attention", "mla", "--format", "csv"), {}),
    "models.json": (("models", "--dense", "--sort", "total", "--format", "json"), {}),
    "hardware-80.txt": (("hardware",), {"COLUMNS": "80"}),
    "hardware-h200.txt": (("hardware", "h200"), {}),
    "hardware-vendor.csv": (("hardware", "--vendor", "amd", "--format", "csv"), {}),
    "hardware-instances.md": (
        ("hardware", "--kind", "instance", "--vendor", "amd", "--format", "markdown"),
        {},
    ),
    "hardware-filter.json": (("hardware", "gb200", "--kind", "system", "--format", "json"), {}),
    "hardware-one.txt": (("hardware", "nvidia:H100:80GB:16"), {}),
    "hardware-one-80.txt": (("hardware", "b200-sxm"), {"COLUMNS": "80"}),
    "hardware-one.json": (("hardware", "H100/1g.10gb:7", "--format", "json"), {}),
    "hardware-one.csv": (("hardware", "a100-sxm4-40", "--format", "csv"), {}),
    "hardware-one.md": (("hardware", "gb200-nvl72", "--format", "markdown"), {}),
    "help-exit-codes.txt": (("help", "exit-codes"), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name, golden):
    arguments, environment = CASES[name]
    ran = run_cli(*arguments, **environment)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith("\n")
    golden(name, ran.out)


def test_json_is_the_same_bytes_in_every_run():
    arguments = ("compare", *README_MODELS, "--format", "json")
    seeds = {run_cli(*arguments, PYTHONHASHSEED=seed).out for seed in ("0", "1", "12345")}
    assert len(seeds) == 1


def test_json_has_the_fields_in_order_and_no_floats_for_counts():
    document = json.loads(run_cli("compare", *README_MODELS, "llama-3.1-8b", "--format", "json").out)
    assert list(document) == [
        "format", "format_version", "context", "batch", "weights", "kv", "models", "assumptions",
    ]  # fmt: skip
    assert (document["format"], document["format_version"]) == ("moe-plan/compare", "1.0")
    for model in document["models"]:
        assert list(model) == FIELDS
        floats = {name for name, value in model.items() if isinstance(value, float)}
        assert floats <= {
            "sparsity", "expert_sparsity", "distinct_experts", "dense_compute_ratio", "dense_memory_ratio",
        }  # fmt: skip
    dense = document["models"][-1]
    assert [dense[name] for name in ("experts", "top_k", "expert_sparsity", "distinct_experts")] == [None] * 4


FIELDS = [
    "name",
    "source",
    "published",
    "total_params",
    "active_params",
    "active_compute_params",
    "active_body_params",
    "mean_active_params",
    "buffer_elements",
    "components",
    "parts",
    "layers",
    "moe_layers",
    "experts",
    "top_k",
    "attention_kinds",
    "sparsity",
    "expert_sparsity",
    "weight_bytes",
    "weight_bytes_by_component",
    "weight_formats",
    "native_weight_bytes",
    "checkpoint_bytes",
    "part_bytes",
    "kv_bytes_per_token",
    "kv_elements",
    "kv_bytes",
    "state_bytes",
    "flops_per_token",
    "prefill_flops_per_token",
    "training_flops_per_token",
    "distinct_experts",
    "decode_bytes",
    "decode_kv_bytes",
    "dense_compute_ratio",
    "dense_memory_ratio",
]


def test_published_figures_are_in_the_table():
    ran = run_cli("compare", *README_MODELS, "--batch", "32")
    for figure in ("46.7B", "12.9B", "671B", "70,272 B", "163.3 of 256", "250 GFLOP"):
        assert figure in ran.out


def test_csv_of_compare_is_the_json_in_lines():
    lines = list(csv.DictReader(io.StringIO(run_cli("compare", *README_MODELS, "--format", "csv").out)))
    document = json.loads(run_cli("compare", *README_MODELS, "--format", "json").out)
    for line, model in zip(lines, document["models"], strict=True):
        for name, text in line.items():
            value = model[name] if name in model else document[name]
            assert text == (
                "" if value is None else " ".join(value) if isinstance(value, list) else str(value)
            )


def test_one_model_has_no_marks_and_equal_ones_neither():
    assert " *" not in run_cli("compare", "mixtral-8x7b").out.split("context")[0]
    assert " *" not in run_cli("compare", "mixtral-8x7b", "mixtral-8x7b").out.split("context")[0]


def test_explain_sums_are_those_of_the_api():
    import moe_plan

    for name in ("deepseek-v3", "switch-base-8", "qwen3-next-80b-a3b"):
        document = json.loads(run_cli("explain", name, "--kv", "q4_0", "--format", "json").out)
        model, text = moe_plan.load(name), document["groups"][0]
        sums = text["sums"]
        assert sums["parameters"] == model.total_params == sum(row["parameters"] for row in text["tensors"])
        assert sums["weight_bytes"] == model.weight_bytes() == sum(row["bytes"] for row in text["tensors"])
        decode = sums["weight_flops"] - sums["prefill_only_weight_flops"] + sums["operation_flops"]
        assert decode == model.decode_flops(4096)
        assert sums["state_bytes"] == model.kv_bytes(4096, "q4_0")
        parts = {group["group"]: group["sums"]["weight_bytes"] for group in document["groups"][1:]}
        assert set(parts) == set(model.parts)
