"""The view of a model's files that families read, whatever the files are. Knows no architecture and no GPU.

Its vocabulary is GGUF's: metadata keys and tensor names, as llama.cpp's conversion gives them. `translation.py` has
both for Hugging Face's and MLC's names; what that vocabulary cannot say stands at `Checkpoint`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_llm.formats.quant import TensorType

MOST_TENSORS = 1 << 15  # of one model; real ones have some thousands


@dataclass(frozen=True)
class Tensor:
    """One tensor's place. shape: rows first ([out, in]); bytes [start, stop).

    scales: the tensor that holds this one's scales, where a format keeps them apart (GGUF never does).
    """

    name: str
    shape: tuple[int, ...]
    type: TensorType
    start: int
    stop: int
    scales: Tensor | None = None

    @property
    def nbytes(self) -> int:
        return self.stop - self.start

    @property
    def count(self) -> int:
        """Weights in all."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Checkpoint:
    """One model's metadata (`general.architecture`, `<arch>.block_count`, `tokenizer.ggml.…`) and tensor directory.

    Arrays of metadata are numpy arrays, or sequences of texts. Where formats differ:

    * Bytes [start, stop) lie in one address space, that of the `Blobs` given to the loader. Several files lie in it one
      after the other, each at a multiple of 4, more than 4,096 bytes apart: then no window (windows.py) spans two.
    * Names of matrices end in `.weight` even where the file's own do not (MLC's `q_weight`).
    * What a file holds fused stays so: `blk.N.attn_qkv.{weight,bias}` is q above k above v; `blk.N.ffn_up.weight` with
      twice the rows, and no `ffn_gate`, is gate above up.
    * Vectors (norms, biases) are F32, F16 or BF16.
    * `<arch>.rope.scaling.type` may also be "llama3" (low_freq_factor, high_freq_factor) or "longrope" (arrays
      long_factors, short_factors), beside GGUF's tensors rope_freqs, rope_factors_long and rope_factors_short.
    * `<arch>.attention.sliding_window_pattern` and `<arch>.rope.pattern`: one bool a layer, whether the window holds
      there, whether positions are rotated there.

    converted: whether the tensors went through llama.cpp's conversion, as a GGUF's did, or are as Hugging Face has them
    (safetensors, MLC). Conversion permutes the rows of q and k of some architectures (llama, granite, smollm3) so that
    neighbours 2i, 2i + 1 of a head turn together instead of i, i + E/2; and it stores Gemma's norm weights as 1 + w.
    The families know which of this concerns them.
    """

    name: str  # the file or folder, for messages
    metadata: Mapping[str, Any]
    tensors: Mapping[str, Tensor]  # in the files' order
    size: int  # bytes of all files
    converted: bool

    @property
    def architecture(self) -> str:
        """`general.architecture`; empty where there is none."""
        return str(self.metadata.get("general.architecture", ""))
