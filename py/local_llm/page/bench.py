"""Measures a loaded model: prefill and decode speed over token ids, several runs. Knows no page and no DOM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from local_llm.reply import Reply
from local_llm.runtime import LocalLLM


@dataclass(frozen=True)
class Suite:
    """prompt_tokens and new_tokens of each run; the first run warms up and is reported apart."""

    prompt_tokens: int = 512
    new_tokens: int = 192
    runs: int = 3
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0


async def measure(llm: LocalLLM, suite: Suite) -> dict[str, Any]:
    """Every run's seconds and tokens a second, JSON-able. Prompts differ, so that no run finds a cached prefix."""
    runs = [await _one(llm, suite, salt) for salt in range(suite.runs + 1)]
    info = await llm.runtime_info()
    kept = runs[1:]
    return {
        "model": llm.status()["model"],
        "adapter": info["adapter"],
        "software_adapter": info["software_adapter"],
        "features": info["features"],
        "limits": {name: info[name] for name in ("max_binding_bytes", "max_buffer_bytes")},
        "context_size": info["context_size"],
        "gpu_bytes": info["gpu_bytes"],
        "prompt_tokens": suite.prompt_tokens,
        "new_tokens": suite.new_tokens,
        "sampling": {"temperature": suite.temperature, "top_k": suite.top_k, "top_p": suite.top_p},
        "warm_up": runs[0],
        "runs": kept,
        "decode_tokens_per_second": _median([run["decode_tokens_per_second"] for run in kept]),
        "prefill_tokens_per_second": _median([run["prefill_tokens_per_second"] for run in kept]),
    }


async def _one(llm: LocalLLM, suite: Suite, salt: int) -> dict[str, Any]:
    ids = [(7 * i + 13 * salt + 100) % 1000 for i in range(suite.prompt_tokens)]
    options = {"temperature": suite.temperature, "top_k": suite.top_k, "top_p": suite.top_p, "seed": salt}
    reply = await llm.complete(ids, max_tokens=suite.new_tokens, ignore_eos=True, **options)
    assert isinstance(reply, Reply)
    first = reply.time_to_first_token or 0.0
    return {
        "time_to_first_token_s": first,
        "decode_tokens_per_second": reply.tokens_per_second or 0.0,
        "prefill_tokens_per_second": suite.prompt_tokens / first if first else 0.0,
        "completion_tokens": reply.usage.completion_tokens,
    }


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
