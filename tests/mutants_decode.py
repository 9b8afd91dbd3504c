"""Injected bugs: what a decode step runs again, how tensors are cut, how specs are read."""

from __future__ import annotations

from mutant import Mutant

BUILD = "anatomy/build.py"
FFN = "anatomy/ffn.py"
INVENTORY = "anatomy/inventory.py"
GQA = "anatomy/attention/gqa.py"
MLA = "anatomy/attention/mla.py"
DELTA = "anatomy/attention/delta.py"
MAMBA = "anatomy/attention/mamba.py"
FLOPS = "estimate/flops.py"
READS = "estimate/reads.py"
LOCKED = "spec/locked.py"
RULES_LAYERS = "spec/rules_layers.py"

DECODE = (
    Mutant(
        "cross-attention's keys projected at the decoder's width",
        GQA,
        "source if spec.cross else hidden",
        "hidden",
        "test_worked_decode.test_encoder_of_another_width",
    ),
    Mutant(
        "the encoder's width for the decoder's own keys",
        GQA,
        "source if spec.cross else hidden",
        "source",
        "test_worked_decode.test_encoder_of_another_width",
    ),
    Mutant(
        "encoder run again in decode",
        BUILD,
        'GENERATING: tuple[Role, ...] = ("decoder", "mtp")',
        'GENERATING: tuple[Role, ...] = ("decoder", "mtp", "encoder")',
        "test_worked_decode.test_decode_leaves_out_the_encoder_and_the_keys_of_its_output",
    ),
    Mutant(
        "encoder's final norm read again in decode",
        BUILD,
        "yield _block(name, role, (), Body(outside))",
        "yield Block(name, role, (), *Body(outside))",
        "test_worked_decode.test_decode_leaves_out_the_encoder_and_the_keys_of_its_output",
    ),
    Mutant(
        "encoder attention scored again in decode",
        INVENTORY,
        'tuple(o._replace(phase="prefill") for o in self.operations)',
        "self.operations",
        "test_worked_decode.test_decode_leaves_out_the_encoder_and_the_keys_of_its_output",
    ),
    Mutant(
        "cross-attention's keys projected again in decode",
        GQA,
        "key_value = Body(key_value).in_prefill().weights",
        "pass",
        "test_worked_decode.test_switch_decode_flops",
    ),
    Mutant(
        "decode multiplies what prefill does",
        FLOPS,
        'weight_flops(inventory, "decode") + attention',
        "weight_flops(inventory) + attention",
        "test_worked_decode.test_switch_decode_flops",
    ),
    Mutant(
        "decode reads what prefill does",
        READS,
        'inventory.text_weights_run("decode")',
        "inventory.text_weights()",
        "test_worked_decode.test_switch_decode_bytes",
    ),
)

SHARDING = (
    Mutant(
        "Mamba-2 cut by groups throughout",
        MAMBA,
        "return Body(weights, states, _scan(inner * spec.state))",
        "weights = tuple(w._replace(max_tp=groups) for w in weights)\n"
        "    return Body(weights, states, _scan(inner * spec.state))",
        "test_sharding.test_attention",
    ),
    Mutant(
        "B and C of Mamba-2 cut by heads",
        MAMBA,
        "(shared, hidden), max_tp=groups",
        "(shared, hidden), max_tp=heads",
        "test_sharding.test_attention",
    ),
    Mutant(
        "key-value heads cut as query heads",
        GQA,
        'Weight("attention.k", ATTENTION, (key_width, hidden), max_tp=tp)',
        'Weight("attention.k", ATTENTION, (key_width, hidden), max_tp=spec.heads)',
        "test_sharding.test_attention",
    ),
    Mutant(
        "cached keys cut as query heads",
        GQA,
        "tp * spec.head_dim, reach, max_tp=tp",
        "tp * spec.head_dim, reach, max_tp=spec.heads",
        "test_sharding.test_attention",
    ),
    Mutant(
        "cached latent cut by heads",
        MLA,
        'State("attention.latent", spec.kv_rank, Reach())',
        'State("attention.latent", spec.kv_rank, Reach(), max_tp=spec.heads)',
        "test_sharding.test_attention",
    ),
    Mutant(
        "values of a gated delta rule cut by key heads",
        DELTA,
        "(2 * value_width, hidden), max_tp=values",
        "(2 * value_width, hidden), max_tp=keys",
        "test_sharding.test_attention",
    ),
    Mutant(
        "router cut by experts",
        FFN,
        "(choices, hidden))]\n",
        "(choices, hidden), max_tp=choices)]\n",
        "test_sharding.test_experts",
    ),
    Mutant(
        "experts left whole",
        FFN,
        "spec.top_k, use=use, max_tp=tp",
        "spec.top_k, use=use",
        "test_sharding.test_experts",
    ),
    Mutant(
        "output bias added by every rank",
        FFN,
        'Weight("dense.down_bias", "dense_mlp", (hidden,), use="vector")',
        'Weight("dense.down_bias", "dense_mlp", (hidden,), use="vector", max_tp=hidden)',
        "test_sharding.test_dense",
    ),
)

READING = (
    Mutant(
        "damage to the lock not noticed",
        LOCKED,
        "if payload and checksum == _checksum(payload):",
        "if payload:",
        "test_locked.test_a_changed_payload_is_passed_over",
    ),
    Mutant(
        "stale lock taken for the YAML",
        LOCKED,
        'return f"{crc32(yaml_bytes):08x}{schema:08x}"',
        'return f"{0:08x}{schema:08x}"',
        "test_locked.test_a_stale_yaml_counts_and_not_the_lock",
    ),
    Mutant(
        "lock of another schema taken",
        LOCKED,
        "schema = crc32(path.read_bytes(), schema)",
        "schema = 0",
        "test_locked.test_a_stale_schema_is_noticed",
    ),
    Mutant(
        "layers of each part bounded alone",
        RULES_LAYERS,
        "total = sum(counts.values())",
        "total = max(counts.values())",
        "test_mutants.test_layers_of_all_parts_are_bounded",
    ),
    Mutant(
        "layers not bounded",
        RULES_LAYERS,
        "if total > limits.TOTAL_LAYERS:",
        "if False:",
        "test_mutants.test_layers_of_all_parts_are_bounded",
    ),
)
