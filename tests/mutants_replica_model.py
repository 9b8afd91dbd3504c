"""Injected bugs: recurrences, norms, flows, what stands around the layers, and the witness."""

from __future__ import annotations

from mutant import Mutant

DELTA = "replica/recurrence/delta.py"
SCAN = "replica/recurrence/scan.py"
CONV = "replica/recurrence/conv.py"
GATE = "replica/recurrence/gate.py"
LIGHTNING = "replica/recurrence/lightning.py"
MAMBA1 = "replica/recurrence/mamba1.py"
MAMBA2 = "replica/recurrence/mamba2.py"
SHORT = "replica/recurrence/short_conv.py"
NORM = "replica/norm.py"
LAYERS = "replica/layers.py"
MODEL = "replica/model.py"
HYPER = "replica/hyper.py"
SCANS = "test_replica_scans_by_hand"
FLOWS = "test_replica_flows"
WITNESS = "test_witness_by_hand"

STATES = (
    Mutant("the state does not decay", SCAN, "    decayed_NKRe = parted(state_NKE, *steps.values_TNRe.shape[2:])\n    for decay, key_NK1,", "    decayed_NKRe = parted(state_NKE, *steps.values_TNRe.shape[2:]).clone()\n    for decay, key_NK1,", f"{SCANS}.test_lightning"),
    Mutant("decay before the first token of a forward only", LIGHTNING, "repeat(self._decays(x_BTD), x_BTD.shape[1])", "[self._decays(x_BTD)] + [torch.ones_like(self._decays(x_BTD))] * (x_BTD.shape[1] - 1)", f"{SCANS}.test_lightning"),
    Mutant("decay grows", GATE, ".mul_(-a_log.float().exp()).exp_()", ".mul_(a_log.float().exp()).exp_()", f"{SCANS}.test_gated_delta"),
    Mutant("bias of the time step forgotten", GATE, "dt.add_(dt_bias.float())", "dt", f"{SCANS}.test_gated_delta"),
    Mutant("written without what is there already", SCAN, "value_N1E.baddbmm_(key_N1K, state_NKE, alpha=-1)", "value_N1E.baddbmm_(key_N1K, state_NKE, alpha=0)", f"{SCANS}.test_gated_delta"),
    Mutant("recalled by the query", SCAN, "value_N1E.baddbmm_(key_N1K, state_NKE, alpha=-1)", "value_N1E.baddbmm_(query_N1K, state_NKE, alpha=-1)", f"{SCANS}.test_kimi_delta"),
    Mutant("write strength forgotten", SCAN, "value_NRe.mul_(beta_NR1)", "value_NRe.mul_(1.0)", f"{SCANS}.test_kimi_delta"),
    Mutant("keys are not unit vectors", GATE, "x.square().sum(-1, keepdim=True)", "x.square().mean(-1, keepdim=True)", f"{SCANS}.test_gated_delta"),
    Mutant("a state that is kept is not gone on from", SCAN, "kept = carried(state, name)\n    if kept is None:", "kept = carried(state, name)\n    if kept is not None:\n        kept.zero_()\n    if kept is None:", f"{SCANS}.test_mamba2"),
    Mutant("taps the other way round", CONV, "taps_C1J.unsqueeze(2), bias_C", "taps_C1J.flip(2).unsqueeze(2), bias_C", f"{SCANS}.test_short_convolution"),
    Mutant("convolution sees no earlier forward", CONV, "joined_BSC[:, :carried].copy_(past_BPC)", "joined_BSC[:, :carried].zero_()", f"{SCANS}.test_short_convolution"),
    Mutant("convolution keeps its first inputs", CONV, "past_BPC.copy_(joined_BSC[:, tokens:])", "past_BPC.copy_(joined_BSC[:, :carried])", f"{SCANS}.test_mamba1"),
    Mutant("bias of the convolution forgotten", CONV, "depthwise(joined_BSC, taps_C1J, bias_C)", "depthwise(joined_BSC, taps_C1J, None)", f"{SCANS}.test_mamba1"),
    Mutant("gates of a short convolution swapped", SHORT, "before_DD, after_DD, input_DD = rows.chunk(3)", "after_DD, before_DD, input_DD = rows.chunk(3)", f"{SCANS}.test_short_convolution"),
    Mutant("B and C swapped", MAMBA2, "b_TBC, c_TBC = self._keys_and_queries(x_BTD, state).unbind(0)", "c_TBC, b_TBC = self._keys_and_queries(x_BTD, state).unbind(0)", f"{SCANS}.test_mamba2"),
    Mutant("norm before the gate", MAMBA2, "gate_BTI.float().mul_(y_TBI.transpose(0, 1))", "gate_BTI.float().mul_(rms_in_place(y_TBI.transpose(0, 1), 0.05))", f"{SCANS}.test_mamba2"),
    Mutant("norm over all groups", MAMBA2, "parted(y_BTI, self.spec.groups, -1)", "y_BTI", f"{SCANS}.test_mamba2"),
    Mutant("what passes by the state forgotten", MAMBA1, "values_TBI.addcmul_(inputs_TBI, self.d.float())", "values_TBI", f"{SCANS}.test_mamba1"),
    Mutant("inner norms forgotten", MAMBA1, "if not self.spec.inner_norms:", "if True:", f"{SCANS}.test_mamba1"),
    Mutant("slopes of the next head", LIGHTNING, "torch.arange(1, heads + 1,", "torch.arange(0, heads,", f"{SCANS}.test_lightning"),
    Mutant("every layer forgets alike", LIGHTNING, "self.forgetting = 1 - layer / (layers - 1 + SMALL) + SMALL", "self.forgetting = 1.0", f"{SCANS}.test_lightning"),
    Mutant("lightning's norm with the model's eps", LIGHTNING, "rms_in_place(y_TBW, self.spec.eps)", "rms_in_place(y_TBW, 1e-6)", f"{SCANS}.test_lightning"),
    Mutant("value heads dealt to key heads in turn", DELTA, "by_head(strengths_TBH.sigmoid_(), self.shared, 1)", "by_head(strengths_TBH.sigmoid_().unflatten(-1, (self.shared, -1)).transpose(-1, -2).flatten(-2), self.shared, 1)", f"{SCANS}.test_gated_delta"),
    Mutant("gate of the delta rule without its activation", DELTA, "functional.silu(functional.linear(x_BTD, self.in_vz[self.width :]), inplace=True)", "functional.linear(x_BTD, self.in_vz[self.width :])", f"{SCANS}.test_gated_delta"),
)  # fmt: skip

JOINED = (
    Mutant("eps outside the root", NORM, "torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)", "(wide.square().mean(-1, keepdim=True).sqrt() + eps).reciprocal()", f"{FLOWS}.test_norms"),
    Mutant("eps forgotten", NORM, "torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)", "torch.rsqrt(wide.square().mean(-1, keepdim=True))", f"{FLOWS}.test_norms"),
    Mutant("weights less one taken as they are", NORM, "zero_centered=self.norm.zero_centered", "zero_centered=False", f"{FLOWS}.test_norms"),
    Mutant("a layer norm's weights less one taken as they are", NORM, "        if self.norm.zero_centered:\n            weight = 1.0 + weight", "        if False:\n            weight = 1.0 + weight", f"{FLOWS}.test_norms"),
    Mutant("bias of a norm forgotten", NORM, "self.bias[index] if self.norm.bias else None", "None", f"{FLOWS}.test_norms"),
    Mutant("squares summed in the narrow type", NORM, "wide = x.float()", "wide = x", f"{FLOWS}.test_a_norm_of_a_narrow_type_sums_in_float32"),
    Mutant("residual scale forgotten", LAYERS, "return x if self.scale == 1.0 else x.mul_(self.scale)", "return x", f"{FLOWS}.test_sequential"),
    Mutant("one norm for all blocks", LAYERS, "x = x + self._scaled(step(self.norms(x, index)))", "x = x + self._scaled(step(self.norms(x, 0)))", f"{FLOWS}.test_sequential"),
    Mutant("sandwich without its second norm", LAYERS, "self._scaled(self.norms(step(self.norms(x, 2 * index)), 2 * index + 1))", "self._scaled(step(self.norms(x, 2 * index)))", f"{FLOWS}.test_sandwich"),
    Mutant("alpha on the block instead of the residual", LAYERS, "x = step(x).add_(x, alpha=self.alpha)", "x = step(x).mul_(self.alpha).add_(x)", f"{FLOWS}.test_normed_residual"),
    Mutant("experts after the attention in a dense residual", LAYERS, "middle.add_(experts(self.norms(x, 2)))", "middle.add_(experts(self.norms(middle, 2)))", f"{FLOWS}.test_dense_residual"),
    Mutant("experts of a shortcut see a later norm", LAYERS, "return x + dense_second(self.norms(x, 3)).add_(shortcut)", "return x + dense_second(self.norms(x, 3)).add_(experts(self.norms(x, 2)))", f"{FLOWS}.test_shortcut"),
    Mutant("second attention of a shortcut is the first", LAYERS, "x = x + second(self.norms(x, 2))", "x = x + first(self.norms(x, 2))", f"{FLOWS}.test_shortcut"),
    Mutant("experts routed by their own input", LAYERS, "routed_by_BTD=x", "routed_by_BTD=None", f"{FLOWS}.test_parallel_sandwich"),
    Mutant("scalar of a layer forgotten", LAYERS, "return x if scalar is None else x.mul_(scalar)", "return x", f"{FLOWS}.test_parallel_sandwich"),
    Mutant("streams mixed by the transposed matrix", HYPER, "carry.mixing_BTSS.flatten(0, 1).transpose(1, 2)", "carry.mixing_BTSS.flatten(0, 1)", f"{FLOWS}.test_streams"),
    Mutant("output written to the streams by half", HYPER, ".mul_(2)", "", f"{FLOWS}.test_streams"),
    Mutant("streams read without their norm", HYPER, "factor = wide_BTW.square().mean(-1, keepdim=True).add_(eps).rsqrt_()", "factor = 1.0", f"{FLOWS}.test_streams"),
    Mutant("final norm forgotten", MODEL, "return self.final(x, 0) if self.has_final_norm else x", "return x", f"{FLOWS}.test_the_final_norm"),
    Mutant("embeddings not scaled", MODEL, "return x_BTD if factor == 1.0 else x_BTD.mul_(factor)", "return x_BTD", f"{FLOWS}.test_embeddings_and_logits"),
    Mutant("logits squeezed before they are scaled", MODEL, "functional.linear(rows, weight, bias)", "functional.linear(rows, weight, bias).tanh()", f"{FLOWS}.test_embeddings_and_logits"),
    Mutant("logits scaled by the width instead of its root", MODEL, 'spec.hidden**-0.5 if spec.logit_scale == "rsqrt-hidden"', '1 / spec.hidden if spec.logit_scale == "rsqrt-hidden"', f"{FLOWS}.test_a_logit_scale_by_the_width"),
    Mutant("bias of the head forgotten", MODEL, "self.head_bias.bias if spec.head_bias else None", "None", f"{FLOWS}.test_embeddings_and_logits"),
    Mutant("the first token's logits for the last's", MODEL, "x_BTD = x_BTD[:, -1:]", "x_BTD = x_BTD[:, :1]", f"{FLOWS}.test_embeddings_and_logits"),
    Mutant("an encoder sees no later tokens", "replica/attention/gqa.py", "causal=spec.causal and not spec.cross", "causal=not spec.cross", f"{FLOWS}.test_an_encoder_sees_the_whole_source"),
    Mutant("tensors outside the layers not held", MODEL, "self.extra = Extra(part.tensors)", "self.extra = Extra(())", f"{FLOWS}.test_tensors_that_no_block_describes"),
    Mutant("a repeated pattern runs once", "replica/unfold.py", "layers += once * run.repeat", "layers += once if run.attention is None or run.repeat > 1 else once * run.repeat", f"{WITNESS}.test_a_decoder_of_every_kind"),
)  # fmt: skip

LEDGER = (
    Mutant("what was only measured is not told", "witness/lines.py", "dict.fromkeys((*predicted, *measured))", "dict.fromkeys(predicted)", f"{WITNESS}.test_what_stands_in_one_book_only_is_a_difference"),
    Mutant("only sums over layers are compared", "witness/lines.py", "if pair[0] != pair[1]}", "if False}", f"{WITNESS}.test_layers_that_cancel_are_told"),
    Mutant("one sequence's FLOPs predicted", "witness/operations.py", "flops = forward.sequences * _of_operation(operation, forward)", "flops = _of_operation(operation, forward)", f"{WITNESS}.test_a_decoder_of_every_kind"),
    Mutant("a window forgotten in prefill", "witness/operations.py", "operation.reach.entries_over_prefill(forward.context)", "operation.reach._replace(limit=None).entries_over_prefill(forward.context)", f"{WITNESS}.test_flops_by_hand"),
    Mutant("zero experts take rows", "witness/operations.py", "return 2 * weight.elements * forward.routed_rows[layer]", "return weight.flops_per_token * forward.tokens * forward.sequences", f"{WITNESS}.test_flops_by_hand"),
    Mutant("decode of a cross layer at the context", "witness/operations.py", "forward.source if operation.source else forward.context", "forward.context", f"{WITNESS}.test_an_encoder_and_its_decoder"),
    Mutant("one sequence's cache predicted", "witness/caches.py", "predicted = predicted_bytes(inventory, cache.tokens, itemsize, source)", "predicted = {w: b / cache.batch for w, b in predicted_bytes(inventory, cache.tokens, itemsize, source).items()}", f"{WITNESS}.test_a_decoder_of_every_kind"),
    Mutant("recurrent states in the model's type", "witness/caches.py", 'return 4 if state.dtype == "fp32" else itemsize', "return itemsize", f"{WITNESS}.test_a_decoder_on_meta"),
    Mutant("only layers' tensors are compared", "witness/parameters.py", "if weight.stored and not weight.copy:", "if weight.stored and not weight.copy and layer is not None:", f"{WITNESS}.test_an_encoder_and_its_decoder"),
    Mutant("blocks of one layer told apart on one side", "witness/operations.py", "return joined._replace(name=unnumbered(joined.name))", "return joined._replace(name=unnumbered(joined.name)) if joined == where else joined", f"{WITNESS}.test_a_decoder_of_every_kind"),
    Mutant("rows of another mixture counted", "witness/run.py", "return sum(counts[: moes[0].spec.experts])", "return sum(counts)", f"{WITNESS}.test_a_decoder_of_every_kind"),
    Mutant("an encoder keeps a cache", "anatomy/inventory.py", "            tuple(w._replace(phase=\"prefill\") for w in self.weights),\n            (),", "            tuple(w._replace(phase=\"prefill\") for w in self.weights),\n            self.states,", f"{WITNESS}.test_a_causal_encoder_keeps_nothing"),
)  # fmt: skip
