"""Products of weight matrices with a few tokens, by the numbers that `matvec` and `matvec_glu` give each of them.

So a text does not depend on how many tokens a step takes. For adapters that are GPUs. Knows no models.
"""

from __future__ import annotations

from local_llm.gpu.kernel import Call, Kernel, pack, spread
from local_llm.gpu.memory import Buffer
from local_llm.gpu.ports import Caps
from local_llm.ops import leaving
from local_llm.ops.leaving import Leaving
from local_llm.ops.linear import Parts, is_gelu
from local_llm.ops.shared import Shared
from local_llm.ops.variants import Variant, few_bytes, matvec_variant
from local_llm.ops.weight import Weight

SMALL = 4 << 20  # bytes of a matrix that a GPU's cache gives several workgroups


def tokens_each(
    s: Shared, weight: Weight, variant: Variant, tokens: int, most: int | None = None, joined: int = 0
) -> int:
    """How many of the step's tokens one workgroup takes: those of a large matrix read a weight once for several.

    most: so many where they fit. joined: bytes of workgroup memory that joining a token's parts takes.
    """
    nbytes = sum(part.quants.nbytes + part.scales.nbytes for part in weight.parts)
    most = most or (1 if nbytes <= SMALL else min(tokens, 2 if variant.int8 else 4))
    while most > 1 and not _fits(s.caps, variant, most, joined):
        most //= 2
    return most


def _fits(caps: Caps, variant: Variant, tokens: int, joined: int) -> bool:
    fits = tokens * variant.constants["ROWS"] <= variant.constants["LANES"]
    return fits and few_bytes(variant, tokens) + tokens * joined <= caps.workgroup_bytes


def row_stride(rows: int) -> int:
    """Numbers from one token's result to the next one's, where `matvec_few` has made it."""
    return (rows + 3) // 4 * 4


def matvec_few(
    s: Shared,
    tokens: int,
    weight: Weight,
    x: Buffer,
    y: Buffer,
    *,
    y_stride: int,
    norm: Buffer | None = None,
    eps: float = 0.0,
    bias: Buffer | None = None,
    add: bool = False,
    row_offset: int = 0,
    bias_offset: int = 0,
    parts: Parts | None = None,
    each: int | None = None,
    variant: Variant | None = None,
    left: int | None = None,
    leaves: Leaving | None = None,
) -> list[Call]:
    """y[t, row_offset:] (+)= W norm(x[t]) (+ bias) as `matvec` for t < step.count; x [tokens, K], y [tokens, y_stride].

    parts: of `parts_for`, where x is what `attention_few` leaves. each: as `most` of tokens_each. variant: whose
    numbers they are (None: of the one that `matvec` takes). left, leaves: as of `matvec`, one token behind the other.
    """
    variant = variant or matvec_variant(s, weight)
    taken = left is not None and variant.takes_left
    each = tokens_each(s, weight, variant, tokens, each, parts.joined if parts else 0)
    joined, includes = (parts.constants, parts.includes) if parts else ({}, {})
    kernel = Kernel.of(
        "matvec_few",
        variant.includes(weight.format, "team_few", taken) | includes | leaving.includes(leaves),
        NORM=norm is not None,
        BIAS=bias is not None,
        ADD=add,
        TOKENS=each,
        **variant.constants,
        **joined,
        **leaving.constants(leaves, variant.rows, weight.rows),
    )
    gains = (leaves.gains if leaves else norm) or s.dummy
    calls = []
    for part in weight.parts:
        buffers = (part.quants, part.scales, x, gains, bias or s.dummy, y, s.step)
        starts = (row_offset + part.row_start, bias_offset + part.row_start)
        places = ((left or 0) // 4, leaves.start if leaves else 0)
        params = pack(part.rows, weight.cols, weight.blocks, y_stride, *starts, float(eps), *places)
        grid = _grid(s.caps, part.rows, variant.rows, -(-tokens // each))
        calls.append(Call(kernel, buffers, grid, params))
    return calls


def matvec_few_glu(
    s: Shared,
    tokens: int,
    weight: Weight,
    x: Buffer,
    y: Buffer,
    *,
    norm: Buffer | None = None,
    eps: float = 0.0,
    activation: str = "silu",
    each: int | None = None,
    left: int | None = None,
    leaves: Leaving | None = None,
) -> list[Call]:
    """y[t] = act(W[:F] norm(x[t])) ⊙ (W[F:] norm(x[t])) as `matvec_glu`; y [tokens, F], W [2F, K] in one part."""
    (part,) = weight.parts
    variant = matvec_variant(s, weight, pairs=True)
    taken = left is not None and variant.takes_left
    each = tokens_each(s, weight, variant, tokens, each)
    rows = weight.rows // 2
    shape = {"NORM": norm is not None, "GELU": is_gelu(activation), "TOKENS": each, **variant.constants}
    shape |= leaving.constants(leaves, variant.rows // 2, rows)
    includes = variant.includes(weight.format, "team_few", taken) | leaving.includes(leaves)
    kernel = Kernel.of("matvec_few_glu", includes, **shape)
    params = pack(rows, weight.cols, weight.blocks, float(eps), (left or 0) // 4)
    grid = _grid(s.caps, 2 * rows, variant.rows, -(-tokens // each))
    return [Call(kernel, (part.quants, part.scales, x, norm or s.dummy, y, s.step), grid, params)]


def _grid(caps: Caps, rows: int, rows_each: int, groups: int) -> tuple[int, int, int]:
    return (*spread(-(-rows // rows_each), caps.max_workgroups)[:2], groups)
