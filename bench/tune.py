"""What the tuner finds for a model over Dawn: each shape of its products, the candidates, µs of a step by each.

Of a prompt's products, whether they round their inputs or not: µs of one matrix.

    python -m bench.tune MODEL.gguf

The first candidate of a shape is the rule's; "→" marks what would run. Nothing is kept. Needs local_llm and wgpudawn.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import replace

from local_llm.formats.gguf import read_gguf
from local_llm.gpu.memory import Memory
from local_llm.models.families import family_of
from local_llm.models.model import load
from local_llm.models.tuning import Outcome, products, prompts, tune
from local_llm.native.blobs import open_blobs
from local_llm.native.device import open_device
from local_llm.ops.variants import Shape, Variant


def named(variant: Variant) -> str:
    constants = " ".join(f"{name}={value}" for name, value in variant.constants.items())
    way = "left rounded" if variant.takes_left else "rounded" if variant.int8 else "exact"
    return f"{way} {constants}"


def show(shape: Shape, calls: int, outcome: Outcome) -> None:
    print(
        f"{shape.kernel} {shape.format} [{shape.rows}, {shape.cols}], {f'{calls} a step' if calls else 'of a prompt'}"
    )
    if not outcome.table:
        print("   not timed")
    for variant, seconds in outcome.table:
        mark = "→" if variant == outcome.variant else " "
        print(f" {mark} {named(variant):37} {seconds * 1e6:9.1f} µs  {seconds / outcome.before:6.3f}")


async def run(args: argparse.Namespace) -> None:
    device = await open_device()
    memory = Memory(device)
    if args.gpu:
        device.caps = replace(device.caps, software=False)
    if args.no_timestamps:
        device.caps = replace(device.caps, features=device.caps.features - {"timestamp-query"})
    gguf = await read_gguf(blobs := await open_blobs(args.model))
    family = family_of(gguf.name, gguf.metadata.get("general.architecture"))
    model = await load(family, gguf, blobs, memory, args.context, lambda done, total: None)
    calls, others = products(model), prompts(model)
    for number in range(args.runs):
        began = time.perf_counter()
        found = await tune(model, [*calls, *others], time.perf_counter, args.seconds)
        took = time.perf_counter() - began
        before, after = (sum(getattr(found[shape], name) for shape in calls) for name in ("before", "after"))
        print(f"\nRun {number + 1}: {device.caps.adapter}, {gguf.name}, {took:.2f} s; products of a step ", end="")
        print(f"{before * 1e6:.0f} → {after * 1e6:.0f} µs")
        for shape, outcome in found.items():
            show(shape, len(calls.get(shape, ())), outcome)


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    p.add_argument("model")
    p.add_argument("--runs", type=int, default=2, help="whether a second run finds the same")
    p.add_argument("--seconds", type=float, default=60.0, help="from then on no shape is begun; loads take 1.2")
    p.add_argument("--context", type=int, default=4096)
    p.add_argument("--gpu", action="store_true", help="take a software adapter for a GPU")
    p.add_argument("--no-timestamps", action="store_true", help="by the host's clock")
    asyncio.run(run(p.parse_args()))


if __name__ == "__main__":
    main()
