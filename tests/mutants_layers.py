"""Injected bugs: layers, parts and what is tied."""

from __future__ import annotations

from mutant import Mutant

BUILD = "anatomy/build.py"
FLOWS = "spec/flows.py"
INVENTORY = "anatomy/inventory.py"

LAYERS_AND_PARTS = (
    Mutant(
        "one layer times L, the first dense layers ignored",
        BUILD,
        "places.setdefault(_contents(run), (run, []))[1]",
        'places.setdefault(("all",), (run, []))[1]',
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
        "yield from unfolded(run.pattern)",
        "yield from unfolded(run.pattern[:1])",
        "test_worked.test_pattern",
    ),
    Mutant(
        "layers that differ in a tensor only are merged",
        BUILD,
        "tuple(_tensor(tensor) for tensor in run.tensors),\n    )",
        "tuple(tensor.name for tensor in run.tensors),\n    )",
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
        "hidden, source = part.hidden or spec.hidden,",
        "hidden, source = spec.hidden,",
        "test_worked.test_part_of_its_own_width",
    ),
    Mutant(
        "part's norms as wide as the model",
        BUILD,
        "hidden, norm = part.hidden or spec.hidden,",
        "hidden, norm = spec.hidden,",
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
        FLOWS,
        "len(block_names(run.attention)) + len(block_names(run.ffn))",
        "1",
        "test_worked.test_whole_model",
    ),
    Mutant(
        "a sandwich of one slice",
        FLOWS,
        'return 2 * blocks if run.flow == "sandwich" else blocks',
        "return blocks",
        "test_worked.test_norms_of_a_flow",
    ),
    Mutant(
        "a norm for each block of a shortcut",
        FLOWS,
        'Shape(2, ("dense", "dense", "moe"), 4)',
        'Shape(2, ("dense", "dense", "moe"), 5)',
        "test_worked.test_norms_of_a_flow",
    ),
    Mutant(
        "Gemma's experts without their norms",
        FLOWS,
        'Shape(1, ("dense", "moe"), 7)',
        'Shape(1, ("dense", "moe"), 4)',
        "test_worked.test_norms_of_a_flow",
    ),
    Mutant(
        "norms that a run gives are not taken",
        FLOWS,
        "return flow_norms(run) if run.norms is None else run.norms",
        "return flow_norms(run)",
        "test_worked.test_norms",
    ),
    Mutant("norm biases dropped", BUILD, "if norm.bias:", "if False:", "test_worked.test_norms"),
    Mutant(
        "second block of a layer overwrites the first",
        FLOWS,
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
