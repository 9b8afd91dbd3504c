"""Figures that vendors and papers printed, each with its source, rounded as they printed it."""

from __future__ import annotations

from fractions import Fraction

import pytest

from moe_plan.api import Model, load
from moe_plan.estimate import params

UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def rounds_to(count: int, printed: str) -> bool:
    """Whether `count`, rounded to the digits of `printed`, is what was printed: 46.7B, 400B, 1T."""
    digits = printed[:-1]
    step = Fraction(UNITS[printed[-1]], 10 ** len(digits.partition(".")[2]))
    return abs(count - int(digits.replace(".", "")) * step) <= step / 2


def test_mixtral():
    """46.7B total, 12.9B a token: Mistral AI, announcement of Mixtral of Experts, December 2023."""
    shipped = load("mixtral-8x7b")
    assert rounds_to(shipped.total_params, "46.7B")
    assert rounds_to(shipped.active_params, "12.9B")


def test_deepseek_v3():
    """671B total, 37B activated for each token: arXiv 2412.19437, abstract; the table is not counted."""
    shipped = load("deepseek-v3")
    assert rounds_to(shipped.total_params, "671B")
    assert rounds_to(shipped.active_compute_params, "37B")


def test_llama_4_maverick():
    """400B total, 17B activated: model card of Llama-4-Maverick-17B-128E; 400.7B is printed as 400B."""
    shipped = load("llama-4-maverick")
    assert shipped.total_params // 10**9 == 400
    assert rounds_to(shipped.active_params, "17B")


@pytest.mark.parametrize(
    ("name", "expected"), [("deepseek-v3", 70_272), ("qwen2.5-72b", 327_680), ("llama-3.1-405b", 516_096)]
)
def test_kv_bytes_per_token(name, expected):
    """arXiv 2505.09343, table 1: 70.272, 327.680 and 516.096 KB a token in bf16."""
    assert load(name).kv_bytes_per_token("bf16") == expected


@pytest.mark.parametrize(("name", "gigaflops"), [("deepseek-v3", 250), ("deepseek-v2", 155)])
def test_training_flops_per_token(name, gigaflops):
    """arXiv 2505.09343, table 2: training FLOPs a token at a sequence of 4,096, causal attention."""
    assert round(load(name).training_flops_per_token(4096) / 10**9) == gigaflops


def test_longcat_mean_active():
    """18.6B to 31.3B, 27B on average (LongCat-Flash, README): 8 of 12 chosen experts are real on average."""
    shipped = load("longcat-flash")
    assert abs(shipped.active_compute_params - 31.3e9) < 0.1e9
    table = shipped.components["embedding"]
    assert rounds_to(params.mean_active_params(shipped.inventory) - table, "27B")


def test_distinct_experts():
    """256 experts, 8 a token, 32 tokens: 256 * (1 - (1 - 8/256)^32) = 163.3."""
    touched = load("deepseek-v3").distinct_experts(32)
    assert touched is not None
    assert round(touched, 1) == 163.3


# Model, release ("native", or what the source of a further checkpoint ends in), with MTP, bytes. Elements by storage type times their
# size; the elements agree with the safetensors totals on Hugging Face of the releases named.
NATIVE_BYTES = [
    # deepseek-ai/DeepSeek-V3: 684,531,386,000 elements: fp8, bf16, fp32 scales of 128x128 tiles and biases
    ("deepseek-v3", "native", True, 688_574_839_360),
    ("deepseek-v3", "native", False, 673_150_611_808),
    # deepseek-ai/DeepSeek-V3.2-Exp: 685,396,921,376 elements
    ("deepseek-v3.2", "native", True, 689_468_986_496),
    # moonshotai/Kimi-K2-Instruct: no MTP in the release
    ("kimi-k2-instruct", "native", True, 1_029_173_249_888),
    ("kimi-k2-instruct", "native", False, 1_029_173_249_888),
    # openai/gpt-oss-120b and -20b: MXFP4 experts; the elements are those of unsloth's copies
    ("gpt-oss-120b", "native", True, 65_248_815_744),
    ("gpt-oss-20b", "native", True, 13_761_264_768),
    # MiniMaxAI/MiniMax-M2.5: 228,703,644,928 elements, router gates in fp32
    ("minimax-m2", "MiniMaxAI/MiniMax-M2.5", True, 230_121_630_720),
    # Qwen/Qwen3-235B-A22B-FP8: 235,107,904,512 elements, scales in bf16
    ("qwen3-235b-a22b", "Qwen/Qwen3-235B-A22B-FP8", True, 236_416_915_456),
    # nvidia/Qwen3-235B-A22B-NVFP4
    ("qwen3-235b-a22b", "nvidia/Qwen3-235B-A22B-NVFP4", True, 134_101_651_392),
    # mistralai/Mixtral-8x22B-v0.1: total_size of its index
    ("mixtral-8x22b", "native", True, 281_241_268_224),
]


def checkpoint_of(shipped: Model, release: str) -> str:
    if release == "native":
        return release
    (found,) = [
        name for name, stored in shipped.spec.checkpoints.items() if f"/{release}" in str(stored.source)
    ]
    return found


@pytest.mark.parametrize(("name", "release", "with_parts", "expected"), NATIVE_BYTES)
def test_native_bytes(name, release, with_parts, expected):
    shipped = load(name)
    checkpoint = checkpoint_of(shipped, release)
    measured = shipped.checkpoint_bytes(checkpoint) if with_parts else shipped.weight_bytes(checkpoint)
    assert measured == expected


def test_mtp_of_deepseek_v3():
    """684,489,845,504 elements on Hugging Face without scales: 671B, 58 x 256 biases, and the MTP module."""
    shipped = load("deepseek-v3")
    mtp = shipped.parts["mtp"]
    assert mtp["copies"] == 2 * 129_280 * 7168
    assert mtp["buffers"] == 256
    assert shipped.total_params + 58 * 256 + sum(mtp.values()) == 684_489_845_504
