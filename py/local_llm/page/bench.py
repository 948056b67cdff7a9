"""Measures a loaded model: prefill and decode speed over token ids, several runs; a cached prefix; a step on the GPU.

Knows no page and no DOM.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from local_llm.generate.engine import Engine
from local_llm.generate.profiling import copy_rate, profile_step
from local_llm.gpu.ports import Device, Handle, Stopwatch
from local_llm.reply import Reply
from local_llm.runtime import LocalLLM

TURN = 16  # new tokens behind a cached prefix


@dataclass(frozen=True)
class Suite:
    """prompt_tokens and new_tokens of each run; the first run warms up and is reported apart.

    prefix: so many tokens are in the cache when a first token after TURN new ones is waited for; 0: not measured.
    profile: also what a decode step takes on the GPU, kernel by kernel. speculative: as complete() takes it; how often
    drafts of these prompts' ids are right says little of texts, so it is off where nothing is said.
    """

    prompt_tokens: int = 512
    new_tokens: int = 192
    runs: int = 3
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    prefix: int = 0
    profile: bool = False
    speculative: str = "off"


async def measure(llm: LocalLLM, suite: Suite) -> dict[str, Any]:
    """Every run's seconds and tokens a second, JSON-able. Prompts differ, so that no run finds a cached prefix."""
    device = await llm.with_engine(_device)
    runs = [await _one(llm, device, suite, 0)]
    await llm.with_engine(_settled)
    runs += [await _one(llm, device, suite, salt + 1) for salt in range(suite.runs)]
    info = await llm.runtime_info()
    kept = runs[1:]
    decode = _median([run["decode_tokens_per_second"] for run in kept])
    return {
        "model": llm.status()["model"],
        "adapter": info["adapter"],
        "software_adapter": info["software_adapter"],
        "features": info["features"],
        "limits": {name: info[name] for name in ("max_binding_bytes", "max_buffer_bytes")},
        "context_size": info["context_size"],
        "cache_bits": info["cache_bits"],
        "gpu_bytes": info["gpu_bytes"],
        "prompt_tokens": suite.prompt_tokens,
        "new_tokens": suite.new_tokens,
        "speculative": suite.speculative,
        "sampling": {"temperature": suite.temperature, "top_k": suite.top_k, "top_p": suite.top_p},
        "warm_up": runs[0],
        "runs": kept,
        "decode_tokens_per_second": decode,
        "prefill_tokens_per_second": _median([run["prefill_tokens_per_second"] for run in kept]),
        "time_to_first_token_s": _median([run["time_to_first_token_s"] for run in kept]),
        "python_ms_per_token": _median([run["python_ms_per_token"] for run in kept]),
        "recording_ms_per_token": _median([run["recording_ms_per_token"] for run in kept]),
        "after_prefix": await _after_prefix(llm, suite, decode) if suite.prefix else None,
        "step": await llm.with_engine(lambda engine: _step(engine, suite, decode)) if suite.profile else None,
    }


async def _device(engine: Engine) -> Device:
    return engine._device


async def _one(llm: LocalLLM, device: Device, suite: Suite, salt: int) -> dict[str, Any]:
    options = {"temperature": suite.temperature, "top_k": suite.top_k, "top_p": suite.top_p, "seed": salt}
    options |= {"speculative": suite.speculative, "max_tokens": suite.new_tokens, "ignore_eos": True}
    ids = _prompt(suite.prompt_tokens, salt)
    early, until_first = 0, (0.0, 0.0)
    with _python_seconds() as spent, _recording_seconds(device) as recording:
        stream = await llm.complete(ids, stream=True, **options)
        assert not isinstance(stream, Reply)
        reply: Reply | None = None
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                reply = chunk.reply
                if not early:
                    early, until_first = chunk.token_count, (spent[0], recording[0])
    assert reply is not None
    first, later = reply.time_to_first_token or 0.0, reply.usage.completion_tokens - early
    each = [
        1000 * (now - then) / max(later, 1) for now, then in zip((spent[0], recording[0]), until_first, strict=True)
    ]
    return {
        "time_to_first_token_s": first,
        "decode_tokens_per_second": reply.tokens_per_second or 0.0,
        "prefill_tokens_per_second": suite.prompt_tokens / first if first else 0.0,
        "tokens_per_step": reply.tokens_per_step,
        "completion_tokens": reply.usage.completion_tokens,
        "python_ms_per_token": each[0],
        "recording_ms_per_token": each[1],
    }


async def _after_prefix(llm: LocalLLM, suite: Suite, decode: float) -> dict[str, Any]:
    """Seconds to a first token behind a prefix that the cache holds, beside those of the new tokens alone."""

    async def first(ids: list[int]) -> float:
        reply = await llm.complete(ids, max_tokens=1, ignore_eos=True, temperature=0.0)
        assert isinstance(reply, Reply)
        return reply.time_to_first_token or 0.0

    await first(_prompt(TURN, 99, 250))
    await llm.with_engine(_settled)
    alone, behind = [], []
    for salt in range(suite.runs + 1):
        prefix = _prompt(suite.prefix, 100 + salt, 250)
        alone.append(await first(_prompt(TURN, 200 + salt, 250)))
        await first(prefix)
        behind.append(await first(prefix + _prompt(TURN, 300 + salt, 250)))
    return {
        "prefix_tokens": suite.prefix,
        "new_tokens": TURN,
        "time_to_first_token_s": behind[1:],
        "alone_s": alone[1:],
        "step_s": 1 / decode if decode else 0.0,
    }


async def _settled(engine: Engine) -> None:
    """What short prompts need is being prepared when the first one comes."""
    if engine.short is not None:
        await engine.short.preparation.wait()


async def _step(engine: Engine, suite: Suite, decode: float) -> dict[str, Any]:
    """A decode step on the GPU; the share of a copy's bytes a second that `decode` tokens a second reach."""
    device = engine._device
    if not isinstance(device, Stopwatch) or "timestamp-query" not in device.caps.features:
        return {"missing": "This adapter or browser offers no timestamps (timestamp-query)."}
    step = await profile_step(engine, device, suite.prompt_tokens + suite.new_tokens // 2)
    rate = await copy_rate(engine, device)
    read = step.weight_bytes + step.cache_bytes
    return {**asdict(step), "copy_bytes_per_second": rate, "bandwidth_share": read * decode / rate}


def _prompt(tokens: int, salt: int, vocabulary: int = 1000) -> list[int]:
    """Ids below `vocabulary`; the first one tells prompts apart."""
    return [(7 * i + 13 * salt + 100) % vocabulary for i in range(tokens)]


@contextmanager
def _python_seconds() -> Iterator[list[float]]:
    """[seconds] that the event loop's callbacks take meanwhile, with what they call: all of Python in a page."""
    spent, plain = [0.0], asyncio.Handle._run

    def timed(self: asyncio.Handle) -> None:
        began = time.perf_counter()
        try:
            plain(self)
        finally:
            spent[0] += time.perf_counter() - began

    asyncio.Handle._run = timed
    try:
        yield spent
    finally:
        asyncio.Handle._run = plain


@contextmanager
def _recording_seconds(device: Device) -> Iterator[list[float]]:
    """[seconds] of these that are WebGPU's own: its calls for each dispatch, which the bridge makes, and the submit."""
    spent, plain = [0.0], device.submit

    def timed(recorded: Handle, times: int = 1) -> None:
        began = time.perf_counter()
        try:
            plain(recorded, times)
        finally:
            spent[0] += time.perf_counter() - began

    device.submit = timed  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        del device.submit  # the class's own is left


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
