"""Injected bugs: active parameters, FLOPs, caches and bytes."""

from __future__ import annotations

from mutant import Mutant

INVENTORY = "anatomy/inventory.py"
FORMATS = "estimate/formats.py"
WEIGHTS = "estimate/weights.py"
PARAMS = "estimate/params.py"
CACHE = "estimate/cache.py"
FLOPS = "estimate/flops.py"

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
        "tables of other components among the body",
        PARAMS,
        'if w.use != "lookup" and w.component not in _ENDS',
        "if w.component not in _ENDS",
        "test_worked.test_extra_tensors",
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
        "a shared expert's gate quantised by llama.cpp",
        FORMATS,
        'GGUF = LINEAR | {"embedding",',
        'GGUF = LINEAR | {"shared_expert_gate", "embedding",',
        "test_worked_ffn.test_shared_gate_is_a_vector_to_llama_cpp",
    ),
    Mutant(
        "towers quantised by the text model's rules",
        WEIGHTS,
        "return self if role in QUANTISED_ROLES else",
        "return self if True else",
        "test_weights.test_towers_stay_unquantised",
    ),
    Mutant(
        "a tied head in the format of heads",
        WEIGHTS,
        "    if not weight.stored:\n",
        "    if False:\n",
        "test_weights.test_a_tied_head_has_the_format_of_the_table_it_is",
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
