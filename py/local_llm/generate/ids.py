"""Token ids as the GPU takes them: u32, little-endian, in bytes, which are checked, cut and compared in no time.

Thousands of a prompt stand between a question and the GPU's first work: nothing here looks at them one by one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from local_llm.errors import ContextOverflow, InvalidRequest


def pack_ids(ids: Sequence[int]) -> bytes:
    """u32 [T]. Raises struct.error for what is none."""
    return struct.pack(f"<{len(ids)}I", *ids)


def packed_prompt(ids: Sequence[int], vocab: int, context: int) -> bytes:
    """ids as u32. Raises InvalidRequest, or ContextOverflow where there are more than `context`."""
    if not ids:
        raise InvalidRequest("The prompt has no tokens.", remedy="Give at least one character.")
    if len(ids) > context:
        raise ContextOverflow(
            f"The prompt has {len(ids)} tokens; the cache holds {context}.",
            remedy="Shorten the conversation, or load the model with a larger context_size.",
        )
    try:
        packed = pack_ids(ids)
        sound = np.frombuffer(packed, "<u4").max() < vocab
    except struct.error:  # below 0, or more than 32 bits
        packed, sound = b"", False
    if not sound:
        wrong = next((token for token in ids if not 0 <= token < vocab), None)
        raise InvalidRequest(f"Token id {wrong} is outside the vocabulary of {vocab}.")
    return packed


def common_prefix(held: bytes, ids: bytes) -> int:
    """How many ids are the same from the start."""
    most = min(len(held), len(ids))
    if held[:most] == ids[:most]:
        return most // 4
    return int(np.argmax(np.frombuffer(held, "<u4", most // 4) != np.frombuffer(ids, "<u4", most // 4)))
