"""The shipped hardware: every figure sourced and sane, dense rates only, names that mean one thing."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import pytest
from conftest import ROOT
from test_imports import loaded_after

from moe_plan.hardware.cluster import Device
from moe_plan.hardware.figures import LINKS, MEMORY, PLACES, RATES, absent, figure, figures, marketing_bytes
from moe_plan.hardware.names import index, key, names
from moe_plan.spec import hardware, hardware_catalogue
from moe_plan.spec.hardware_load import load_hardware, parse_hardware
from moe_plan.spec.locked import Locked
from moe_plan.units import quantity

FOLDER = ROOT / "hardware_specs"
FILES = sorted(FOLDER.glob("*.yaml"))
SHIPPED = hardware_catalogue.catalogue()
ACCELERATORS = SHIPPED.accelerators

# FP8 that is not twice 16 bits, with the reason.
FP8_EXCEPTIONS = {
    "gaudi3": 1.0,  # its matrix engine has one rate for both
    "tpu-v5p": 1.0,  # no fp8 units: computed in bf16
    "tpu-v6e": 1.0,  # no fp8 units: computed in bf16
    "trainium3": 3.75,  # 16-bit units were kept at Trainium2's rate
    "rubin-sxm": 4.375,  # announced so
}
FP4_EXCEPTIONS = {
    "b300-sxm": 3.0,  # Blackwell Ultra: fp4 units grew alone
    "gb300": 3.0,
    "rtx-5090": 4.0,  # GeForce halves fp8 with fp32 accumulation, and not fp4
    "trainium3": 1.0,
}
INT8_EXCEPTIONS = {
    "b300-sxm": 153.5 / 4500,  # Blackwell Ultra cut integers
    "gb300": 165 / 5000,
    "rtx-4090": 2.0,  # GeForce halves fp8 with fp32 accumulation, and not integers
    "tpu-v5p": 2.0,
    "tpu-v6e": 2.0,
}
# What vendors print with 2:4 sparsity (Trainium: 4:1), in TFLOP/s. None of it may be taken for a dense rate.
ADVERTISED_SPARSE = {
    "a100-sxm4-80": {"bf16": 624, "int8": 1248},
    "h100-pcie": {"bf16": 1513, "fp8": 3026},
    "h100-sxm": {"tf32": 989, "bf16": 1979, "fp8": 3958, "int8": 3958},
    "h200-sxm": {"bf16": 1979, "fp8": 3958},
    "l40s": {"bf16": 733, "fp8": 1466},
    "b200-sxm": {"bf16": 4500, "fp8": 9000, "fp4": 18000},
    "b300-sxm": {"bf16": 4500, "fp8": 9000, "fp4": 18000},
    "gb200": {"bf16": 5000, "fp8": 10000, "fp4": 20000},
    "rtx-4090": {"fp8": 660.6, "int8": 1321},
    "rtx-5090": {"bf16": 838, "fp8": 1676, "fp4": 3352},
    "gb10": {"fp4": 1000},
    "jetson-thor-t5000": {"fp4": 2070},
    "mi300x": {"bf16": 2614.9, "fp8": 5229.8},
    "trainium2": {"fp8": 2563, "bf16": 2563},
}


def rate(name: str, number_format: str) -> int | None:
    return Device(ACCELERATORS[name]).rate(number_format)


def ratios(above: str, below: tuple[str, ...]) -> dict[str, float]:
    found = {}
    for name in ACCELERATORS:
        divisor = next((value for kind in below if (value := rate(name, kind))), None)
        if divisor and rate(name, above):
            found[name] = rate(name, above) / divisor
    return found


def test_the_catalogue_is_large_and_has_the_ends_of_the_range():
    assert len(ACCELERATORS) >= 60
    assert {"t4", "rtx-3090", "gb300", "mi355x", "tpu-v6e", "tpu7x", "trainium2", "gaudi3", "gb10"} <= set(
        ACCELERATORS
    )
    assert {"hgx-h100", "gb200-nvl72"} <= set(SHIPPED.systems)
    instances = {name for cloud in SHIPPED.clouds.values() for name in cloud.instances}
    assert {"p5.48xlarge", "a2-ultragpu-8g", "Standard_ND96isr_H100_v5", "gpu_8x_h100_sxm5"} <= instances
    vendors = Counter(spec.vendor for spec in ACCELERATORS.values())
    assert set(vendors) == {"nvidia", "amd", "google", "aws", "intel", "apple"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_valid_named_as_its_hardware_and_clean(path):
    text = path.read_text(encoding="utf-8")
    spec, notes = load_hardware(str(path))
    assert (spec.name, notes) == (path.stem, ())
    assert text.splitlines()[:2] == [
        "# yaml-language-server: $schema=../schemas/hardware-v1.json",
        f"kind: {spec.kind}",
    ]
    assert text.isascii()
    assert not re.search(r"/work\b|corpus|\bshared/|helper", text)
    assert max(map(len, text.splitlines())) <= 180
    named = Counter(re.findall(r"source: ([a-z0-9-]+)", text))
    extra = {"nvidia-nvlink"}  # says how far the link of a rack reaches, which is no figure
    assert set(spec.sources) - extra == set(named), "a source that no figure names"


def test_the_lock_is_fresh_and_holds_what_the_files_say():
    for shelf in SHIPPED:
        for name, locked in shelf.items():
            assert type(locked) is Locked, f"{name}: python -m moe_plan.spec.hardware_catalogue"
            spec, _ = load_hardware(str(FOLDER / f"{name}.yaml"))
            assert thawed(locked) == spec.model_dump(), name


def thawed(value: object) -> object:
    if isinstance(value, Locked):
        return {name: thawed(item) for name, item in vars(value).items()}
    if isinstance(value, dict):
        return {name: thawed(item) for name, item in value.items()}
    return tuple(thawed(item) for item in value) if isinstance(value, tuple) else value


def test_resolving_a_name_imports_nothing_heavy():
    loaded = loaded_after(
        "from moe_plan.hardware.resolve import resolve; assert resolve('8xH100').devices == 8"
    )
    assert not {"torch", "numpy", "pydantic", "yaml", "typer", "rich", "pynvml", "subprocess"} & loaded


def test_comparing_models_reads_no_hardware():
    code = "from moe_plan.__main__ import main; main(['compare', 'mixtral-8x7b', '-o', 'json=/dev/null'])"
    assert not {name for name in loaded_after(code) if name.startswith("moe_plan.hardware")}


def test_a_stale_or_damaged_lock_is_passed_over(tmp_path, monkeypatch):
    for name in ("t4", "hgx-h100", "h100-sxm", "lambda"):
        (tmp_path / f"{name}.yaml").write_bytes((FOLDER / f"{name}.yaml").read_bytes())
    for path in FILES:
        if f"accelerator: {path.stem}," in (FOLDER / "lambda.yaml").read_text() and path.stem != "h100-sxm":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(hardware_catalogue, "folder", lambda: tmp_path)
    hardware_catalogue.relock()
    lock = tmp_path / hardware_catalogue.LOCK_NAME
    sound = lock.read_bytes()
    assert type(hardware_catalogue.catalogue().accelerators["t4"]) is Locked
    for damaged in (b"", sound.replace(b"15360 MiB", b"15361 MiB"), sound[:-40], b"\xff" * 1000):
        lock.write_bytes(damaged)
        t4 = hardware_catalogue.catalogue().accelerators["t4"]
        assert figure(t4, "memory.driver").amount == 15360 << 20
    lock.write_bytes(sound)
    changed = (tmp_path / "t4.yaml").read_text().replace("15360 MiB", "15000 MiB")
    (tmp_path / "t4.yaml").write_text(changed)
    t4 = hardware_catalogue.catalogue().accelerators["t4"]
    assert type(t4) is hardware.Accelerator
    assert figure(t4, "memory.driver").amount == 15000 << 20


def test_places_are_the_schema():
    assert set(hardware.Memory.model_fields) - {"kind"} == set(MEMORY)
    assert set(hardware.Rates.model_fields) == set(RATES)
    assert set(hardware.Links.model_fields) == set(LINKS)
    assert len(PLACES) == len(set(PLACES))


def test_every_figure_has_a_source_with_a_confidence():
    count = 0
    for spec in ACCELERATORS.values():
        for found in figures(spec):
            count += 1
            assert found.ref, (spec.name, found)
            assert found.confidence
            if found.place != "memory.marketed":
                assert found.amount == quantity(found.printed)
    assert count >= 400


def test_what_is_not_confirmed_is_absent_and_told():
    for spec in ACCELERATORS.values():
        for place in spec.unconfirmed:
            assert place in PLACES, (spec.name, place)
            assert figure(spec, place) is None, (spec.name, place)
            assert place in {gap.place for gap in absent(spec)}
    reasons = {gap.place: gap.reason for gap in absent(ACCELERATORS["a100-sxm4-40"])}
    assert "40960 MiB" in reasons["memory.driver"]


def test_memory_sizes_follow_each_other():
    """The driver reports a little less than what is printed on it, a program sees a little less than that."""
    for spec in ACCELERATORS.values():
        sizes = {place: figure(spec, f"memory.{place}") for place in ("marketed", "driver", "usable")}
        printed = sizes["marketed"] and marketing_bytes(sizes["marketed"].printed)
        driver, usable = sizes["driver"], sizes["usable"]
        if printed and driver:
            assert 0.92 <= driver.amount / printed <= 1, spec.name
        if driver and usable:
            assert 0.94 <= usable.amount / driver.amount <= 1, spec.name
        if printed and usable:
            assert 0.90 <= usable.amount / printed <= 1, spec.name
        memory = Device(spec).memory()
        assert (memory is None) == (spec.vendor == "apple"), spec.name
        if memory and printed:
            assert 0.90 <= memory.bytes / printed <= 1, (spec.name, memory)


def test_other_figures_are_sane():
    bounds = {
        "memory.bandwidth": (100e9, 25e12),
        "memory.measured_bandwidth": (100e9, 25e12),
        "power": (20, 2500),
    }
    for spec in ACCELERATORS.values():
        bandwidth = figure(spec, "memory.bandwidth")
        for found in figures(spec):
            least, most = bounds.get(found.place, (0, float("inf")))
            assert least <= found.amount <= most, (spec.name, found)
            for other in found.also:
                assert 0.8 <= other.amount / found.amount <= 1.25, (spec.name, found)
            if found.place.startswith("links."):
                assert found.amount < bandwidth.amount, (spec.name, found)
            if found.place.startswith("rates."):
                assert ("int" in found.place) == ("TOP/s" in found.printed), (spec.name, found)
                assert 1e12 <= found.amount <= 4e16, (spec.name, found)


def test_fp8_is_twice_16_bits_with_listed_exceptions():
    found = ratios("fp8", ("bf16", "fp16"))
    assert len(found) >= 20
    assert found == {name: pytest.approx(FP8_EXCEPTIONS.get(name, 2.0), rel=0.03) for name in found}
    assert set(FP8_EXCEPTIONS) <= set(found)


def test_fp4_is_twice_fp8_with_listed_exceptions():
    found = ratios("fp4", ("fp8",))
    assert found == {name: pytest.approx(FP4_EXCEPTIONS.get(name, 2.0), rel=0.03) for name in found}
    assert set(FP4_EXCEPTIONS) <= set(found)


def test_int8_is_fp8_with_listed_exceptions():
    found = ratios("int8", ("fp8",))
    assert found == {name: pytest.approx(INT8_EXCEPTIONS.get(name, 1.0), rel=0.03) for name in found}
    assert set(INT8_EXCEPTIONS) <= set(found)


def test_bf16_and_fp16_are_one_rate_and_tf32_no_more_than_half():
    for name in ACCELERATORS:
        bf16, fp16, tf32 = (rate(name, kind) for kind in ("bf16", "fp16", "tf32"))
        if bf16 and fp16:
            assert bf16 == fp16, name
        if bf16 and tf32:
            assert tf32 <= bf16 * 0.51, name


def test_no_rate_is_an_advertised_sparse_one():
    for name, sparse in ADVERTISED_SPARSE.items():
        for number_format, teraflops in sparse.items():
            dense = rate(name, number_format)
            assert dense is not None, (name, number_format)
            assert dense <= 0.8 * teraflops * 1e12, (name, number_format)
    for path in FILES:
        assert not re.search(r"^  \w*spars", path.read_text(), re.MULTILINE)


def test_every_name_means_one_thing():
    bearers = defaultdict(set)
    for name, entry in names(SHIPPED):
        bearers[key(name)].add(entry)
    assert not {name: found for name, found in bearers.items() if len(found) > 1}
    families = index(SHIPPED).families
    assert not set(families) & set(bearers)
    assert all(key(spec.family) in families for spec in ACCELERATORS.values() if spec.family)
    for family in families:
        defaults = [
            s.name for s in ACCELERATORS.values() if s.family and key(s.family) == family and s.family_default
        ]
        assert len(defaults) == 1, family
        assert families[family][0] == defaults[0]


def test_nodes_are_those_of_their_accelerators():
    for spec in ACCELERATORS.values():
        if spec.node:
            assert SHIPPED.systems[spec.node].accelerator == spec.name
    for system in SHIPPED.systems.values():
        assert system.accelerator in ACCELERATORS
        assert system.link is None or figure(ACCELERATORS[system.accelerator], f"links.{system.link}")
        assert (system.domain or system.per_node) >= system.per_node


def test_slices_are_named_after_their_size():
    """`3g.40gb` of an 80 GB card: 3 of 7 compute slices, 4 of 8 memory slices; the gb is rounded."""
    for spec in ACCELERATORS.values():
        for name, part in spec.mig.profiles.items() if spec.mig else ():
            compute, gigabytes = re.match(r"(\d)g\.(\d+)gb", name).groups()
            assert part.compute == int(compute), (spec.name, name)
            whole = float(spec.memory.marketed.value.split()[0])
            share = whole * part.memory / spec.mig.memory_slices
            assert share * 0.9 - 1 <= int(gigabytes) <= share + 1, (spec.name, name)


def test_defaults_of_slices_do_not_compete():
    for profile in {name for spec in ACCELERATORS.values() if spec.mig for name in spec.mig.profiles}:
        bearers = [spec for spec in ACCELERATORS.values() if spec.mig and profile in spec.mig.profiles]
        assert len(bearers) == 1 or sum(spec.mig.default for spec in bearers) == 1, profile


def test_a_users_own_gpu_is_one_file():
    spec, notes = parse_hardware(OWN.encode(), "own.yaml")
    assert (spec.name, notes) == ("my-gpu", ())
    assert Device(spec).bandwidth() == 4 * 10**12


OWN = """kind: accelerator
name: my-gpu
vendor: other
sources:
  sheet: {confidence: vendor, ref: its data sheet of 2026-10}
memory:
  kind: hbm
  driver: {value: 95 GiB, source: sheet}
  bandwidth: {value: 4 TB/s, source: sheet}
rates:
  bf16: {value: 900 TFLOP/s, source: sheet}
"""
