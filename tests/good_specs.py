"""Three small specs that between them use every kind of block, part and option."""

from __future__ import annotations

MIXTURE = """\
# A mixture of experts with a dense start and a draft module.
name: mixture
source: https://example.org/config.json
published: {total: 671B, active: 37B, source: https://example.org, exact: 671026404352, convention: active}
hidden: 7168
vocab: 129280
context: 163840
attention:
  mla: {kind: mla, heads: 128, q_rank: 1536, kv_rank: 512, nope_dim: 128, rope_dim: 64, v_dim: 128}
  sparse:
    kind: mla
    heads: 64
    kv_rank: 512
    nope_dim: 128
    rope_dim: 64
    v_dim: 128
    indexer: {heads: 64, head_dim: 128, top_k: 2048}
    rank_scaling: true
    temperature: {beta: 0.1, span: 8192}
    rope:
      theta: 1000000
      interleaved: true
      scaling: {kind: yarn, factor: 40, original_context: 4096, mscale: 1.0, mscale_all_dim: 1.0}
ffn:
  dense: {kind: dense, width: 18432, activation: gelu-tanh, limit: 10}
  experts:
    kind: moe
    experts: 256
    top_k: 8
    width: 2048
    shared_width: 2048
    router: {score: sigmoid, normalize: false, scale: 2.5, correction_bias: buffer, groups: 8, top_groups: 4}
layers:
  - {repeat: 3, attention: mla, ffn: dense}
  - repeat: 2
    pattern:
      - {repeat: 5, attention: sparse, ffn: experts}
      - {attention: [mla, sparse], ffn: [dense, experts], norms: 4}
      - {attention: [mla, mla], ffn: [dense, dense, experts], flow: shortcut}
      - {attention: sparse, ffn: [dense, experts], flow: dense-residual}
      - {attention: mla, ffn: [dense, experts], flow: parallel-sandwich}
      - {attention: mla, ffn: experts, flow: sandwich, norms: 4}
      - {attention: mla, ffn: experts, flow: normed-residual, residual_alpha: 3.5}
parts:
  draft:
    role: mtp
    layers: [{attention: mla, ffn: experts, tensors: [{name: joint, shape: [7168, 14336]}]}]
    tensors:
      - {name: embedding, shape: [129280, 7168], component: embedding, use: lookup, copy_of: embedding}
native:
  default: bf16
  rules:
    - {format: fp8-block, tensors: [attention, routed_experts]}
"""
HYBRID = """\
name: hybrid
source: "https://example.org/config.json"
license: apache-2.0
published:
  total: 80B
  active: 3B
  source: https://example.org
  note: >
    A folded note
    over two lines.
hidden: 2048
vocab: 151936
tied: true
embedding_scale: sqrt-hidden
residual_scale: 0.22
logit_scale: 0.5
logit_softcap: 30
norm: {kind: layer, bias: true, eps: 1.0e-5, zero_centered: true}
final_norm: false
attention:
  full: {kind: gqa, heads: 16, kv_heads: 2, head_dim: 256, bias: [q, k, v], qk_norm: head, gate: true, rope: null}
  local:
    {kind: gqa, heads: 16, kv_heads: 2, head_dim: 256, window: 4096, sinks: true, scale: 1, softcap: 50, clip: 8,
     value_norm: true, rope: {theta: 500000, dim: 64, proportional: true}}
  chunked:
    {kind: gqa, heads: 16, kv_heads: 16, head_dim: 128, chunk: 8192, qk_norm: unit, qk_norm_after_rope: true,
     temperature: {beta: 0.1, span: 8192, first: 1},
     rope: {scaling: {kind: llama3, factor: 8, original_context: 8192}}}
  reuse: {kind: gqa, heads: 16, kv_heads: 2, head_dim: 256, shared_kv: true}
  delta: {kind: gated-delta, key_heads: 16, value_heads: 32, key_dim: 128, value_dim: 128, conv: 4}
  kimi: {kind: kda, heads: 32, head_dim: 128, conv: 4}
  lightning: {kind: lightning, heads: 64, head_dim: 128}
  mamba: {kind: mamba1, inner: 4096, state: 16, dt_rank: 256, conv: 4, inner_norms: true}
  mamba2: {kind: mamba2, heads: 64, head_dim: 64, state: 128, groups: 8, conv: 4, conv_bias: false}
  conv: {kind: short-conv, taps: 3}
  mixed: {kind: moa, experts: 8, top_k: 2, heads: 16, head_dim: 128, output_bias: true}
  compressed:
    {kind: compressed, heads: 64, head_dim: 512, q_rank: 1024, o_groups: 8, o_rank: 1024, window: 128,
     ratio: 4, overlap: true, sinks: true, indexer: {heads: 64, head_dim: 128, top_k: 512}}
ffn:
  experts: {kind: moe, experts: 512, top_k: 10, width: 512, shared_width: 512, shared_gate: true}
  latent: {kind: moe, experts: 64, top_k: 6, width: 256, latent: 1024, gated: false, activation: relu2}
  zero:
    {kind: moe, experts: 16, top_k: 18, zero_experts: 4, width: 64, bias: true, activation: oai-swiglu, limit: 7,
     router: {score: sparsemixer, normalize: false}}
layers:
  - repeat: 6
    pattern:
      - {attention: delta, ffn: experts}
      - {attention: [kimi, lightning], ffn: latent}
      - {attention: full, ffn: [experts, zero]}
  - {attention: local, ffn: experts}
  - {attention: chunked}
  - {ffn: latent}
  - {attention: reuse, ffn: experts}
  - {attention: [mamba, mamba2, conv]}
  - {attention: mixed, ffn: zero}
  - {repeat: 2, attention: compressed, ffn: experts}
hyper_connections: 4
checkpoints:
  small: {default: bf16, stores_tied_head: true, rules: [{format: int4-g32, tensors: [routed_experts]}]}
"""
ENCODER_DECODER = """\
name: encoder-decoder
source: https://example.org/config.json
published: {source: https://example.org}
hidden: 768
vocab: 32128
attention:
  self: {kind: gqa, heads: 12, kv_heads: 12, head_dim: 64, position_buckets: 32, position_distance: 64}
  later: {kind: gqa, heads: 12, kv_heads: 12, head_dim: 64, rope: null, shared_positions: true}
  cross: {kind: gqa, heads: 12, kv_heads: 12, head_dim: 64, cross: true}
ffn:
  dense: {kind: dense, width: 3072, gated: false, activation: relu}
  switch:
    {kind: moe, experts: 8, top_k: 1, width: 3072, gated: false, activation: relu, router: {weigh_input: true}}
layers:
  - {repeat: 6, attention: [self, cross], ffn: dense, norms: 3}
  - {repeat: 6, attention: [later, cross], ffn: switch, norms: 3}
tensors:
  - {name: relative_bias, shape: [32, 12], component: attention, use: vector}
  - {name: counts, shape: [8], buffer: int64}
parts:
  encoder:
    role: encoder
    attention:
      both: {kind: gqa, heads: 12, kv_heads: 12, head_dim: 64, causal: false}
    layers:
      - {repeat: 12, attention: both, ffn: switch}
  tower:
    role: vision
    hidden: 1024
    ffn: {plain: {kind: dense, width: 4096, bias: true}}
    attention: {look: {kind: gqa, heads: 16, kv_heads: 16, head_dim: 64, causal: false}}
    layers: [{repeat: 24, attention: look, ffn: plain}]
"""
GOOD_SPECS = (MIXTURE, HYBRID, ENCODER_DECODER)
