"""Time of each matrix kernel on the native device: GB/s of weights per kernel and shape, and one step's sum.

python -m bench.kernels [--shape smollm2-135m] [--tokens 40] [--json]
Nothing is asserted. On CPU adapters it also tells CPU seconds, which other processes disturb less.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Buffer, Memory
from local_llm.gpu.plan import Compiler
from local_llm.gpu.ports import Device, Handle
from local_llm.native.device import open_device
from local_llm.ops.linear import matmul, matvec, matvec_glu
from local_llm.ops.shared import Shared
from local_llm.ops.weight import Weight, allocate, packed_bytes


@dataclass(frozen=True)
class Case:
    """A product that a model makes `times` times a token. kind: plain, norm, add, glu (2F rows)."""

    name: str
    kind: str
    format: str
    rows: int
    cols: int
    times: int


@dataclass(frozen=True)
class Result:
    case: Case
    tokens: int
    seconds: float  # of one call
    cpu_seconds: float  # of one call, all threads of this process
    gigabytes_per_second: float  # of weights read


def llama(layers: int, d: int, f: int, q: int, kv: int, v: int, format: str, head: str) -> list[Case]:
    """The matrices of a llama-shaped model."""
    return [
        Case("qkv", "norm", format, q + 2 * kv, d, layers),
        Case("output", "add", format, d, q, layers),
        Case("gate_up", "glu", format, 2 * f, d, layers),
        Case("down", "add", format, d, f, layers),
        Case("head", "norm", head, v, d, 1),
    ]


MODELS = {
    "smollm2-135m": llama(30, 576, 1536, 576, 192, 49152, "q4_1", "q8_0"),
    "llama-3.2-1b": llama(16, 2048, 8192, 2048, 512, 128256, "q4_0", "q8_0"),
    "llama-3.1-8b": llama(32, 4096, 14336, 4096, 1024, 128256, "q4_0", "q8_0"),
    "llama-3.1-8b-q4_k": llama(32, 4096, 14336, 4096, 1024, 128256, "q4_k", "q6_k"),
}


@dataclass(frozen=True)
class Bench:
    device: Device
    memory: Memory
    compiler: Compiler
    shared: Shared
    x: Buffer
    y: Buffer

    def weight(self, case: Case) -> Weight:
        return allocate(self.memory, self.shared.caps, case.format, case.rows, case.cols, case.name)

    def calls(self, case: Case, weight: Weight, tokens: int) -> list[Call]:
        s, x, y = self.shared, self.x, self.y
        if tokens > 1:
            return matmul(s, tokens, weight, x, y, y_stride=case.rows, add=case.kind == "add")
        if case.kind == "glu":
            return matvec_glu(s, weight, x, y, norm=x, eps=1e-5)
        return matvec(s, weight, x, y, norm=x if case.kind == "norm" else None, eps=1e-5, add=case.kind == "add")

    async def time(self, calls: Sequence[Call], least: float) -> tuple[float, float]:
        """Seconds and CPU seconds of one pass over calls: the best of five batches of at least `least` seconds."""
        await self.compiler.prepare(calls)
        plan = self.compiler.record(calls)
        times, best, best_cpu = 1, float("inf"), float("inf")
        for _ in range(5):
            taken, cpu = await self._batch(plan, times)
            while taken < least and times < 1024:
                times *= 2
                taken, cpu = await self._batch(plan, times)
            best, best_cpu = min(best, taken / times), min(best_cpu, cpu / times)
        return best, best_cpu

    async def _batch(self, plan: Handle, times: int) -> tuple[float, float]:
        await self.device.idle()
        start, start_cpu = time.perf_counter(), time.process_time()
        self.device.submit(plan, times)
        await self.device.idle()
        return time.perf_counter() - start, time.process_time() - start_cpu


async def measure(device: Device, cases: Sequence[Case], tokens: int, least: float) -> list[Result]:
    """Each case alone, its weights in GPU memory, zeros throughout (timing does not depend on values)."""
    results = []
    for case in cases:
        memory = Memory(device)
        try:
            step = memory.upload(np.array([0, tokens, 0, 0], np.uint32).tobytes(), "step")
            shared = Shared(device.caps, step, memory.create(16, "dummy"))
            x = memory.create(tokens * case.cols * 4, "x")
            y = memory.create(tokens * case.rows * 4, "y")
            bench = Bench(device, memory, Compiler(device, memory), shared, x, y)
            seconds, cpu = await bench.time(bench.calls(case, bench.weight(case), tokens), least)
            nbytes = packed_bytes(case.format, case.rows, case.cols)
            results.append(Result(case, tokens, seconds, cpu, nbytes / seconds / 1e9))
        finally:
            memory.close()
    return results


def report(results: Sequence[Result]) -> None:
    for r in results:
        c = r.case
        flops = 2 * r.tokens * c.rows * c.cols
        print(
            f"{c.name:8} {c.kind:5} {c.format:5} N={c.rows:<6} K={c.cols:<6} T={r.tokens:<4} {r.seconds * 1e3:9.3f} ms"
            f"{r.cpu_seconds * 1e3:10.3f} CPU ms{r.gigabytes_per_second:9.2f} GB/s{flops / r.seconds / 1e9:10.2f} GF/s"
        )
    tokens = results[0].tokens
    total = sum(r.seconds * r.case.times for r in results)
    cpu = sum(r.cpu_seconds * r.case.times for r in results)
    print(f"all matrices of {tokens} token(s): {total * 1e3:.2f} ms, {tokens / total:.2f} tokens/s; {cpu:.3f} CPU s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=MODELS, default="smollm2-135m", help="of the model")
    parser.add_argument("--tokens", type=int, default=1)
    parser.add_argument("--least", type=float, default=0.2, help="seconds of one measurement")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    async def run() -> list[Result]:
        device = await open_device()
        try:
            if not args.json:
                print(device.caps.adapter)
            return await measure(device, MODELS[args.shape], args.tokens, args.least)
        finally:
            device.close()

    results = asyncio.run(run())
    if args.json:
        print(json.dumps([asdict(result) for result in results]))
    else:
        report(results)


if __name__ == "__main__":
    main()
