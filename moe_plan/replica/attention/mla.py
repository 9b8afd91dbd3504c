"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434), with the sparse choice of DeepSeek-V3.2.

Expanded, for prefill: kv_b makes keys and values of every head from the latents. Absorbed, for decode: kv_b
goes into the query and into the output instead, attention runs over the latents themselves, and nothing is
projected again for tokens that are cached. Both give the same.

Widest moments, beside input and cache. Both: the query [B, T, H, n + p], its turned part again, latents and
turned keys of the new tokens. Expanded: keys and values [H, B * S, n + v], the output, and of a block of b
queries the scores twice (before and after softmax), H * B * b * S each; with several sequences also the
turned keys for each head. Absorbed: the query in latent form and the mixed latents, [B, T, H, r] each, and
the scores twice. In a narrow type the softmax is once more in float32.

Legend: B sequences, T new tokens, S tokens seen, D hidden, H heads, R width of the compressed query, r width
of the latent, n channels of a key without positions, p with positions, v width of a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from moe_plan.replica.attention.indexer import KEPT, Choice, LightningIndexer
from moe_plan.replica.attention.latent import Latents, Query, absorbed, expanded
from moe_plan.replica.attention.temperature import position_factors
from moe_plan.replica.mixer import Mixer
from moe_plan.replica.norm import rms
from moe_plan.replica.rope import rotate, softmax_scale_factor
from moe_plan.replica.store import State, Store

if TYPE_CHECKING:
    from torch import Tensor

    from moe_plan.replica.call import Call
    from moe_plan.spec.attention import MlaAttention
    from moe_plan.spec.model import Norm


class MlaMixer(Mixer):
    """One block of multi-head latent attention; its norms have an eps of their own, that of the spec."""

    q: Tensor
    q_a: Tensor
    q_a_norm: Tensor
    q_b: Tensor
    kv_a: Tensor
    kv_a_norm: Tensor
    kv_b: Tensor
    o: Tensor

    def __init__(self, spec: MlaAttention, hidden: int, norm: Norm) -> None:  # noqa: ARG002  as every mixer
        super().__init__()
        self.spec = spec
        width = spec.heads * (spec.nope_dim + spec.rope_dim)
        if spec.q_rank is None:
            self.declare("q", width, hidden)
        else:
            self.declare("q_a", spec.q_rank, hidden)
            self.declare("q_a_norm", spec.q_rank, start="norm")
            self.declare("q_b", width, spec.q_rank)
        self.declare("kv_a", spec.kv_rank + spec.rope_dim, hidden)
        self.declare("kv_a_norm", spec.kv_rank, start="norm")
        self.declare("kv_b", spec.heads * (spec.nope_dim + spec.v_dim), spec.kv_rank)
        self.declare("o", hidden, spec.heads * spec.v_dim)
        self.indexer: LightningIndexer | None = None
        if spec.indexer is not None and not spec.indexer.shared:
            self.indexer = LightningIndexer(spec, spec.indexer, hidden)
        self.latent_scale = (hidden / spec.kv_rank) ** 0.5 if spec.rank_scaling else 1.0
        rank_scale = (hidden / spec.q_rank) ** 0.5 if spec.rank_scaling and spec.q_rank else 1.0
        base = spec.scale if spec.scale is not None else (spec.nope_dim + spec.rope_dim) ** -0.5
        self.query_scale = base * rank_scale * softmax_scale_factor(spec.rope)

    def state(self, batch: int, capacity: int, like: Tensor) -> State:
        """A latent and a turned key for each token, the same for all heads; keys of the indexer."""
        kept: State = {
            "attention.latent": Store(batch, self.spec.kv_rank, capacity, like),
            "attention.rope_keys": Store(batch, self.spec.rope_dim, capacity, like),
        }
        return kept if self.indexer is None else kept | self.indexer.state(batch, capacity, like)

    def forward(self, x_BTD: Tensor, state: State | None, call: Call) -> Tensor:
        """Attention output of the new tokens, [B, T, D]."""
        low_BTR = self._compressed(x_BTD)
        choice = self._choice(x_BTD, low_BTR, state, call)
        query = self._query(low_BTR, call)
        del low_BTR
        seen = self._seen(x_BTD, state, call)
        kv_b_Hwr = self.kv_b.view(self.spec.heads, -1, self.spec.kv_rank)
        out_BTHv = (absorbed if call.absorbs else expanded)(query, seen, kv_b_Hwr, choice, call)
        del query, seen
        return functional.linear(out_BTHv.flatten(2), self.o)

    def _compressed(self, x_BTD: Tensor) -> Tensor:
        """What queries are made of: the compressed query, or the input where there is none."""
        if self.spec.q_rank is None:
            return x_BTD
        return rms(functional.linear(x_BTD, self.q_a), self.q_a_norm, self.spec.eps)

    def _choice(self, x_BTD: Tensor, low_BTR: Tensor, state: State | None, call: Call) -> Choice | None:
        """Which tokens each new one attends to; None without an indexer."""
        if self.spec.indexer is None:
            return None
        if self.indexer is not None:
            call.kept[KEPT] = self.indexer(x_BTD, low_BTR, state, call)
        kept: Choice = call.kept[KEPT]
        return kept

    def _query(self, low_BTR: Tensor, call: Call) -> Query:
        """Queries with every factor on the scores already in them."""
        spec = self.spec
        flat = functional.linear(low_BTR, self.q if spec.q_rank is None else self.q_b).mul_(self.query_scale)
        query_BTHd = flat.view(*flat.shape[:2], spec.heads, -1)
        if spec.temperature is not None:
            positions = range(call.start, call.start + call.tokens)
            factors_T = position_factors(spec.temperature, positions, flat.dtype, flat.device)
            query_BTHd.mul_(factors_T[:, None, None])
        turned = self._turned(query_BTHd[..., spec.nope_dim :], call)
        return Query(query_BTHd[..., : spec.nope_dim], turned)

    def _turned(self, x_BTHp: Tensor, call: Call) -> Tensor:
        rope = self.spec.rope
        if rope is None:
            return x_BTHp
        cos_TR, sin_TR = call.rope(rope, self.spec.rope_dim, x_BTHp.dtype)
        return rotate(x_BTHp, cos_TR[:, None], sin_TR[:, None], interleaved=rope.interleaved)

    def _seen(self, x_BTD: Tensor, state: State | None, call: Call) -> Latents:
        """Latents and turned keys of every token up to now."""
        both = functional.linear(x_BTD, self.kv_a)
        key_BT1p = both[..., self.spec.kv_rank :].unsqueeze(2)
        turned_BTp = self._turned(key_BT1p, call).squeeze(2)
        latent_BTr = rms(both[..., : self.spec.kv_rank], self.kv_a_norm, self.spec.eps)
        del both, key_BT1p
        if self.latent_scale != 1.0:
            latent_BTr.mul_(self.latent_scale)
        new = Latents(latent_BTr, turned_BTp)
        if not state:
            return new
        latents, keys = state["attention.latent"], state["attention.rope_keys"]
        assert isinstance(latents, Store)
        assert isinstance(keys, Store)
        seen = Latents(latents.extend(latent_BTr, call.start), keys.extend(turned_BTp, call.start))
        # Without earlier tokens the new ones are all there is, and lie close together.
        return seen if call.start else new
