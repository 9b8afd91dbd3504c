"""Distinct experts in each row, drawn uniformly.

Legend: T rows, K experts of each.
"""

from __future__ import annotations

import torch
from torch import Tensor


def distinct_rows(rows: int, top_k: int, choices: int, generator: torch.Generator) -> Tensor:
    """[rows, top_k] int64 on the CPU, distinct in a row, below `choices`; every subset is equally likely.

    Floyd's sampling (Bentley, CACM 30(9), 1987): nothing of the size of rows x choices is made.
    """
    drawn_TK = torch.empty((rows, top_k), dtype=torch.int64)
    for slot, last in enumerate(range(choices - top_k, choices)):
        drawn_T = torch.randint(0, last + 1, (rows,), generator=generator)
        taken_T = (drawn_TK[:, :slot] == drawn_T.unsqueeze(1)).any(1)
        drawn_TK[:, slot] = drawn_T.masked_fill_(taken_T, last)
    return drawn_TK
