"""Whether an adapter computes right what a model is about to ask of it: its kernels against numpy, on its own weights.

Drivers do miscompile. Of each kernel that has a plain variant, exactly as the model's steps call it (same file, same
constants: the very pipelines that will run), one call is made on random numbers. Knows no host and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np

from local_llm.gpu.kernel import Call, Kernel
from local_llm.gpu.memory import Buffer, Memory
from local_llm.gpu.plan import Compiler
from local_llm.models import expected, expected_attention
from local_llm.models.expected import Bench, Case
from local_llm.models.model import Model
from local_llm.ops.attention import REACHES
from local_llm.ops.sampling import allocate_sampler, sample
from local_llm.ops.shared import Shared
from local_llm.ops.weight import Part, Weight

CHOICE = "argmax"
CASES: dict[str, Callable[[Bench, str, Call], Case]] = {
    "matvec": expected.matvec,
    "matvec_glu": expected.matvec_glu,
    "matmul": expected.matmul,
    "matmul_large": expected.matmul,
    "matmul_int8": expected.matmul,
    "round_rows": expected.round_rows,
    "attention_step": expected_attention.attention_step,
    "qkv_attention": expected_attention.qkv_attention,
    "attention": expected_attention.attention,
    "attention_decode": expected_attention.attention,
    "qk_norm": expected_attention.qk_norm,
}


def case_names(model: Model, counts: Sequence[int]) -> list[str]:
    """What would be tested. counts: tokens of the model's longer steps."""
    return [name for name, _ in _calls(model, counts)] + [CHOICE] * model.config.causal


async def wrong_kernels(model: Model, counts: Sequence[int], names: Collection[str]) -> list[str]:
    """Those among `names`, of case_names, that the adapter gets wrong or that its driver does not compile.

    The model's own buffers stay as they are. Raises DeviceLost, and GPUFault where what a test needs does not compile.
    """
    memory = Memory(model.memory.device)
    try:
        bench = Bench(model.shared.caps, memory, _weights(model))
        found = [(name, call) for name, call in _calls(model, counts) if name in names]
        cases = [CASES[call.kernel.name](bench, name, call) for name, call in found]
        cases += [_choice(model, bench)] * (model.config.causal and CHOICE in names)
        compiler = Compiler(memory.device, memory)
        refused = await compiler.refused([call for case in cases for call in case.calls])
        tested = {call.kernel for _, call in found}
        for kernel, fault in refused.items():
            if kernel not in tested:  # no verdict: nothing was tried by it
                raise fault
        run = [all(call.kernel not in refused for call in case.calls) for case in cases]
        tried = [call for case, runs in zip(cases, run, strict=True) if runs for call in case.calls]
        memory.device.submit(compiler.record(tried))
        await memory.device.read(model.shared.step.handle, 4)  # a device that is lost refuses everything
        with np.errstate(all="ignore"):  # whatever is in a wrong result
            return [case.name for case, runs in zip(cases, run, strict=True) if not (runs and await case.right())]
    finally:
        memory.close()


def steps(model: Model, counts: Sequence[int]) -> Iterator[list[Call]]:
    """The calls of every kind of step that can run, but for the choice of a token."""
    reaches = (0, *(reach for reach in REACHES if reach < model.context)) if model.config.causal else (0,)
    for reach in reaches:
        yield model.family.layers(replace(model, reach=reach), 1)
    for count in counts:
        yield model.family.layers(model, count)
    if model.config.causal:
        yield model.family.head(model, model.scratch.x, 1, model.scratch.x)  # is not run: any buffer will do


def _calls(model: Model, counts: Sequence[int]) -> Iterator[tuple[str, Call]]:
    """The first call of each kernel that can be tested, and a name for it."""
    seen = set[str]()
    for calls in steps(model, counts):
        for call in calls:
            if call.kernel.name in CASES:
                name = case_name(call)
                if name not in seen:
                    seen.add(name)
                    yield name, call


def case_name(call: Call) -> str:
    """What a call's kernel is called here: its file, what it includes and its constants."""
    kernel: Kernel = call.kernel
    words = [kernel.name, *(name for _, name in kernel.includes)]
    words.append(",".join(f"{key}={int(value)}" for key, value in kernel.constants))
    if kernel.name in ("attention_step", "qkv_attention"):
        words.append(f"parts={call.grid[1]}")
    return " ".join(words)


def _weights(model: Model) -> Callable[[Buffer], Weight]:
    """From the buffer of a call to the rows that lie in it."""
    known: dict[int, Weight] = {}
    for placed in (one for several in model.weights.matrices.values() for one in several):
        whole = placed.weight
        for part in whole.parts:
            own = Part(0, part.rows, part.quants, part.scales)
            known[id(part.quants)] = Weight(whole.format, part.rows, whole.cols, (own,))
    return lambda buffer: known[id(buffer)]


def _choice(model: Model, bench: Bench) -> Case:
    vocab, memory = model.config.vocab, bench.memory
    logits = np.random.default_rng(vocab).standard_normal(vocab, np.float32)
    tokens, ring = memory.create(16, "proof"), memory.create(16, "proof")
    shared: Shared = bench.shared(0, 1)
    buffers = allocate_sampler(memory, shared.caps, vocab, 4, tokens, ring)
    memory.device.write(buffers.logits.handle, logits.tobytes())
    calls = sample(shared, buffers, penalties=False, noise=False, cut=False)

    async def right() -> bool:
        return (await memory.device.read(tokens.handle, 4)) == int(logits.argmax()).to_bytes(4, "little")

    return Case(CHOICE, calls, right)
