"""A text's ids to one vector: the last states of a model, pooled. Knows no text and no host."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from local_llm.errors import ContextOverflow, InvalidRequest
from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Buffer
from local_llm.gpu.plan import Compiler
from local_llm.models.blocks import project
from local_llm.models.model import Model
from local_llm.ops.elementwise import rms_norm

POOLINGS = ("mean", "cls", "last")


async def embed_ids(model: Model, compiler: Compiler, ids: Sequence[int], pooling: str | None = None) -> np.ndarray:
    """float32 [D] of length 1. pooling: POOLINGS, or None for the model's own. Replaces the cache's content."""
    kind = pooling or model.config.pooling
    if kind not in POOLINGS:
        raise InvalidRequest(f"Pooling must be one of {', '.join(POOLINGS)}; found {kind!r}.")
    states = await _states(model, compiler, ids, last_only=kind == "last")
    pooled = states.mean(0) if kind == "mean" else states[0 if kind == "cls" else -1]
    pooled = await _through(model, compiler, pooled, model.config.dense)
    return (pooled / max(np.linalg.norm(pooled), 1e-12)).astype(np.float32)


async def _states(model: Model, compiler: Compiler, ids: Sequence[int], *, last_only: bool) -> np.ndarray:
    """float32 [T, D], normed as for the head; only the last chunk's rows with last_only."""
    if not ids:
        raise InvalidRequest("A text to embed has no tokens.", remedy="Give at least one character.")
    if len(ids) > model.context:
        raise ContextOverflow(
            f"A text to embed has {len(ids)} tokens; the model takes {model.context}.", remedy="Cut it into pieces."
        )
    device, width = model.memory.device, model.config.width
    rows: list[np.ndarray] = []
    for start in range(0, len(ids), model.max_chunk):
        part = ids[start : start + model.max_chunk]
        calls = model.family.layers(model, len(part))
        out, normed = _final(model, len(part))
        calls += normed
        await compiler.prepare(calls)
        device.write(model.tokens.handle, struct.pack(f"<{len(part)}I", *part))
        device.write(model.shared.step.handle, struct.pack("<4I", start, len(part), 0, 0))
        device.submit(compiler.record(calls))
        if not last_only or start + len(part) == len(ids):
            data = await device.read(out.handle, 4 * len(part) * width)
            rows.append(np.frombuffer(data, np.float32).reshape(len(part), width))
    return np.concatenate(rows)


async def _through(model: Model, compiler: Compiler, vector: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """A vector [D] times each of the model's matrices `names`, the last of which has D rows."""
    if not names:
        return vector
    calls, x, y = [], model.scratch.last, model.scratch.gate_up
    for name in names:
        calls += project(model, 1, name, x, y)
        x, y = y, x
    await compiler.prepare(calls)
    model.memory.device.write(model.scratch.last.handle, vector.astype("<f4").tobytes())
    model.memory.device.submit(compiler.record(calls))
    return np.frombuffer(await model.memory.device.read(x.handle, 4 * model.config.width), np.float32)


def _final(model: Model, tokens: int) -> tuple[Buffer, list[Call]]:
    """Where the states are, and the last norm where the model has one."""
    a, gain = model.scratch, model.weights.vectors.get("output_norm")
    if gain is None:
        return a.x, []
    return a.normed, rms_norm(model.shared, tokens, a.x, gain, a.normed, model.config.width, model.config.eps)
