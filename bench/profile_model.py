"""Where one step's time goes: each distinct call of a model's plan, replayed alone over Dawn.

    python bench/profile_model.py MODEL.gguf --tokens 1 256 --position 500

Prints µs per call, calls per step and their product; "whole" is the plan itself. Needs local_llm and wgpudawn.
"""

from __future__ import annotations

import argparse
import asyncio
import struct
import time
from collections import Counter

from local_llm.formats.gguf import read_gguf
from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Memory
from local_llm.gpu.plan import Compiler
from local_llm.models.families import family_of
from local_llm.models.model import Model, load
from local_llm.native.blobs import open_blobs
from local_llm.native.device import NativeDevice, open_device


async def seconds(device: NativeDevice, recorded: object, times: int) -> float:
    """Of one replay, from the median of five submits of `times` replays."""
    runs = []
    for _ in range(6):
        before = time.perf_counter()
        device.submit(recorded, times)
        await device.idle()
        runs.append((time.perf_counter() - before) / times)
    return sorted(runs[1:])[2]


def plan(model: Model, tokens: int) -> list[Call]:
    calls = model.family.layers(model, tokens)
    logits = model.memory.create(4 * model.config.vocab, "logits")
    return calls + model.family.head(model, model.scratch.last, 1, logits)


async def profile(device: NativeDevice, model: Model, tokens: int, position: int, times: int) -> None:
    calls = plan(model, tokens)
    compiler = Compiler(device, model.memory)
    await compiler.prepare(calls)
    device.write(model.shared.step.handle, struct.pack("<4I", position, tokens, 0, 0))
    counts = Counter((call.kernel, call.grid, call.params) for call in calls)
    first = {}
    for call in calls:
        first.setdefault((call.kernel, call.grid, call.params), call)
    total = 0.0
    for key, count in counts.most_common():
        each = await seconds(device, compiler.record([first[key]]), times)
        total += each * count
        name = f"{key[0].name} {dict(key[0].includes).get('weight', '')} {key[1]}"
        print(f"{name:50} {each * 1e6:9.1f} µs x {count:4} = {each * count * 1e3:8.3f} ms")
    whole = await seconds(device, compiler.record(calls), 4)
    print(f"T={tokens}: sum {total * 1e3:.3f} ms, whole {whole * 1e3:.3f} ms, {tokens / whole:.0f} tokens/s\n")


async def run(args: argparse.Namespace) -> None:
    device = await open_device()
    memory = Memory(device)
    blobs = await open_blobs(args.model)
    gguf = await read_gguf(blobs)
    family = family_of(gguf.name, gguf.metadata.get("general.architecture"))
    before = time.perf_counter()
    bits = args.cache_bits
    model = await load(family, gguf, blobs, memory, args.context_size, lambda done, total: None, bits)
    print(f"{device.caps.adapter}: {gguf.name} loaded in {time.perf_counter() - before:.2f} s, {memory.nbytes:,} bytes")
    for tokens in args.tokens:
        await profile(device, model, tokens, args.position, args.times)


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    p.add_argument("model")
    p.add_argument("--tokens", type=int, nargs="+", default=[1, 256])
    p.add_argument("--position", type=int, default=500)
    p.add_argument("--times", type=int, default=100)
    p.add_argument("--context-size", type=int, default=4096)
    p.add_argument("--cache-bits", type=int, choices=(16, 8), default=16)
    asyncio.run(run(p.parse_args()))


if __name__ == "__main__":
    main()
