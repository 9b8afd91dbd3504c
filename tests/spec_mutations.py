"""Specs that are nearly right: good ones with bytes, tokens and branches changed, the same for a seed.

`mutated_specs` yields bytes for the reader; `accepted_specs` yields those that it accepts, so that what
stands behind the reader can be tried on them too.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from random import Random
from typing import TYPE_CHECKING, Any

import yaml
from good_specs import GOOD_SPECS

from moe_plan.errors import MoePlanError
from moe_plan.spec.load import parse_spec

if TYPE_CHECKING:
    from moe_plan.spec.model import ModelSpec

NASTY_TOKENS = (
    *("", "~", "null", "true", "no", "0", "-1", "2.5", "1e3", "1e400", ".inf", ".nan", "017", "0x10", "0o17"),
    *("1_000", "1:30", "2024-13-45", "9" * 45, "695e0514", "1073741825", "1099511627776", "'8'", '"8"', "''"),
    *(
        "&a",
        "*a",
        "!!int 3",
        "!x y",
        "<<",
        "? ",
        "- ",
        "-",
        "---",
        "...",
        "|",
        ">",
        "@",
        "`",
        "%",
        "#",
        "[",
        "]",
    ),
    *(
        "{",
        "}",
        "{}",
        "[]",
        "[[]]",
        ":",
        ": ",
        ",",
        "\t",
        "\r",
        "{{ x }}",
        "${X}",
        "{a: 1}",
        "[1, 2]",
        "[q, q]",
    ),
    *(
        '"\\ud800"',
        '"\\e[31m"',
        '"\\u202e"',
        "[red]",
        "\x1b",
        "\0",
        "\u2028",
        "\ufeff",
        "\udcff",
        "x" * 5_000,
    ),
    *(
        "gqa",
        "mla",
        "moe",
        "dense",
        "kind",
        "experts",
        "attention",
        "pattern",
        "heads",
        "native",
        "fp8",
        "encoder",
    ),
)
NASTY_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 7, 64, 2**30, 2**30 + 1, 2**64, 10**39, 10**41, 2.5, 1e300, 0.0),
    *("", "x", "8", "no", "1:30", "gqa", "moe", "main", "a b", "\ud800", "\x1b[31m", "\u202e", "x" * 200),
    *(
        [],
        {},
        [[]],
        [1],
        ["q"],
        ["q", "q"],
        [None],
        {"kind": "gqa"},
        {"": 1},
        {"a": {}},
        [{}],
        [{"repeat": 2}],
    ),
)
_TOKEN = re.compile(r"[A-Za-z0-9._-]+|[\[\]{},:]|\n *")


def mutated_specs(seed: int, count: int) -> Iterator[bytes]:
    """`count` specs made from the good ones by one to four changes each."""
    random = Random(seed)
    trees = [yaml.safe_load(text) for text in GOOD_SPECS]
    for _ in range(count):
        which = random.randrange(len(GOOD_SPECS))
        how = random.random()
        if how < 0.25:
            yield _mutated_bytes(random, GOOD_SPECS[which].encode())
        elif how < 0.5:
            yield _mutated_tokens(random, GOOD_SPECS[which])
        else:
            yield _mutated_tree(random, copy.deepcopy(trees[which]))


def accepted_specs(seed: int, count: int) -> Iterator[ModelSpec]:
    """The specs among `mutated_specs` that the reader accepts."""
    for data in mutated_specs(seed, count):
        try:
            yield parse_spec(data, "mutated.yaml")
        except MoePlanError:
            continue


def _mutated_bytes(random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(changed) + 1)
        length = random.choice((1, 1, 1, 2, 8, 64))
        match random.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([random.randrange(256)])
            case 1:
                del changed[at : at + length]
            case 2:
                changed[at:at] = random.randbytes(length)
            case 3:
                start = random.randrange(len(changed) + 1)
                changed[at:at] = changed[start : start + length]
            case 4:
                changed[at:at] = random.choice(b"[]{},:-?&*!|>'\"%@`#\n \t").to_bytes(1, "big") * length
    if random.random() < 0.05:
        del changed[random.randrange(len(changed) + 1) :]
    return bytes(changed)


def _mutated_tokens(random: Random, text: str) -> bytes:
    for _ in range(random.randint(1, 2)):
        tokens = list(_TOKEN.finditer(text))
        token = random.choice(tokens)
        new = random.choice(NASTY_TOKENS) if random.random() < 0.7 else random.choice(tokens).group()
        text = text[: token.start()] + new + text[token.end() :]
    return text.encode("utf-8", "surrogatepass")


def _mutated_tree(random: Random, tree: Any) -> bytes:
    for _ in range(random.randint(1, 3)):
        random.choice(_TREE_CHANGES)(random, tree)
    return json.dumps(tree, indent=random.choice((None, 1)), ensure_ascii=random.random() < 0.5).encode(
        "utf-8", "surrogatepass"
    )


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every container with every key or index in it."""
    found: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        found += [(node, key) for key in keys]
        waiting += [node[key] for key in keys]
    return found


def _replace_value(random: Random, tree: Any) -> None:
    node, key = random.choice(_places(tree) or [({}, "")])
    node[key] = copy.deepcopy(random.choice(NASTY_VALUES))


def _change_number(random: Random, tree: Any) -> None:
    numbers = [(node, key) for node, key in _places(tree) if type(node[key]) is int]
    if numbers:
        node, key = random.choice(numbers)
        node[key] = random.choice((node[key] + 1, node[key] * 2, node[key] // 2, node[key] * 1000, 1))


def _delete(random: Random, tree: Any) -> None:
    node, key = random.choice(_places(tree) or [({"": 0}, "")])
    del node[key]


def _rename(random: Random, tree: Any) -> None:
    keys = [(node, key) for node, key in _places(tree) if isinstance(node, dict)]
    if keys:
        node, key = random.choice(keys)
        new = random.choice((key[:-1], key + "s", key.upper(), random.choice(keys)[1], "x" * 150, "kind"))
        node[new] = node.pop(key)


def _swap(random: Random, tree: Any) -> None:
    places = _places(tree)
    if places:
        (node, key), (other, other_key) = random.choice(places), random.choice(places)
        node[key] = copy.deepcopy(other[other_key])


def _wrap(random: Random, tree: Any) -> None:
    places = _places(tree)
    if places:
        node, key = random.choice(places)
        for _ in range(random.choice((1, 1, 1, 40))):
            node[key] = [node[key]] if random.random() < 0.5 else {"kind": node[key]}


_TREE_CHANGES: tuple[Callable[[Random, Any], None], ...] = (
    *(_replace_value, _change_number, _change_number, _change_number),
    *(_delete, _rename, _swap, _wrap),
)
