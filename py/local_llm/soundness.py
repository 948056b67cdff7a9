"""Which of a model's kernels this adapter computes wrong: by a self-test, once for each adapter and version of ours.

Knows no events, and not what runs in their place.
"""

from __future__ import annotations

from collections.abc import Sequence

from local_llm.errors import DeviceLost, LocalLLMError
from local_llm.generate.engine import COUNTS
from local_llm.gpu.ports import Host
from local_llm.models.model import Model
from local_llm.models.proof import case_names, wrong_kernels
from local_llm.notes import recall, revise

KEY = "kernels"  # in the host's store
ONLY = ("argmax",)  # have no plain variant


async def wrong_on(host: Host, model: Model, counts: Sequence[int]) -> list[str] | None:
    """Kernels that steps of one token and of `counts` need and that are wrong: from what was kept or from a test now.

    None where there was no room for a test: no verdict.
    """
    caps = model.memory.device.caps
    if caps.software or not host.self_test:  # it has the plain kernels already
        return []
    names = case_names(model, counts)
    try:
        kept = {name: right is True for name, right in (await recall(host.store, KEY, caps) or {}).items()}
    except ValueError:
        kept = {}
    missing = [name for name in names if name not in kept]
    if missing:
        try:
            wrong = await wrong_kernels(model, counts, missing)
        except DeviceLost:
            raise
        except LocalLLMError:
            return None
        fresh = {name: name not in wrong for name in missing}
        kept |= fresh
        await revise(host.store, KEY, caps, lambda held: {**held, **fresh})  # if it is not kept, it is tested again
    return [name for name in names if not kept[name]]


def chunk_lengths(model: Model) -> list[int]:
    """Tokens of the steps that prompts are computed in."""
    return sorted({min(count, model.max_chunk) for count in (*COUNTS, model.max_chunk)})
