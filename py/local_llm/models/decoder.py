"""Decoders of Llama's shape: which tensors they want and the order of their operations, by what their Config says.

Source: Touvron et al. 2023; names of tensors are GGUF's. Families (llama.py, qwen2.py, …) say how they differ.
"""

from __future__ import annotations

from local_llm.formats.checkpoint import Checkpoint
from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Buffer
from local_llm.models.blocks import attend, feed_forward, project
from local_llm.models.config import Config
from local_llm.models.links import links
from local_llm.models.model import Model, exact
from local_llm.models.weights import Source, Stack, Vector
from local_llm.ops.elementwise import softcap
from local_llm.ops.embedding import embed


def stacks(checkpoint: Checkpoint, config: Config) -> list[Stack | Vector]:
    """Everything but what a file may lack (an output matrix, biases) must be there."""
    d = config.width
    wanted: list[Stack | Vector] = [
        matrix("token_embd", config.vocab, d),
        Vector("output_norm", (Source("output_norm.weight", 1, d),), 1 / config.logit_divisor, config.norm_addend),
    ]
    if "output.weight" in checkpoint.tensors:
        wanted.append(matrix("output", config.vocab, d))
    for layer in range(config.layers):
        b = f"blk.{layer}."
        wanted += norms(b, config) + attention(b, checkpoint, config) + feed_forward_stacks(b, checkpoint, config)
    return wanted


def matrix(name: str, rows: int, cols: int) -> Stack:
    """A matrix that shares its input with no other."""
    return Stack(name, (Source(f"{name}.weight", rows, cols),))


def _bias(name: str, *sources: tuple[str, int]) -> Vector:
    return Vector(f"{name}.bias", tuple(Source(f"{tensor}.bias", 1, rows, optional=True) for tensor, rows in sources))


def norms(b: str, config: Config) -> list[Stack | Vector]:
    """All norms of the block whose names begin with b."""
    d, e = config.width, config.head_width
    names = ["attn_norm", "ffn_norm"] if config.pre_norm else []
    names += ["post_attention_norm", "post_ffw_norm"] if config.post_norm else []
    wanted: list[tuple[str, tuple[Source, ...]]] = [(name, (Source(f"{b}{name}.weight", 1, d),)) for name in names]
    if config.qk_norm:
        widths = (e, e) if config.qk_norm == "head" else (config.q_rows, config.kv_rows)
        tensors = zip((b + "attn_q_norm.weight", b + "attn_k_norm.weight"), widths, strict=True)
        wanted.append(("qk_norm", tuple(Source(tensor, 1, width) for tensor, width in tensors)))
    return [Vector(b + name, sources, addend=config.norm_addend) for name, sources in wanted]


def attention(b: str, checkpoint: Checkpoint, config: Config) -> list[Stack | Vector]:
    """A block's projections of attention, fused or not."""
    d, q, kv = config.width, config.q_rows, config.kv_rows
    parts = [(b + "attn_q", q), (b + "attn_k", kv), (b + "attn_v", kv)]
    if b + "attn_qkv.weight" in checkpoint.tensors:
        parts = [(b + "attn_qkv", q + 2 * kv)]
    return [
        Stack(b + "qkv", tuple(Source(f"{name}.weight", rows, d) for name, rows in parts)),
        _bias(b + "qkv", *parts),
        matrix(b + "attn_output", d, q),
        _bias(b + "attn_output", (b + "attn_output", d)),
    ]


def feed_forward_stacks(b: str, checkpoint: Checkpoint, config: Config) -> list[Stack | Vector]:
    """A block's gate, up and down, fused or not."""
    d, f = config.width, config.ffn_width
    parts = [(b + "ffn_gate", f), (b + "ffn_up", f)]
    up = checkpoint.tensors.get(b + "ffn_up.weight")
    if b + "ffn_gate.weight" not in checkpoint.tensors and up is not None and up.shape[0] == 2 * f:
        parts = [(b + "ffn_up", 2 * f)]
    gate_up = Stack(b + "gate_up", tuple(Source(f"{name}.weight", rows, d) for name, rows in parts))
    return [gate_up, matrix(b + "ffn_down", d, f)]


def layers(model: Model, tokens: int) -> list[Call]:
    """Tokens in `model.tokens` → residual stream in scratch.x, keys and values in the caches."""
    embedding = model.weights.matrices["token_embd"][0].weight
    calls = embed(model.shared, tokens, embedding, model.tokens, model.scratch.x, factor=model.config.embedding_scale)
    for layer, link in enumerate(links(model)):
        calls += attend(model, tokens, layer, link.qkv, link.gate_up)
        calls += feed_forward(model, tokens, layer, link.gate_up, link.down, link.following)
    return calls


def head(model: Model, x: Buffer, tokens: int, logits: Buffer) -> list[Call]:
    """x f32 [T, D] → logits f32 [T, V]."""
    matrix = "output" if "output" in model.weights.matrices else "token_embd"
    calls = project(exact(model), tokens, matrix, x, logits, norm="output_norm")
    if model.config.logit_cap:
        calls += softcap(model.shared, logits, tokens * model.config.vocab, model.config.logit_cap)
    return calls
