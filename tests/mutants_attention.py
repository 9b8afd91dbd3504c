"""Injected bugs: latent, compressed and recurrent attention."""

from __future__ import annotations

from mutant import Mutant

MLA = "anatomy/attention/mla.py"
DELTA = "anatomy/attention/delta.py"
MAMBA = "anatomy/attention/mamba.py"
MOA = "anatomy/attention/moa.py"
COMPRESSED = "anatomy/attention/compressed.py"
LIGHTNING = "anatomy/attention/lightning.py"
SHORT_CONV = "anatomy/attention/short_conv.py"

OTHER_ATTENTION = (
    Mutant(
        "MLA cached as multi-head attention",
        MLA,
        'State("attention.latent", spec.kv_rank, Reach())',
        'State("attention.latent", spec.heads * (spec.nope_dim + spec.v_dim), Reach())',
        "test_published.test_kv_bytes_per_token",
    ),
    Mutant(
        "RoPE keys forgotten in the MLA cache",
        MLA,
        '        State("attention.rope_keys", spec.rope_dim, Reach()),\n',
        "",
        "test_published.test_kv_bytes_per_token",
    ),
    Mutant(
        "MLA's value width taken for its key width",
        MLA,
        "up_width = heads * (spec.nope_dim + spec.v_dim)",
        "up_width = heads * 2 * spec.nope_dim",
        "test_worked_attention.test_mla",
    ),
    Mutant(
        "RoPE part left out of MLA's queries",
        MLA,
        "spec.heads, spec.heads * (spec.nope_dim + spec.rope_dim)",
        "spec.heads, spec.heads * spec.nope_dim",
        "test_worked_attention.test_mla",
    ),
    Mutant(
        "sparse attention sees every key",
        MLA,
        "Reach(limit=None if spec.indexer is None else spec.indexer.top_k)",
        "Reach()",
        "test_flops.test_sparse_attention_keeps_top_k",
    ),
    Mutant(
        "indexer keys not cached",
        MLA,
        '(State("indexer.keys", spec.head_dim, Reach()),)',
        "()",
        "test_worked_attention.test_mla_indexer",
    ),
    Mutant(
        "a shared indexer sees every key",
        MLA,
        "None if spec.indexer is None else",
        "None if spec.indexer is None or spec.indexer.shared else",
        "test_worked_attention.test_mla_shared_indexer",
    ),
    Mutant(
        "a shared indexer with weights, keys and scores",
        MLA,
        "    if spec.shared:\n",
        "    if False:\n",
        "test_worked_decode.test_layers_that_share_an_indexer",
    ),
    Mutant(
        "a shared indexer of compressed attention with weights",
        COMPRESSED,
        " and not spec.indexer.shared",
        "",
        "test_worked_attention.test_compressed_shared_indexer",
    ),
    Mutant(
        "a shared indexer of compressed attention sees every entry",
        COMPRESSED,
        "spec.indexer.top_k if spec.indexer else None",
        "spec.indexer.top_k if spec.indexer and not spec.indexer.shared else None",
        "test_worked_attention.test_compressed_shared_indexer",
    ),
    Mutant(
        "compressed cache grows with every token",
        COMPRESSED,
        'State("compressor.entries", spec.head_dim, Reach(stride=ratio))',
        'State("compressor.entries", spec.head_dim, Reach())',
        "test_cache.test_compressed_cache",
    ),
    Mutant(
        "output groups of compressed attention counted once",
        COMPRESSED,
        "width // groups), groups, groups,",
        "width // groups), 1, 1,",
        "test_worked_attention.test_compressed_window_only",
    ),
    Mutant(
        "one attention expert scores",
        MOA,
        "2 * spec.top_k * width",
        "2 * width",
        "test_worked_attention.test_attention_experts",
    ),
)

RECURRENT = (
    Mutant(
        "Mamba-2 convolves without its groups",
        MAMBA,
        "shared = 2 * groups * spec.state",
        "shared = 2 * spec.state",
        "test_worked_recurrent.test_mamba2",
    ),
    Mutant(
        "Mamba-1 without the dt columns",
        MAMBA,
        "(rank + 2 * state, inner)",
        "(2 * state, inner)",
        "test_worked_recurrent.test_mamba1",
    ),
    Mutant(
        "recurrent state in bf16",
        MAMBA,
        'State("attention.ssm_state", inner * state, None, "fp32"',
        'State("attention.ssm_state", inner * state, None, "bf16"',
        "test_worked_recurrent.test_mamba1",
    ),
    Mutant(
        "gated delta keeps a state for each key head",
        DELTA,
        "values * spec.key_dim * spec.value_dim",
        "keys * spec.key_dim * spec.value_dim",
        "test_worked_recurrent.test_gated_delta",
    ),
    Mutant(
        "gated delta projects values for key heads",
        DELTA,
        "spec.value_heads * spec.value_dim",
        "spec.key_heads * spec.value_dim",
        "test_worked_recurrent.test_gated_delta",
    ),
    Mutant(
        "convolution keeps all its taps",
        DELTA,
        "spec.value_dim, spec.conv - 1",
        "spec.value_dim, spec.conv",
        "test_cache.test_recurrent_layers_keep_a_fixed_state",
    ),
    Mutant(
        "lightning attention without its gate",
        LIGHTNING,
        '        Weight("attention.gate", MIXER, (width, hidden), max_tp=heads),\n',
        "",
        "test_worked_recurrent.test_lightning",
    ),
    Mutant(
        "short convolution with two streams",
        SHORT_CONV,
        "3 * hidden, hidden",
        "2 * hidden, hidden",
        "test_worked_recurrent.test_short_convolution",
    ),
)
