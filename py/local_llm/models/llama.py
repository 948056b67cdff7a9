"""The llama family: pre-norm blocks of grouped-query attention with RoPE and a SwiGLU feed-forward.

Source: Touvron et al. 2023, GGUF tensor names. GGUF files of this family store q and k permuted for interleaved RoPE.
"""

from __future__ import annotations

from local_llm.formats.checkpoint import Checkpoint
from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Buffer
from local_llm.models.blocks import feed_forward, project, project_normed
from local_llm.models.config import Config
from local_llm.models.config import read_config as read_llama_config
from local_llm.models.model import Model
from local_llm.models.weights import Source, Stack
from local_llm.ops.attention import rope_attention
from local_llm.ops.embedding import embed


def read_config(checkpoint: Checkpoint) -> Config:
    embedding = checkpoint.tensors.get("token_embd.weight")
    vocab = embedding.shape[0] if embedding else 0
    return read_llama_config(checkpoint.name, checkpoint.metadata, vocab, interleaved=True)


def stacks(checkpoint: Checkpoint, config: Config) -> list[Stack]:
    d, q, kv, f = config.width, config.q_rows, config.kv_rows, config.ffn_width

    def one(name: str, rows: int, cols: int) -> Stack:
        return Stack(name, (Source(name, rows, cols),))

    wanted = [one("token_embd.weight", config.vocab, d), one("output_norm.weight", 1, d)]
    if "output.weight" in checkpoint.tensors:
        wanted.append(one("output.weight", config.vocab, d))
    for i in range(config.layers):
        b = f"blk.{i}."
        qkv = (
            Source(b + "attn_q.weight", q, d),
            Source(b + "attn_k.weight", kv, d),
            Source(b + "attn_v.weight", kv, d),
        )
        gate_up = (Source(b + "ffn_gate.weight", f, d), Source(b + "ffn_up.weight", f, d))
        wanted += [
            one(b + "attn_norm.weight", 1, d),
            Stack(b + "qkv", qkv),
            one(b + "attn_output.weight", d, q),
            one(b + "ffn_norm.weight", 1, d),
            Stack(b + "gate_up", gate_up),
            one(b + "ffn_down.weight", d, f),
        ]
    return wanted


def layers(model: Model, tokens: int) -> list[Call]:
    """Tokens in `model.tokens` → residual stream in scratch.x, keys and values in the caches."""
    s, w, a = model.shared, model.weights, model.scratch
    calls = embed(s, tokens, w["token_embd.weight"][0].weight, model.tokens, a.x)
    for i, cache in enumerate(model.caches):
        b = f"blk.{i}."
        calls += project_normed(model, tokens, b + "qkv", b + "attn_norm.weight", a.x, a.qkv)
        calls += rope_attention(s, tokens, model.heads, a.qkv, model.rope, cache, a.attended)
        calls += project(model, tokens, b + "attn_output.weight", a.attended, a.x, add=True)
        calls += feed_forward(model, tokens, b + "gate_up", b + "ffn_norm.weight", b + "ffn_down.weight")
    return calls


def head(model: Model, x: Buffer, tokens: int, logits: Buffer) -> list[Call]:
    """x f32 [T, D] → logits f32 [T, V]."""
    matrix = "output.weight" if "output.weight" in model.weights else "token_embd.weight"
    return project_normed(model, tokens, matrix, "output_norm.weight", x, logits)
