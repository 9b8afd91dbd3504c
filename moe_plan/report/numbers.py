"""Numbers as people read them: three significant digits and a unit. Exact figures are in JSON and CSV."""

from __future__ import annotations

MISSING = "-"
TIMES = "\u00d7"
_DECIMAL = ("", "K", "M", "B", "T", "P", "E")
_SI = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def exact(number: int) -> str:
    """`70272` -> `70,272`."""
    return f"{number:,}"


def count(number: int) -> str:
    """Parameters, in the vendors' notation: `46702792704` -> `46.7B`."""
    scaled, prefix = _scaled(number, 1_000, _DECIMAL)
    return f"{scaled}{prefix}"


def size(n_bytes: int) -> str:
    """Bytes in binary units: `93405585408` -> `87.0 GiB`."""
    scaled, unit = _scaled(n_bytes, 1_024, _BINARY)
    return f"{scaled} {unit}"


def flops(number: int) -> str:
    """Work: `25756434432` -> `25.8 GFLOP`."""
    scaled, prefix = _scaled(number, 1_000, _SI)
    return f"{scaled} {prefix}FLOP"


def si(number: int, unit: str) -> str:
    """A quantity with a decimal prefix before its unit: `3350000000000` -> `3.35 TB/s`."""
    scaled, prefix = _scaled(number, 1_000, _SI)
    return f"{scaled} {prefix}{unit}"


def seconds(value: float) -> str:
    """Wall time: `0.0123` -> `12.3 ms`."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        # 0.9996 s would be printed as 1,000 ms.
        if round(value * factor, 3) >= 1 or value == 0:
            return f"{three_digits(value * factor)} {unit}"
    return f"{three_digits(value * 1e6)} us"


def ratio(value: float) -> str:
    """Three significant digits: `3.6259` -> `3.63`, `17.87` -> `17.9`."""
    return three_digits(value)


def rounded(value: float) -> float:
    """`value` to six significant digits, as the machine formats print ratios."""
    return float(f"{value:.6g}")


def three_digits(value: float) -> str:
    """Three significant digits without an exponent; thousands keep all their digits."""
    for digits, bound in ((2, 9.995), (1, 99.95)):
        if value < bound:
            return f"{value:.{digits}f}"
    return f"{value:,.0f}"


def _scaled(number: int, base: int, units: tuple[str, ...]) -> tuple[str, str]:
    value, index = float(number), 0
    # 999.6 would be printed as 1,000 of the smaller unit.
    while round(value) >= base and index < len(units) - 1:
        value, index = value / base, index + 1
    return (f"{number:,}" if index == 0 else three_digits(value)), units[index]


def brief(number: int) -> str:
    """A count of FLOPs without the word, for a column that has it: `25.8 G`."""
    return flops(number).removesuffix("FLOP").rstrip()
