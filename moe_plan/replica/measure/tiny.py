"""Every operation that a replica runs, on a few numbers, so that nothing is left but its fixed cost."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

ROWS, WIDTH, PARTS = 4, 16, 32
SAME: dict[str, str] = {
    other: name
    for name, others in {
        "add": "abs sub div mul maximum minimum neg reciprocal sqrt lerp",
        "add_": "sub_ div_ mul_ neg_ relu_ sqrt_ rsqrt_ pow_ square_",
        "add number": "sub number div number mul number clamp pow number pow remainder number",
        "add_ number": "sub_ number div_ number mul_ number clamp_ remainder_ number",
        "fill_": "zero_ copy_ number",
        "new_zeros": "new_ones new_full zeros zeros_like ones_like full full_like scalar_tensor",
        "gt": "ge le lt eq ne where masked_fill bitwise_or_ logical_or_ bitwise_and bitwise_not",
        "silu_": "exp_ sigmoid_ tanh_ log_ sin_ gelu_",
        "exp": "cos sin log log1p expm1 sigmoid silu tanh gelu softplus logaddexp rsqrt",
        "_softmax": "_log_softmax logsumexp",
        "sum": "amax amin any all argmax",
        "topk": "max min",
        "sort": "argsort",
        "scatter": "scatter_ scatter_add_ index_copy_ index_add",
        "view": "_unsafe_view alias t squeeze detach _reshape_alias lift_fresh as_strided",
        "unsqueeze": "expand transpose permute unfold",
        "empty": "empty_like new_empty empty_strided",
        "split": "unbind",
        "floor_divide number": "floor_divide",
        "cat": "repeat stack",
    }.items()
    for other in others.replace(" number", "+number").split()
    for other in [other.replace("+", " ")]
}
"""Operations that cost what another one does: the same code with another innermost loop."""


def measured_name(name: str) -> str:
    """The one whose fixed cost is taken for `name`; `add` for what is not known."""
    for known in (name, name.removesuffix(" number")):
        if known in MEASURED:
            return known
        if known in SAME:
            return SAME[known]
    return "add"


def tiny_operations(device: torch.device, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """By name, as `Operation` has it."""
    new = partial(torch.ones, device=device, dtype=dtype)
    x, y, w = new(ROWS, WIDTH), new(ROWS, WIDTH), new(WIDTH, WIDTH)
    boxes, bias = new(ROWS, ROWS, WIDTH), new(WIDTH)
    return {**_joined(x, y), **_moved(x, y), **_made(x), **_views(x), **_products(x, w, boxes, bias)}


def _joined(x: Tensor, y: Tensor) -> dict[str, Callable[[], object]]:
    mask = x > 0
    return {
        "add": lambda: x + y,
        "add_": lambda: x.add_(y, alpha=0),
        "add number": lambda: x * 1.5,
        "add_ number": lambda: x.mul_(1.0),
        "addcmul_": lambda: x.addcmul_(y, y, value=0),
        "masked_fill_": lambda: x.masked_fill_(mask, 1.0),
        "gt": lambda: x > y,
        "exp": y.exp,
        "silu_": lambda: functional.silu(y, inplace=True),
        "_softmax": lambda: torch.softmax(x, -1, dtype=torch.float32),
        "sum": lambda: x.sum(-1, keepdim=True),
        "mean": lambda: x.mean(-1, keepdim=True),
        "native_layer_norm": lambda: functional.layer_norm(x, (WIDTH,)),
    }


def _moved(x: Tensor, y: Tensor) -> dict[str, Callable[[], object]]:
    rows = torch.arange(ROWS, device=x.device)
    column = rows[:, None]
    return {
        "copy_": lambda: x.copy_(y),
        "clone": x.clone,
        "_to_copy": lambda: rows.to(torch.float32),
        "cat": lambda: torch.cat((x, y)),
        "index_select": lambda: x.index_select(0, rows),
        "embedding": lambda: functional.embedding(rows, x),
        "gather": lambda: x.gather(0, column),
        "index": lambda: x[rows],
        "index_add_": lambda: x.index_add_(0, rows, y, alpha=0),
        "index_put_": lambda: x.index_put_((rows,), y),
        "scatter": lambda: x.scatter(0, column, 1.0),
        "topk": lambda: x.topk(2),
        "sort": lambda: rows.argsort(stable=True),
        "bincount": lambda: rows.bincount(minlength=8),
        "cumsum": lambda: x.cumsum(-1),
        "floor_divide number": lambda: rows // 2,
    }


def _made(x: Tensor) -> dict[str, Callable[[], object]]:
    return {
        "empty": lambda: x.new_empty((ROWS, WIDTH)),
        "new_zeros": lambda: x.new_zeros((ROWS, WIDTH)),
        "fill_": lambda: x.fill_(1.0),
        "arange": lambda: torch.arange(ROWS, device=x.device),
    }


def _views(x: Tensor) -> dict[str, Callable[[], object]]:
    line = x.view(-1)[:PARTS]
    return {
        "view": lambda: x.view(WIDTH, ROWS),
        "unsqueeze": lambda: x.transpose(0, 1),
        "select": lambda: x[1],
        "slice": lambda: x[1:3],
        "split": lambda: x.chunk(2, 1),
        "split_with_sizes": lambda: line.split_with_sizes([PARTS // 2] * 2),
        "split into parts": lambda: line.split_with_sizes([1] * PARTS),
    }


def _products(x: Tensor, w: Tensor, boxes: Tensor, bias: Tensor) -> dict[str, Callable[[], object]]:
    out, scores = torch.empty_like(x), boxes.new_zeros((ROWS, ROWS, ROWS))
    turned, signal, taps = boxes.transpose(1, 2), x[None], w[:ROWS, None, :ROWS].contiguous()
    return {
        "mm": lambda: torch.mm(x, w, out=out),
        "addmm": lambda: torch.addmm(bias, x, w, out=out),
        "bmm": lambda: torch.bmm(boxes, turned),
        "baddbmm_": lambda: scores.baddbmm_(boxes, turned),
        "convolution": lambda: functional.conv1d(signal, taps, groups=ROWS),
    }


MEASURED = frozenset(tiny_operations(torch.device("meta"), torch.float32)) - {"split into parts"}
