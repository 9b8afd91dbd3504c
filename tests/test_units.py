"""Sizes and scales as people write them, and sizes as they are told: exact, or refused with what is allowed."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import deterministic

from moe_plan.units import BYTE_UNITS, binary_size, byte_size, printed_count, scale_factor


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("2GiB", 2_147_483_648),
        ("500MB", 500_000_000),
        ("80GB", 80_000_000_000),
        ("1.5 TiB", 1_649_267_441_664),
        ("512KiB", 524_288),
        ("3kB", 3_000),
        ("7B", 7),
        ("0.0000001GB", 100),
        ("1.9B", 1),
        ("007MiB", 7_340_032),
        ("999999999999999TiB", 999_999_999_999_999 << 40),
    ],
)
def test_sizes(text, n_bytes):
    assert byte_size(text) == n_bytes


@pytest.mark.parametrize(
    "text",
    [
        *(
            "80Gb",
            "80 gbit",
            "80GiBs",
            "80gib",
            "80KB",
            "80G",
            "80",
            "GB",
            "",
            " ",
            "80  GB",
            " 80GB",
            "80GB ",
        ),
        *(
            "-1GB",
            "+1GB",
            "1e3GB",
            "1_000MB",
            "1,000MB",
            "１GB",
            "８０GB",
            ".5GB",
            "5.GB",
            "1.2.3GB",
            "infGB",
        ),
        *("0GB", "0.9B", "0.0B", "80GB\n", "80GB\x00", "0x10GB", "1GB GB", "9" * 5_000 + "GB", "1GB" * 2_000),
    ],
)
def test_what_is_no_size(text):
    with pytest.raises(
        ValueError, match="is not a size such as 2GiB or 500MB; units are B, kB, MB, GB"
    ) as refused:
        byte_size(text)
    assert len(str(refused.value)) < 250
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("text", "scale"),
    [
        ("1", Fraction(1)),
        ("1.0", Fraction(1)),
        ("1/16", Fraction(1, 16)),
        ("2/32", Fraction(1, 16)),
        ("3/4", Fraction(3, 4)),
        ("0.1", Fraction(1, 10)),
        ("0.000000001", Fraction(1, 10**9)),
        ("16/16", Fraction(1)),
    ],
)
def test_scales(text, scale):
    assert scale_factor(text) == scale


@pytest.mark.parametrize(
    "text",
    [
        *("0", "0.0", "0/5", "1/0", "0/0", "2", "1.001", "17/16", "-1/2", "1/-2", "-0.5", "+1", ".5", "1."),
        *(
            "1e-3",
            "50%",
            "nan",
            "inf",
            "",
            " ",
            " 1/2",
            "1/2 ",
            "1 / 2",
            "1/16/2",
            "1/0.5",
            "１/2",
            "1/2\n",
            "half",
        ),
        *("9" * 5_000, "1/" + "9" * 5_000, "0." + "1" * 5_000),
    ],
)
def test_what_is_no_scale(text):
    with pytest.raises(ValueError, match="is not a scale above 0 and at most 1, such as 1/16 or") as refused:
        scale_factor(text)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (1_023, "1,023 B"),
        (1_024, "1.00 KiB"),
        (10_235, "10.0 KiB"),
        (102_348, "99.9 KiB"),
        (102_400, "100 KiB"),
        (1_048_063, "1,023 KiB"),
        (1_048_064, "1.00 MiB"),
        (16_106_127_360, "15.0 GiB"),
        (1 << 70, "1,024 EiB"),
    ],
)
def test_sizes_are_told_in_three_digits(n_bytes, text):
    assert binary_size(n_bytes) == text


@deterministic
@given(st.integers(1, 10**12), st.sampled_from(sorted(BYTE_UNITS)))
def test_whole_sizes_are_exact(number, unit):
    assert byte_size(f"{number}{unit}") == number * BYTE_UNITS[unit]


@deterministic
@given(st.fractions(min_value=0, max_value=1, max_denominator=10**9 - 1))
def test_scales_are_exact(scale):
    if scale:
        assert scale_factor(f"{scale.numerator}/{scale.denominator}") == scale


@deterministic
@given(st.text(max_size=20))
def test_any_text_is_read_or_refused(text):
    for read in (byte_size, scale_factor):
        try:
            assert read(text) > 0
        except ValueError as error:
            assert "is not a" in str(error)


def test_printed_counts():
    assert printed_count("46.7B") == Decimal(46_700_000_000)
    assert printed_count("12") == Decimal(12)
