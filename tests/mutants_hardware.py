"""Injected bugs: what a text about hardware stands for, and how much memory it has."""

from __future__ import annotations

from mutant import Mutant

CHOOSE = "hardware/choose.py"
CLUSTER = "hardware/cluster.py"
FIGURES = "hardware/figures.py"
MEMORY = "hardware/memory.py"
NAMES = "hardware/names.py"
NOTATION = "hardware/notation.py"
RESOLVE = "hardware/resolve.py"
WRITTEN = "test_hardware_notation.test_a_way_of_writing"
REFUSED = "test_hardware_notation.test_a_way_that_is_not_understood"
TOLD = "test_hardware_notation.test_what_is_taken_for_granted_is_told"
SLICE = "test_hardware_notation.test_a_slice_has_its_share"
RACK = "test_hardware_notation.test_a_racks_link_crosses_its_nodes"

HARDWARE = (
    Mutant(
        "the driver keeps nothing",
        MEMORY,
        "return UsableMemory(driver.amount - reserve, basis)",
        "return UsableMemory(driver.amount, basis)",
        "test_hardware_notation.test_a_reserve_is_taken_where_only_the_driver_is_known",
    ),
    Mutant(
        "a marketing GB is 1e9 bytes",
        FIGURES,
        """binary = unit if "i" in unit else f"{unit[0]}iB\"""",
        "binary = unit",
        "test_hardware_notation.test_a_marketing_gb_is_close_to_a_gib",
    ),
    Mutant(
        "a Mac wires all of its memory",
        MEMORY,
        "given_bytes * APPLE_PERCENT // 100",
        "given_bytes",
        "test_hardware_notation.test_a_mac_wires_three_quarters",
    ),
    Mutant(
        "a slice has one memory slice",
        CLUSTER,
        "whole.bytes * share // all_of_it",
        "whole.bytes // all_of_it",
        SLICE,
    ),
    Mutant(
        "a slice computes as it remembers",
        CLUSTER,
        "self.part.compute if self.part else (1, 1)",
        "self.part.memory if self.part else (1, 1)",
        SLICE,
    ),
    Mutant(
        "a rack's link stays in its node",
        RESOLVE,
        "min(reach, total) if system is not None and system.domain else min(reach, per_node)",
        "min(reach, per_node)",
        RACK,
    ),
    Mutant(
        "a bridge joins any machine",
        CLUSTER,
        "_NODE_LINKS if spec.node else _ANY_MACHINE",
        "_NODE_LINKS",
        "test_hardware_notation.test_a_bridge_is_not_taken_to_reach_a_whole_machine",
    ),
    Mutant(
        "a family's default is its first by name",
        NAMES,
        "members.insert(0 if spec.family_default else len(members), spec.name)",
        "members.append(spec.name)",
        WRITTEN,
    ),
    Mutant(
        "the memory in a name is ignored", CHOOSE, "or given in _sizes(spec)]", "or _sizes(spec)]", WRITTEN
    ),
    Mutant("cores are taken for chips", CHOOSE, "chips = number // cores", "chips = number", WRITTEN),
    Mutant(
        "a default is not told",
        CHOOSE,
        """notes = (f"{asked.name} is taken as {spec.name}, and not {one_of(others)}",) if others else ()""",
        "notes = ()",
        TOLD,
    ),
    Mutant(
        "a count of nothing is planned for",
        NOTATION,
        """if digits.startswith("-") or not digits.strip("0"):""",
        """if digits.startswith("-"):""",
        REFUSED,
    ),
    Mutant(
        "a node may be half empty",
        RESOLVE,
        "if count % system.per_node:",
        "if count < 0:",
        REFUSED,
    ),
    Mutant(
        "the vendor is not looked at",
        CHOOSE,
        """if asked.vendor in ("", spec.vendor)]""",
        "if spec.vendor]",
        REFUSED,
    ),
)
