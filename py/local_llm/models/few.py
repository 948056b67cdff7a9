"""One step of a few tokens through a decoder, each token by the numbers that a step of one gives it.

What models/blocks.py lists for one token, with the kernels of ops/few.py. Knows no drafts and no sampling.
"""

from __future__ import annotations

from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Buffer
from local_llm.models import decoder
from local_llm.models.blocks import fused_qkv, join
from local_llm.models.links import Links, links
from local_llm.models.model import Model, exact
from local_llm.ops.attention import MOST_TOKENS, attention_few, few_left, few_parts, few_tokens, parts_for
from local_llm.ops.elementwise import glu, softcap
from local_llm.ops.embedding import embed
from local_llm.ops.few import matvec_few, matvec_few_glu, row_stride
from local_llm.ops.leaving import APART, Link
from local_llm.ops.linear import Parts
from local_llm.ops.qkv_attention import apart, lanes_of
from local_llm.ops.variants import Variant


def most_few(model: Model) -> int:
    """The most tokens of such a step, MOST_TOKENS or half of it; 0 where there are no kernels for it.

    There are on GPUs, for families whose steps are those of decoder.py.
    """
    config, caps = model.config, model.shared.caps
    widths = (config.width, config.q_rows, config.ffn_width)
    possible = (
        not caps.software
        and config.causal
        and (model.family.layers, model.family.head) == (decoder.layers, decoder.head)
        and all(width % 4 == 0 for width in widths)
        and model.max_chunk >= 2 * MOST_TOKENS * max(_parts(model, heads.context) for heads in model.heads)
    )
    each = (few_tokens(caps, heads, _past(model, layer)) for layer, heads in enumerate(model.heads))
    return min(each) if possible else 0


def _past(model: Model, layer: int) -> int:
    """Lanes of the layer's qkv_attention; 0 where it has none."""
    fused = fused_qkv(model, layer)
    return lanes_of(model.shared.caps, fused) if fused else 0


def _parts(model: Model, reach: int) -> int:
    found = (parts_for(model.shared, 1, heads, reach, past=True) for heads in model.heads)
    return max(parts.count if parts else 1 for parts in found)


def few_layers(model: Model, tokens: int, alike: bool = True) -> list[Call]:
    """`decoder.layers` for a step of up to `tokens` tokens, at most MOST_TOKENS.

    alike: each token gets a plain step's numbers bit by bit; else attention may add up positions in another order.
    """
    a, config, embedding = model.scratch, model.config, model.weights.matrices["token_embd"][0].weight
    calls = embed(model.shared, tokens, embedding, model.tokens, a.x, factor=config.embedding_scale)
    for layer, link in enumerate(links(model)):
        calls += _attend(model, tokens, layer, alike, link) + _feed_forward(model, tokens, layer, link)
    return calls


def few_head(model: Model, tokens: int, logits: Buffer) -> list[Call]:
    """The residual stream of `tokens` tokens → logits f32 [tokens, V], rows padded to a multiple of four."""
    matrix = "output" if "output" in model.weights.matrices else "token_embd"
    calls = _project(exact(model), tokens, matrix, model.scratch.x, logits, norm="output_norm")
    if model.config.logit_cap:
        calls += softcap(model.shared, logits, tokens * row_stride(model.config.vocab), model.config.logit_cap)
    return calls


def _project(
    model: Model,
    tokens: int,
    name: str,
    x: Buffer,
    y: Buffer,
    *,
    norm: str = "",
    add: bool = False,
    parts: Parts | None = None,
    variant: Variant | None = None,
    taken: Link = APART,
    given: Link = APART,
) -> list[Call]:
    w, calls = model.weights, []
    for part in w.matrices[name]:
        calls += matvec_few(
            model.shared,
            tokens,
            part.weight,
            x,
            y,
            y_stride=row_stride(w.rows(name)),
            norm=w.vectors[norm] if norm else None,
            eps=model.config.eps,
            bias=w.vectors.get(f"{name}.bias"),
            add=add,
            row_offset=part.row,
            bias_offset=part.row,
            parts=parts,
            variant=variant,
            left=taken.left,
            leaves=given.leaves,
        )
    return calls


def _attend(model: Model, tokens: int, layer: int, alike: bool, link: Links) -> list[Call]:
    b, a, config = f"blk.{layer}.", model.scratch, model.config
    gains = model.weights.vectors[b + "qk_norm"] if config.qk_norm else None
    fused = fused_qkv(model, layer)
    past, variant = _past(model, layer), apart(fused) if fused else None
    norm = b + "attn_norm" if config.pre_norm else ""
    calls = _project(model, tokens, b + "qkv", a.x, a.qkv, norm=norm, variant=variant, taken=link.qkv)
    heads, rope, cache = model.heads[layer], model.ropes[layer], model.caches[layer]
    parts = few_parts(heads, model.reach, tokens, alike)
    calls += attention_few(model.shared, tokens, heads, a.qkv, rope, cache, a.attended, gains, parts, past)
    left = few_left(heads, parts, past)
    norm = b + "post_attention_norm"
    return calls + join(model, tokens, b + "attn_output", a.attended, norm, left, given=link.gate_up, project=_project)


def _feed_forward(model: Model, tokens: int, layer: int, link: Links) -> list[Call]:
    b, a, config = f"blk.{layer}.", model.scratch, model.config
    norm = b + "ffn_norm" if config.pre_norm else ""
    stacked = model.weights.matrices[b + "gate_up"]
    if len(stacked) == 1 and len(stacked[0].weight.parts) == 1:
        gain = model.weights.vectors[norm] if norm else None
        options = {"norm": gain, "eps": config.eps, "left": link.gate_up.left, "leaves": link.down.leaves}
        given = (model.shared, tokens, stacked[0].weight, a.x, a.hidden)
        calls = matvec_few_glu(*given, activation=config.activation, **options)
    else:
        calls = _project(model, tokens, b + "gate_up", a.x, a.gate_up, norm=norm, taken=link.gate_up)
        calls += glu(model.shared, tokens, a.gate_up, a.hidden, config.ffn_width, config.activation)
    norm, given = b + "post_ffw_norm", link.following
    return calls + join(model, tokens, b + "ffn_down", a.hidden, norm, taken=link.down, given=given, project=_project)
