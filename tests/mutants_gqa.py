"""Injected bugs: grouped-query attention, windows and chunks."""

from __future__ import annotations

from mutant import Mutant

GQA = "anatomy/attention/gqa.py"

GQA_BUGS = (
    Mutant(
        "hidden / heads although head_dim is given",
        GQA,
        "width = spec.heads * spec.head_dim",
        "width = hidden",
        "test_worked_gqa.test_gqa",
    ),
    Mutant(
        "key and value heads taken for query heads",
        GQA,
        "key_width, value_width = tp * spec.head_dim, tp * value_dim",
        "key_width, value_width = spec.heads * spec.head_dim, spec.heads * value_dim",
        "test_worked_gqa.test_gqa",
    ),
    Mutant(
        "cache of query heads",
        GQA,
        'State("attention.keys", tp * spec.head_dim',
        'State("attention.keys", spec.heads * spec.head_dim',
        "test_published.test_kv_bytes_per_token",
    ),
    Mutant(
        "keys cached, values forgotten",
        GQA,
        '        State("attention.values", tp * value_dim, reach, max_tp=tp, source=spec.cross),\n',
        "",
        "test_published.test_kv_bytes_per_token",
    ),
    Mutant(
        "scores of key-value heads",
        GQA,
        "2 * spec.heads * spec.head_dim, reach",
        "2 * spec.kv_heads * spec.head_dim, reach",
        "test_worked_gqa.test_gqa",
    ),
    Mutant(
        "value width taken for key width",
        GQA,
        "value_dim = spec.value_dim or spec.head_dim",
        "value_dim = spec.head_dim",
        "test_worked_gqa.test_gqa_value_width",
    ),
    Mutant("query bias dropped", GQA, 'if "q" in spec.bias:', "if False:", "test_worked_gqa.test_gqa_biases"),
    Mutant(
        "output bias dropped", GQA, 'if "o" in spec.bias:', "if False:", "test_worked_gqa.test_gqa_biases"
    ),
    Mutant("sinks dropped", GQA, "if spec.sinks:", "if False:", "test_worked_gqa.test_gqa_sinks"),
    Mutant("output gate dropped", GQA, "if spec.gate:", "if False:", "test_worked_gqa.test_gqa_output_gate"),
    Mutant(
        "whole q/k norm taken for one a head", GQA, "if whole:", "if False:", "test_worked_gqa.test_gqa_norms"
    ),
    Mutant("q/k norm a head taken for whole", GQA, "if whole:", "if True:", "test_worked_gqa.test_gqa_norms"),
    Mutant(
        "window ignored by the cache",
        GQA,
        "reach = Reach(limit=spec.window or spec.chunk)",
        "reach = Reach()",
        "test_cache.test_windows_have_a_ceiling",
    ),
    Mutant(
        "window applied to every layer",
        GQA,
        "reach = Reach(limit=spec.window or spec.chunk)",
        "reach = Reach(limit=spec.window or spec.chunk or 128)",
        "test_cache.test_window_applies_to_its_layers_only",
    ),
    Mutant(
        "chunk without a ceiling in the cache",
        GQA,
        "limit=spec.window or spec.chunk",
        "limit=spec.window",
        "test_cache.test_chunks_have_a_ceiling",
    ),
    Mutant(
        "window ignored by the scores",
        GQA,
        "Reach(spec.window, spec.chunk,",
        "Reach(None, spec.chunk,",
        "test_flops.test_window_bounds_the_scores",
    ),
    Mutant(
        "chunk taken for a window in FLOPs",
        GQA,
        "Reach(spec.window, spec.chunk,",
        "Reach(spec.window or spec.chunk, None,",
        "test_flops.test_chunk_is_a_position_inside_it",
    ),
    Mutant(
        "shared keys and values projected again",
        GQA,
        "    if spec.shared_kv:\n",
        "    if False:\n",
        "test_worked_gqa.test_gqa_shared_kv",
    ),
    Mutant(
        "shared keys and values cached again",
        GQA,
        "if spec.shared_kv or not",
        "if not",
        "test_cache.test_shared_kv_caches_once",
    ),
    Mutant(
        "keys as values, and a value projection too",
        GQA,
        '        rows.append(Weight("attention.v", ATTENTION',
        '        pass\n    if True:\n        rows.append(Weight("attention.v", ATTENTION',
        "test_worked_gqa.test_gqa_keys_as_values",
    ),
    Mutant(
        "encoder attention made causal",
        GQA,
        "causal=spec.causal and not spec.cross",
        "causal=True",
        "test_worked_gqa.test_gqa_encoder_and_cross",
    ),
)
