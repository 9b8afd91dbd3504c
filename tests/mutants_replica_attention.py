"""Injected bugs: the replica's caches, windows, attention, latents and rotary positions."""

from __future__ import annotations

from mutant import Mutant

STORE = "replica/store.py"
CACHE = "replica/cache.py"
ATTEND = "replica/attention/attend.py"
GQA = "replica/attention/gqa.py"
LATENT = "replica/attention/latent.py"
MLA = "replica/attention/mla.py"
INDEXER = "replica/attention/indexer.py"
ROPE = "replica/rope.py"
STORES = "test_replica_by_hand.test_a_store_gives_back_the_last_entries"
REACHES = "test_replica_by_hand.test_windows_and_chunks"
OPTIONS = "test_replica_by_hand.test_options_of_attention"
LATENTS = "test_replica_by_hand.test_latent_attention"
SPANS = "replica/attention/spans.py"
COMPRESSOR = "replica/attention/compressor.py"
PIECES = "test_replica_by_hand.test_compressed_entries_in_pieces"
INDEXED = "test_replica_by_hand.test_what_an_indexer_chooses"
YARN = "test_replica_by_hand.test_latent_attention_under_yarn"
BUCKETS = "test_replica_by_hand.test_buckets_of_distances"
TABLES = "test_replica_by_hand.test_the_table_of_the_first_layer"
COUNTED = "test_replica_flows.test_a_cache_counts_its_tokens"
WITNESS = "test_witness_by_hand.test_a_decoder_of_every_kind"
ANGLES = "test_replica_by_hand.test_stretched_frequencies"

CACHES = (
    Mutant("ring written one place late", STORE, "torch.arange(end - kept, end,",
           "torch.arange(end - kept + 1, end + 1,", STORES),
    Mutant("ring of one slot more than its limit", STORE, "min(capacity, limit)", "min(capacity, limit + 1)",
           STORES),
    Mutant("ring keeps the first of many tokens", STORE, "new_NTW[:, tokens - kept :]", "new_NTW[:, :kept]",
           STORES),
    Mutant("ring read one place late", STORE, "torch.arange(self.count - back, self.count,",
           "torch.arange(self.count - back + 1, self.count + 1,", STORES),
    Mutant("lengths of a store not advanced", STORE, "self.count += tokens", "self.count += tokens > 1",
           STORES),
    Mutant("a store returns one entry too few", STORE, "slice(self.count - back, self.count",
           "slice(self.count - back + (back > 0), self.count", STORES),
    Mutant("room counted as held", STORE, "return rows * self.entries * width",
           "return self.slots_NSW.numel()", STORES),
    Mutant("one sequence's entries counted", STORE, "return rows * self.entries * width",
           "return self.entries * width", STORES),
    Mutant("what a ring has forgotten counted as held", STORE, "min(self.count, self.limit)", "self.count",
           STORES),
    Mutant("tokens of a cache not advanced", "replica/model.py", "cache.tokens += ids_BT.shape[1]",
           "cache.tokens += int(cache.tokens == 0)", COUNTED),
    Mutant("caches of several mixers under one name", CACHE,
           "if sum(owner in other for other in owners) < 2:", "if True:", WITNESS),
    Mutant("an owner numbered that one mixer has", CACHE, "if sum(owner in other for other in owners) < 2:",
           "if len(owners) < 2:", WITNESS),
    Mutant("source's cache read past its end", GQA,
           "Keys(keys.slots_NSW[:, : keys.count], values.slots_NSW[:, : values.count])",
           "Keys(keys.slots_NSW.nan_to_num(), values.slots_NSW.nan_to_num())",
           "test_replica_flows.test_the_source_is_read_once"),
    Mutant("keys kept before they are turned", GQA,
           'keys_NTd = _store(state, "attention.keys").extend(keys_NTd, back)',
           'keys_NTd = _store(state, "attention.keys").extend(keys_NTd.flip(-1), back)', REACHES),
    Mutant("chunked layers keep everything", GQA, "limit = spec.window or spec.chunk", "limit = spec.window",
           WITNESS),
)  # fmt: skip

WINDOWS = (
    Mutant("a window sees one token more", ATTEND, "max(0, position - self.window + 1)",
           "max(0, position - self.window)", WITNESS),
    Mutant("a window sees one token less", ATTEND, "max(0, position - self.window + 1)",
           "min(position, max(0, position - self.window + 2))", REACHES),
    Mutant("a window's mask is one too narrow", ATTEND, "key <= query - self.window",
           "key <= query - self.window + (self.window > 1)", REACHES),
    Mutant("a window's mask is one too wide", ATTEND, "key <= query - self.window",
           "key < query - self.window", REACHES),
    Mutant("a token sees the next one", ATTEND, "hidden = key > query", "hidden = key > query + 1", REACHES),
    Mutant("a token does not see itself in a block", ATTEND, "hidden = key > query",
           "hidden = (key > query) | ((key == query) & (key % 4 > 0))", REACHES),
    Mutant("chunks begin one token late", ATTEND, "key < query // self.chunk * self.chunk",
           "key < (query - 1) // self.chunk * self.chunk", REACHES),
    Mutant("a chunk reaches into the one before", ATTEND, "position // self.chunk * self.chunk if",
           "max(0, position // self.chunk * self.chunk - 1) if", WITNESS),
)  # fmt: skip

SCORES = (
    Mutant("query heads dealt to key heads in turn", GQA,
           "return heads_BHTd.view(-1, spec.heads // spec.kv_heads, *heads_BHTd.shape[2:])",
           "return heads_BHTd.unflatten(1, (-1, spec.kv_heads)).transpose(1, 2).flatten(0, 1)", REACHES),
    Mutant("scale of the value's width", GQA, "else spec.head_dim**-0.5", "else self.value_dim**-0.5",
           OPTIONS),
    Mutant("a scale of the spec ignored", GQA, "spec.scale if spec.scale is not None else", "1.0 * ",
           OPTIONS),
    Mutant("keys are not clipped", GQA, "flat_BTW = _clipped(flat_BTW, spec.clip)",
           "flat_BTW = _clipped(flat_BTW, spec.clip if heads == spec.heads else None)", OPTIONS),
    Mutant("gate without its sigmoid", GQA, "torch.sigmoid_(functional.linear(x_BTD, self.gate))",
           "functional.linear(x_BTD, self.gate)", OPTIONS),
    Mutant("norm before the rotation whatever the spec says", GQA, "late = spec.qk_norm_after_rope",
           "late = False", OPTIONS),
    Mutant("values are normed as keys are", GQA, "values_BGTe = rms(values_BGTe, None,",
           "values_BGTe = rms(values_BGTe, weight,", OPTIONS),
    Mutant("norms of heads forget zero_centered", GQA, "zero_centered=self.norm.zero_centered",
           "zero_centered=False", OPTIONS),
    Mutant("temperature counted from the forward's first token", GQA,
           "range(call.start, call.start + call.tokens)\n            factors_T",
           "range(call.tokens)\n            factors_T", OPTIONS),
    Mutant("temperature's first token forgotten", "replica/attention/temperature.py",
           "first = temperature.first", "first = 0", OPTIONS),
    Mutant("sinks forgotten", GQA, "None if sinks is None else sinks.reshape",
           "None if True else sinks.reshape", REACHES),
    Mutant("softcap without its factor", ATTEND,
           "scores.div_(scoring.softcap).tanh_().mul_(scoring.softcap)",
           "scores.div_(scoring.softcap).tanh_()", OPTIONS),
    Mutant("every layer has the table of positions", GQA,
           "if spec.cross or not (spec.shared_positions or spec.position_buckets is not None):",
           'if spec.cross or "position_table" not in call.kept and spec.position_buckets is None:', TABLES),
    Mutant("buckets of later tokens", "replica/attention/relative.py", "apart = (-offset_TS).clamp_(min=0)",
           "apart = offset_TS.clamp(min=0)", BUCKETS),
    Mutant("half of all buckets for far tokens", "replica/attention/relative.py",
           "exact = max(buckets // 2, 1)", "exact = max(buckets // 4, 1)", BUCKETS),
)  # fmt: skip

ABSORBED = (
    Mutant("absorbed form forgets the rope part", LATENT,
           "scores.baddbmm_(query.turned_BTHp.flatten(1, 2), turned_BSp.transpose(1, 2))",
           "scores.baddbmm_(query.turned_BTHp.flatten(1, 2), turned_BSp.transpose(1, 2), alpha=0)", LATENTS),
    Mutant("expanded form forgets the rope part", LATENT,
           "scores_NbS.baddbmm_(query_Nb.turned_BTHp, turned.transpose(1, 2))",
           "scores_NbS.baddbmm_(query_Nb.turned_BTHp, turned.transpose(1, 2), alpha=0)", LATENTS),
    Mutant("absorbed query through the last rows of kv_b", LATENT,
           "torch.bmm(rows_HMn, kv_b_Hwr[:, :plain])", "torch.bmm(rows_HMn, kv_b_Hwr[:, -plain:])", LATENTS),
    Mutant("absorbed values through the first rows of kv_b", LATENT,
           "torch.bmm(rows_HMr, kv_b_Hwr[:, plain:].transpose(1, 2))",
           "torch.bmm(rows_HMr, kv_b_Hwr[:, : kv_b_Hwr.shape[1] - plain].transpose(1, 2))", LATENTS),
    Mutant("latents cached before their norm", MLA,
           "latent_BTr = rms(both[..., : self.spec.kv_rank], self.kv_a_norm, self.spec.eps)",
           "latent_BTr = both[..., : self.spec.kv_rank].clone()", LATENTS),
    Mutant("scale of the part without positions alone", MLA, "(spec.nope_dim + spec.rope_dim) ** -0.5",
           "spec.nope_dim ** -0.5", LATENTS),
    Mutant("latents not scaled by their rank", MLA, "if self.latent_scale != 1.0:", "if False:", LATENTS),
    Mutant("queries not scaled by their rank", MLA, "if spec.rank_scaling and spec.q_rank else 1.0",
           "if False else 1.0", LATENTS),
    Mutant("norms of latents with the model's eps", MLA, "self.kv_a_norm, self.spec.eps)",
           "self.kv_a_norm, 1e-5)", LATENTS),
    Mutant("YaRN's temperature not squared", ROPE, "scaling.mscale_all_dim or 0.0) ** 2",
           "scaling.mscale_all_dim or 0.0)", YARN),
    Mutant("YaRN's temperature not in the softmax", MLA,
           "base * rank_scale * softmax_scale_factor(spec.rope)", "base * rank_scale", YARN),
    Mutant("every key expanded again in decode", "replica/call.py", "self.start > 0 and self.tokens == 1",
           "False", WITNESS),
)  # fmt: skip

ENTRIES = (
    Mutant("halves of a full ring the wrong way round", COMPRESSOR, "if self.overlap and new_BTW.shape[1] == 1",
           "if False and new_BTW.shape[1] == 1", PIECES),
    Mutant("the entry before a new one forgotten", COMPRESSOR, "lead = self.overlap if made.start else 0",
           "lead = 0", PIECES),
    Mutant("room for one entry's tokens where two overlap", COMPRESSOR,
           "pending = self.ratio * (1 + self.overlap)", "pending = self.ratio", PIECES),
    Mutant("an entry is seen a token late", SPANS, "torch.arange(self.positions.start + 1, self.positions.stop + 1,",
           "torch.arange(self.positions.start, self.positions.stop,", PIECES),
    Mutant("vectors of a window and their mask a token apart", "replica/attention/compressed.py",
           "near = seen.window_BWd[:, low - seen.first : queries.stop - seen.first]",
           "near = seen.window_BWd[:, low - seen.first : queries.stop - seen.first].roll(1, 1)", PIECES),
)  # fmt: skip

CHOSEN = (
    Mutant("an indexer's keys are not turned", INDEXER,
           "keys_BEd = self._turned(key.unsqueeze(2), call).squeeze(2)", "keys_BEd = key", INDEXED),
    Mutant("an indexer counts what speaks against a key", INDEXER, "scores_BbHE.relu_()", "scores_BbHE",
           INDEXED),
    Mutant("heads of an indexer weigh alike", INDEXER, "mul_(asked.weights_BTH.unsqueeze(-1))", "mul_(1.0)",
           INDEXED),
    Mutant("an indexer chooses among later keys", INDEXER, "    if unseen is not None:", "    if False:",
           INDEXED),
    Mutant("an indexer chooses the worst keys", INDEXER, "topk(top_k, dim=-1,",
           "topk(top_k, dim=-1, largest=False,", INDEXED),
    Mutant("a choice that is not kept to", "replica/attention/spans.py", "    if chosen_Bbk is None:",
           "    if True:", INDEXED),
)  # fmt: skip

POSITIONS = (
    Mutant("halves turned as neighbours", ROPE, "    if interleaved:\n        return x",
           "    if not interleaved:\n        return x", OPTIONS),
    Mutant("turned the other way", ROPE, "addcmul_(b, sin_TR, value=-1)", "addcmul_(b, sin_TR, value=1)",
           OPTIONS),
    Mutant("frequencies of the whole head", ROPE, "(head_dim // 2 if rope.proportional else turned)",
           "(head_dim // 2)", OPTIONS),
    Mutant("positions begin anew in each forward", "replica/call.py",
           "torch.arange(self.start, self.start + self.tokens,", "torch.arange(0, self.tokens,", REACHES),
    Mutant("YaRN's factor on cosines forgotten", ROPE, "return _temperature(scaling.factor, 1.0)",
           "return 1.0", ANGLES),
    Mutant("YaRN's temperature without its logarithm", ROPE, "0.1 * mscale * math.log(factor) + 1.0",
           "0.1 * mscale * factor + 1.0", ANGLES),
    Mutant("YaRN's ramp the other way round", ROPE,
           "torch.lerp(frequencies_R, frequencies_R / scaling.factor, slowed_R)",
           "torch.lerp(frequencies_R / scaling.factor, frequencies_R, slowed_R)", ANGLES),
    Mutant("Llama 3's slow channels are left", ROPE,
           "torch.lerp(frequencies_R / scaling.factor, frequencies_R,",
           "torch.lerp(frequencies_R, frequencies_R,", ANGLES),
)  # fmt: skip
