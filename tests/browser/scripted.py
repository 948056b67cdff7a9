"""A model that says one text, whatever it is asked: for pictures and for states of the page that must be held.

Each token's embedding is a unit vector of its own and the output matrix sends it to the token that follows, so a
token knows its successor; attention and feed-forward add nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from tests.model.tiny import alphabet, tiny_metadata, tiny_tokens
from tests.reference.gguf_writer import Stored, store, write_gguf

END = 2
_HEADER = 1_500_000  # bytes before the weights: a loader reads 2 MiB first, and the weights' arrival is to be seen


def pieces_of(text: str, taken: set[str]) -> list[str]:
    """The text in words with the space before them, no two alike: what came before goes on into the next word."""
    found: list[str] = []
    held = ""
    for word in re.findall(r"\s*\S+|\s+$", text):
        held += word
        if held not in found and spelled(held) not in taken:
            found.append(held)
            held = ""
    return [*found, held] if held else found


def spelled(piece: str) -> str:
    """A token as a byte-level vocabulary writes it."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = dict(zip([*plain, *(n for n in range(256) if n not in plain)], alphabet(), strict=True))
    return "".join(letters[byte] for byte in piece.encode())


def write_scripted_gguf(path: Path, text: str) -> int:
    """Write the model that answers `text`; returns the number of tokens in it."""
    words = tiny_tokens()
    script = [spelled(piece) for piece in pieces_of(text, set(words))]
    first, words = len(words), words + script
    width = -(-len(words) // 32) * 32
    order = [words.index("Ċ"), *range(first, len(words)), END]
    output = np.zeros((len(words), width), np.float32)
    output[order[1:], order[:-1]] = 8.0
    metadata = tiny_metadata(width=width, layers=1, heads=2, kv_heads=1, head_width=32, ffn=64, context=1024) | {
        "llama.vocab_size": len(words),
        "general.description": " " * _HEADER,
        "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.token_type": [3] * 3 + [1] * (len(words) - 3),
    }
    shapes = {"attn_q": (64, width), "attn_k": (32, width), "attn_v": (32, width), "attn_output": (width, 64)}
    shapes |= {"ffn_gate": (64, width), "ffn_up": (64, width), "ffn_down": (width, 64)}
    stored: dict[str, Stored] = {
        "token_embd.weight": store(np.eye(len(words), width, dtype=np.float32), "F32"),
        **{f"blk.0.{name}.weight": store(np.zeros(shape, np.float32), "F32") for name, shape in shapes.items()},
        **{
            f"{name}.weight": store(np.ones(width, np.float32), "F32") for name in ("blk.0.attn_norm", "blk.0.ffn_norm")
        },
        "output_norm.weight": store(np.ones(width, np.float32), "F32"),
        "output.weight": store(output, "F32"),
    }
    write_gguf(path, metadata, stored)
    return len(script)
