"""A table of injected bugs, the commonest real ones first in each group, each with the test that catches it.

A mutant replaces `old`, which stands once in the module, by `new`. `caught_by` names the check that must
fail with it and pass without it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """One injected bug."""

    name: str
    module: str
    old: str
    new: str
    caught_by: str


BUILD, INVENTORY, FFN = "anatomy/build.py", "anatomy/inventory.py", "anatomy/ffn.py"
GQA, MLA = "anatomy/attention/gqa.py", "anatomy/attention/mla.py"
DELTA, MAMBA = "anatomy/attention/delta.py", "anatomy/attention/mamba.py"
MOA, COMPRESSED = "anatomy/attention/moa.py", "anatomy/attention/compressed.py"
LIGHTNING, SHORT_CONV = "anatomy/attention/lightning.py", "anatomy/attention/short_conv.py"
FORMATS, WEIGHTS, PARAMS = "estimate/formats.py", "estimate/weights.py", "estimate/params.py"
CACHE, FLOPS, READS = "estimate/cache.py", "estimate/flops.py", "estimate/reads.py"

LAYERS_AND_PARTS = (
    Mutant(
        "one layer times L, the first dense layers ignored",
        BUILD,
        "gathered.setdefault(_contents(run), (run, []))",
        'gathered.setdefault(("all",), (run, []))',
        "test_published.test_deepseek_v3",
    ),
    Mutant(
        "repeat off by one",
        BUILD,
        "range(run.repeat)",
        "range(max(1, run.repeat - 1))",
        "test_worked.test_whole_model",
    ),
    Mutant(
        "pattern repeated once",
        BUILD,
        "range(run.repeat)",
        "range(1 if run.pattern else run.repeat)",
        "test_worked.test_pattern",
    ),
    Mutant(
        "second half of a pattern left out",
        BUILD,
        "yield from _layers(run.pattern)",
        "yield from _layers(run.pattern[:1])",
        "test_worked.test_pattern",
    ),
    Mutant(
        "layers that differ in a tensor only are merged",
        BUILD,
        "tuple(_tensor(tensor) for tensor in run.tensors)\n\n\n",
        "tuple(tensor.name for tensor in run.tensors)\n\n\n",
        "test_worked.test_layers_that_differ_in_a_tensor_only",
    ),
    Mutant(
        "tied head counted twice",
        BUILD,
        "stored=not spec.tied",
        "stored=True",
        "test_worked.test_tied_head",
    ),
    Mutant(
        "tied head costs no FLOPs",
        INVENTORY,
        'if self.use in ("matmul", "conv")',
        'if self.stored and self.use in ("matmul", "conv")',
        "test_worked.test_tied_head",
    ),
    Mutant(
        "part's hidden width ignored",
        BUILD,
        "part.hidden or spec.hidden",
        "spec.hidden",
        "test_worked.test_part_of_its_own_width",
    ),
    Mutant(
        "part's own blocks ignored",
        BUILD,
        "part.attention.get(name) or spec.attention[name]",
        "spec.attention.get(name) or part.attention[name]",
        "test_mutants.test_parts_blocks_shadow_the_models",
    ),
    Mutant(
        "final norm forgotten",
        BUILD,
        "if part.final_norm and part.layers:",
        "if False:",
        "test_worked.test_whole_model",
    ),
    Mutant(
        "one norm a layer",
        BUILD,
        "len(_names(run.attention)) + len(_names(run.ffn))",
        "1",
        "test_worked.test_whole_model",
    ),
    Mutant("norm biases dropped", BUILD, "if norm.bias:", "if False:", "test_worked.test_norms"),
    Mutant(
        "second block of a layer overwrites the first",
        BUILD,
        "return (value,) if isinstance(value, str) else value",
        "return (value,) if isinstance(value, str) else value[:1]",
        "test_worked.test_layer_with_several_blocks",
    ),
    Mutant(
        "MTP in the total",
        INVENTORY,
        'TEXT_ROLES: tuple[Role, ...] = ("decoder", "encoder")',
        'TEXT_ROLES: tuple[Role, ...] = ("decoder", "encoder", "mtp")',
        "test_worked.test_mtp_is_apart",
    ),
    Mutant(
        "vision tower in the total",
        INVENTORY,
        'TEXT_ROLES: tuple[Role, ...] = ("decoder", "encoder")',
        'TEXT_ROLES: tuple[Role, ...] = ("decoder", "encoder", "vision")',
        "test_worked.test_part_of_its_own_width",
    ),
    Mutant(
        "encoder left out",
        INVENTORY,
        'TEXT_ROLES: tuple[Role, ...] = ("decoder", "encoder")',
        'TEXT_ROLES: tuple[Role, ...] = ("decoder",)',
        "test_worked.test_encoder_is_text",
    ),
    Mutant(
        "hyper-connections without their mixing maps",
        BUILD,
        "maps = streams * (streams + 2)",
        "maps = streams * 2",
        "test_worked.test_hyper_connections",
    ),
)

ATTENTION = (
    Mutant(
        "hidden / heads although head_dim is given",
        GQA,
        "width = spec.heads * spec.head_dim",
        "width = hidden",
        "test_worked.test_gqa",
    ),
    Mutant(
        "key and value heads taken for query heads",
        GQA,
        "key_width, value_width = tp * spec.head_dim, tp * value_dim",
        "key_width, value_width = spec.heads * spec.head_dim, spec.heads * value_dim",
        "test_worked.test_gqa",
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
        "test_worked.test_gqa",
    ),
    Mutant(
        "value width taken for key width",
        GQA,
        "value_dim = spec.value_dim or spec.head_dim",
        "value_dim = spec.head_dim",
        "test_worked.test_gqa_value_width",
    ),
    Mutant("query bias dropped", GQA, 'if "q" in spec.bias:', "if False:", "test_worked.test_gqa_biases"),
    Mutant("output bias dropped", GQA, 'if "o" in spec.bias:', "if False:", "test_worked.test_gqa_biases"),
    Mutant("sinks dropped", GQA, "if spec.sinks:", "if False:", "test_worked.test_gqa_sinks"),
    Mutant("output gate dropped", GQA, "if spec.gate:", "if False:", "test_worked.test_gqa_output_gate"),
    Mutant(
        "whole q/k norm taken for one a head", GQA, "if whole:", "if False:", "test_worked.test_gqa_norms"
    ),
    Mutant("q/k norm a head taken for whole", GQA, "if whole:", "if True:", "test_worked.test_gqa_norms"),
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
        "test_worked.test_gqa_shared_kv",
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
        "test_worked.test_gqa_keys_as_values",
    ),
    Mutant(
        "encoder attention made causal",
        GQA,
        "causal=spec.causal and not spec.cross",
        "causal=True",
        "test_worked.test_gqa_encoder_and_cross",
    ),
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
        "test_worked.test_mla",
    ),
    Mutant(
        "RoPE part left out of MLA's queries",
        MLA,
        "spec.heads, spec.heads * (spec.nope_dim + spec.rope_dim)",
        "spec.heads, spec.heads * spec.nope_dim",
        "test_worked.test_mla",
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
        "test_worked.test_mla_indexer",
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
        "test_worked.test_compressed_window_only",
    ),
    Mutant(
        "one attention expert scores",
        MOA,
        "2 * spec.top_k * width",
        "2 * width",
        "test_worked.test_attention_experts",
    ),
)

RECURRENT = (
    Mutant(
        "Mamba-2 convolves without its groups",
        MAMBA,
        "channels = inner + 2 * groups * spec.state",
        "channels = inner + 2 * spec.state",
        "test_worked.test_mamba2",
    ),
    Mutant(
        "Mamba-1 without the dt columns",
        MAMBA,
        "(rank + 2 * state, inner)",
        "(2 * state, inner)",
        "test_worked.test_mamba1",
    ),
    Mutant(
        "recurrent state in bf16",
        MAMBA,
        'State("attention.ssm_state", state, None, "fp32"',
        'State("attention.ssm_state", state, None, "bf16"',
        "test_worked.test_mamba1",
    ),
    Mutant(
        "gated delta keeps a state for each key head",
        DELTA,
        "heads * spec.key_dim * spec.value_dim",
        "spec.key_heads * spec.key_dim * spec.value_dim",
        "test_worked.test_gated_delta",
    ),
    Mutant(
        "gated delta projects values for key heads",
        DELTA,
        "spec.value_heads * spec.value_dim",
        "spec.key_heads * spec.value_dim",
        "test_worked.test_gated_delta",
    ),
    Mutant(
        "convolution keeps all its taps",
        DELTA,
        "channels * (spec.conv - 1)",
        "channels * spec.conv",
        "test_cache.test_recurrent_layers_keep_a_fixed_state",
    ),
    Mutant(
        "lightning attention without its gate",
        LIGHTNING,
        '        Weight("attention.gate", MIXER, (width, hidden), max_tp=heads),\n',
        "",
        "test_worked.test_lightning",
    ),
    Mutant(
        "short convolution with two streams",
        SHORT_CONV,
        "3 * hidden, hidden",
        "2 * hidden, hidden",
        "test_worked.test_short_convolution",
    ),
)

EXPERTS = (
    Mutant(
        "top-k forgotten in FLOPs",
        INVENTORY,
        "2 * self.used * self.elements",
        "2 * self.elements",
        "test_flops.test_routed_experts_count_top_k_times",
    ),
    Mutant(
        "every expert runs",
        INVENTORY,
        "2 * self.used * self.elements",
        "2 * self.copies * self.elements",
        "test_flops.test_routed_experts_count_top_k_times",
    ),
    Mutant(
        "a multiply-add is one",
        INVENTORY,
        "2 * self.used * self.elements",
        "self.used * self.elements",
        "test_worked.test_whole_model_flops",
    ),
    Mutant(
        "router missing",
        FFN,
        "Body((*_router(spec, hidden, vocab), *_experts",
        "Body((*_experts",
        "test_worked.test_experts",
    ),
    Mutant(
        "shared experts dropped",
        FFN,
        "if spec.shared_width is None:",
        "if True:",
        "test_worked.test_shared_experts",
    ),
    Mutant(
        "shared experts counted as routed",
        FFN,
        '_matrices("shared", "shared_experts"',
        '_matrices("shared", "routed_experts"',
        "test_worked.test_whole_model",
    ),
    Mutant(
        "shared width taken from the routed experts",
        FFN,
        "hidden, spec.shared_width, gated",
        "hidden, spec.width, gated",
        "test_worked.test_shared_experts",
    ),
    Mutant(
        "shared gate dropped", FFN, "if spec.shared_gate:", "if False:", "test_worked.test_shared_experts"
    ),
    Mutant(
        "gated network with two matrices",
        FFN,
        'names = ("gate", "up") if gated else ("up",)',
        'names = ("up",)',
        "test_worked.test_dense",
    ),
    Mutant(
        "plain experts with three matrices",
        FFN,
        'ups = ("gate", "up") if spec.gated else ("up",)',
        'ups = ("gate", "up")',
        "test_worked.test_experts",
    ),
    Mutant(
        "expert biases dropped",
        FFN,
        "    if spec.bias:\n        rows += [expert(",
        "    if False:\n        rows += [expert(",
        "test_worked.test_expert_biases",
    ),
    Mutant(
        "zero experts given weights",
        FFN,
        "shape, spec.experts, used, pool,",
        "shape, pool, used, pool,",
        "test_worked.test_zero_experts",
    ),
    Mutant(
        "zero experts not scored",
        FFN,
        "router, choices = spec.router, spec.experts + spec.zero_experts",
        "router, choices = spec.router, spec.experts",
        "test_worked.test_zero_experts",
    ),
    Mutant(
        "latent width of experts ignored",
        FFN,
        "inner = spec.latent or hidden",
        "inner = hidden",
        "test_worked.test_latent_experts",
    ),
    Mutant(
        "correction bias among the parameters",
        FFN,
        '"fp32" if router.correction_bias == "buffer" else None',
        "None",
        "test_worked.test_router_extras",
    ),
    Mutant(
        "distinct experts k * B",
        INVENTORY,
        "return self.copies * -expm1(tokens * log1p(-self.used / pool))",
        "return float(min(self.copies, self.used * tokens))",
        "test_published.test_distinct_experts",
    ),
    Mutant(
        "a decode step reads every expert",
        INVENTORY,
        "if self.used >= pool:",
        "if True:",
        "test_reads.test_mixtral_by_hand",
    ),
    Mutant(
        "a decode step reads k experts whatever the batch",
        INVENTORY,
        "expm1(tokens * log1p(",
        "expm1(1 * log1p(",
        "test_reads.test_deepseek_v3_distinct_experts",
    ),
    Mutant(
        "a decode step skips the tied head",
        READS,
        "if not weight.copy:",
        "if weight.stored and not weight.copy:",
        "test_reads.test_tied_head_is_read",
    ),
)

ESTIMATES = (
    Mutant(
        "one row of the table active",
        PARAMS,
        'weight.elements * (weight.copies if weight.use == "lookup" else weight.used)',
        "weight.elements * weight.used",
        "test_worked.test_whole_model",
    ),
    Mutant(
        "tied table not among the multiplied parameters",
        PARAMS,
        'head = "embedding" if is_tied(inventory) else None',
        "head = None",
        "test_worked.test_tied_head",
    ),
    Mutant(
        "second copies counted again",
        PARAMS,
        "weight.stored and not weight.copy",
        "weight.stored",
        "test_worked.test_mtp_is_apart",
    ),
    Mutant(
        "a prefill sees the whole context everywhere",
        INVENTORY,
        "if not self.causal:",
        "if True:",
        "test_flops.test_prefill_sees_half_the_context",
    ),
    Mutant(
        "a token does not see itself",
        INVENTORY,
        "whole * (rest + 1)",
        "whole * rest",
        "test_cache.test_reach_over_a_prefill_by_hand",
    ),
    Mutant(
        "window without a ramp",
        INVENTORY,
        "_floor_sum(ramp, self.stride) + (context - ramp) * (self.limit or 0)",
        "_floor_sum(ramp, self.stride) if self.limit is None else context * self.limit",
        "test_cache.test_reach_over_a_prefill_by_hand",
    ),
    Mutant(
        "prefill runs decode's absorbed form",
        FLOPS,
        '_operations(inventory, "prefill")\n    )\n',
        '_operations(inventory, "decode")\n    )\n',
        "test_flops.test_mla_prefill_is_expanded_and_decode_absorbed",
    ),
    Mutant(
        "decode runs prefill's expanded form",
        FLOPS,
        '_operations(inventory, "decode")\n    )\n',
        '_operations(inventory, "prefill")\n    )\n',
        "test_flops.test_mla_prefill_is_expanded_and_decode_absorbed",
    ),
    Mutant(
        "training is twice forward",
        FLOPS,
        "TRAINING_FACTOR = 3",
        "TRAINING_FACTOR = 2",
        "test_published.test_training_flops_per_token",
    ),
    Mutant(
        "towers cost text FLOPs",
        FLOPS,
        "for block in inventory.text\n",
        "for block in inventory.blocks\n",
        "test_worked.test_part_of_its_own_width",
    ),
    Mutant(
        "cache is a rate times the context",
        CACHE,
        "(1 if state.reach is None else state.reach.entries(context))",
        "(1 if state.reach is None else context)",
        "test_cache.test_windows_have_a_ceiling",
    ),
    Mutant(
        "recurrent state grows with the context",
        CACHE,
        "(1 if state.reach is None else",
        "(context if state.reach is None else",
        "test_cache.test_recurrent_layers_keep_a_fixed_state",
    ),
    Mutant(
        "longest context off by one",
        CACHE,
        "    return low\n",
        "    return high\n",
        "test_cache.test_max_context_ends",
    ),
    Mutant(
        "scales of a packed cache forgotten",
        CACHE,
        '"q8_0": 34',
        '"q8_0": 32',
        "test_cache.test_packed_formats_round_up_once",
    ),
)

BYTES = (
    Mutant(
        "block scales forgotten",
        FORMATS,
        "groups * form.scale_bytes",
        "0",
        "test_published.test_native_bytes",
    ),
    Mutant(
        "tiles rounded down",
        FORMATS,
        "return -(-value // divisor)",
        "return value // divisor",
        "test_published.test_native_bytes",
    ),
    Mutant(
        "MXFP4 in groups of 16",
        FORMATS,
        'group of 32", 32,',
        'group of 32", 16,',
        "test_formats.test_mxfp4_group_is_32",
    ),
    Mutant(
        "NVFP4 without its scalars",
        FORMATS,
        "scale_bytes=1, matrix_bytes=8",
        "scale_bytes=1",
        "test_formats.test_nvfp4_scalars",
    ),
    Mutant(
        "zero points forgotten",
        FORMATS,
        "zeros = _ceil(groups * form.zero_bits, 8)",
        "zeros = 0",
        "test_formats.test_zero_points",
    ),
    Mutant(
        "GGUF rows that fill no block cut short",
        FORMATS,
        "while columns % form.group:",
        "while False:",
        "test_formats.test_gguf_falls_back_where_rows_are_no_multiple_of_256",
    ),
    Mutant(
        "output head quantised",
        FORMATS,
        '        "dense_mlp",\n    }',
        '        "dense_mlp",\n        "lm_head",\n    }',
        "test_formats.test_uniform_formats_leave_head_router_and_table",
    ),
    Mutant(
        "router quantised",
        FORMATS,
        '        "dense_mlp",\n    }',
        '        "dense_mlp",\n        "router",\n    }',
        "test_formats.test_uniform_formats_leave_head_router_and_table",
    ),
    Mutant(
        "norms and biases quantised",
        WEIGHTS,
        'return weight.use in ("matmul", "lookup")',
        "return True",
        "test_formats.test_rules_later_wins_vectors_and_buffers_keep_theirs",
    ),
    Mutant(
        "experts share their tiles",
        WEIGHTS,
        "return weight.copies * matrix_bytes(form, weight.shape)",
        "return matrix_bytes(form, (weight.copies, *weight.shape))",
        "test_formats.test_scales_are_per_expert_and_per_table",
    ),
    Mutant(
        "correction biases in the weights' type",
        WEIGHTS,
        "            return weight.buffer\n",
        "            return self.default\n",
        "test_published.test_native_bytes",
    ),
    Mutant(
        "MTP in the served bytes",
        WEIGHTS,
        "return sum(_by_component(inventory.text, storage).values())",
        "return sum(_by_component(inventory.blocks, storage).values())",
        "test_published.test_native_bytes",
    ),
)

MUTANTS = (*LAYERS_AND_PARTS, *ATTENTION, *RECURRENT, *EXPERTS, *ESTIMATES, *BYTES)
