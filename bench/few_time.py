"""GPU time, by timestamps, of a step of drafts beside a plain one over Dawn, and of how its products share their reads.

    python -m bench.few_time MODEL.gguf --positions 100 500 4000

What a step of drafts takes with one to four tokens, over a plain step: drafts pay where they choose more ids than that.
Then each matrix with 1, 2 or 4 of four tokens a workgroup. Last the drafting and verifying, which come on top.
Needs local_llm and wgpudawn on an adapter with timestamp-query.
"""

from __future__ import annotations

import argparse
import asyncio
import struct
from collections.abc import Sequence

from bench.gpu_time import Stopwatch
from local_llm.formats.gguf import read_gguf
from local_llm.generate.engine import Engine
from local_llm.generate.speculation import TOKENS, Speculation
from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Memory
from local_llm.gpu.plan import Compiler
from local_llm.models.families import family_of
from local_llm.models.model import Model, load
from local_llm.native.blobs import open_blobs
from local_llm.native.device import NativeDevice, open_device
from local_llm.ops.attention import REACHES
from local_llm.ops.few import matvec_few, tokens_each
from local_llm.ops.sampling import SamplingParams
from local_llm.ops.variants import matvec_variant


class Timer:
    """µs of calls at a position, with so many tokens there."""

    def __init__(self, device: NativeDevice, model: Model) -> None:
        self._device, self._model = device, model
        self._watch, self._compiler = Stopwatch(device), Compiler(device, model.memory)

    async def timed(self, calls: Sequence[Call], position: int, count: int, times: int = 8) -> float:
        await self._compiler.prepare(calls)
        self._device.write(self._model.shared.step.handle, struct.pack("<4I", position, count, 0, 0))
        return self._watch.best(self._compiler.record(calls), times) * 1e6


async def steps(timer: Timer, engine: Engine, speculation: Speculation, position: int) -> None:
    """Without the kernels that move the step on."""
    reach = next((most for most in REACHES if position < most), 0)
    single = engine._model_calls(1, reach) + engine._tail_calls(SamplingParams(), 1)[:-1]
    drafting, *few, verifying = speculation._calls((False, False), reach)
    plain = await timer.timed(single, position, 1)
    print(f"position {position}: plain step {plain:.0f} µs ({len(single)} dispatches)")
    for count in range(1, TOKENS + 1):
        took = await timer.timed(few, position, count)
        print(f"  {count} of {TOKENS} tokens: {took:.0f} µs ({len(few)} dispatches), {took / plain:.2f} plain steps")
    again = await timer.timed(single, position, 1)
    extra = [await timer.timed([call] * 20, position, 1, 1) / 20 for call in (drafting, verifying)]
    print(f"  plain again {again:.0f}; draft {extra[0]:.1f}, verify {extra[1]:.1f} µs")


async def products(timer: Timer, model: Model) -> None:
    seen = set()
    for name, parts in model.weights.matrices.items():
        for weight in (placed.weight for placed in parts):
            shape = (weight.format, weight.rows, weight.cols)
            if shape in seen:
                continue
            seen.add(shape)
            memory = Memory(model.memory.device)
            x, y = memory.create(4 * TOKENS * weight.cols, "bench"), memory.create(4 * TOKENS * weight.rows, "bench")
            found = []
            for each in (1, 2, 4):
                calls = matvec_few(model.shared, TOKENS, weight, x, y, y_stride=weight.rows, each=each)
                found += [f"{await timer.timed(calls * 50, 0, n, 1) / 50:.1f}" for n in (1, TOKENS)]
            memory.close()
            chosen = tokens_each(model.shared, weight, matvec_variant(model.shared, weight), TOKENS)
            print(f"  {name} {shape}: µs with 1 and {TOKENS} tokens, by one {found[0]} {found[1]}, ", end="")
            print(f"two {found[2]} {found[3]}, four {found[4]} {found[5]}; chosen {chosen}")


async def run(args: argparse.Namespace) -> None:
    device = await open_device()
    memory = Memory(device)
    gguf = await read_gguf(blobs := await open_blobs(args.model))
    family = family_of(gguf.name, gguf.metadata.get("general.architecture"))
    model = await load(family, gguf, blobs, memory, args.context, lambda done, total: None)
    engine = Engine(model, lambda: 0.0)
    print(device.caps.adapter, gguf.name)
    if engine._speculation is None:
        raise SystemExit("This model or adapter has no steps of drafts.")
    timer = Timer(device, model)
    for position in args.positions:
        await steps(timer, engine, engine._speculation, position)
    await products(timer, model)


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    p.add_argument("model")
    p.add_argument("--positions", type=int, nargs="+", default=[100, 500, 4000])
    p.add_argument("--context", type=int, default=8192)
    asyncio.run(run(p.parse_args()))


if __name__ == "__main__":
    main()
