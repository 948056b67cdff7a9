"""Which context fits: what a model takes is counted by allocating it on a device that only counts.

WebGPU does not say how much memory a GPU has: limits are the adapter's largest buffer, what is known of earlier
refusals or of a budget (Memory.known_limit), and the refusal of the allocation itself. Knows no families.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from local_llm.errors import OutOfMemory
from local_llm.gpu.memory import Memory
from local_llm.gpu.ports import Caps, Device

LEAST_CONTEXT = 512  # below it a conversation is of little use; asked for by name it may be less
STEP = 256
WORTH = 0.9  # a smaller context is advised where it takes less than this share of the memory

T = TypeVar("T")
Allocate = Callable[[Memory, int], T]  # everything that a model holds, for a context


class _Counter:
    """A device that holds nothing."""

    def __init__(self, caps: Caps) -> None:
        self.caps = caps

    def create_buffer(self, nbytes: int, label: str) -> None:
        pass

    def write(self, buffer: None, data: bytes, offset: int = 0) -> None:
        pass


def needed_bytes(allocate: Allocate[T], caps: Caps, context: int) -> int:
    """GPU bytes that allocate(…, context) takes. Raises OutOfMemory where a buffer is beyond the adapter."""
    memory = Memory(cast(Device, _Counter(caps)))
    allocate(memory, context)
    return memory.nbytes


def largest_context(allocate: Allocate[T], caps: Caps, most: int, limit: int | None = None) -> int | None:
    """The most positions, up to `most`, with which all fits the adapter and `limit` bytes; None: not even few do."""

    def fits(context: int) -> bool:
        try:
            needed = needed_bytes(allocate, caps, context)
        except OutOfMemory:
            return False
        return limit is None or needed <= limit

    if fits(most):
        return most
    low, high = -(-min(LEAST_CONTEXT, most) // STEP), -(-most // STEP)  # in STEPs; high does not fit
    if low >= high or not fits(low * STEP):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle * STEP) else (low, middle)
    return low * STEP


async def allocate_fitting(allocate: Allocate[T], memory: Memory, context: int, *, exact: bool) -> T:
    """allocate(memory, context), the GPU's consent included.

    exact: this context or none. Otherwise the largest one, up to `context`, that fits what is known, and where the
    GPU refuses even so, half of it, down to LEAST_CONTEXT. Raises OutOfMemory that says what would fit; then memory
    holds nothing.
    """
    caps = memory.device.caps
    fitting = largest_context(allocate, caps, context, None if exact else memory.known_limit)
    if fitting is None and not exact:  # what is known may be another page's doing, and past
        fitting = largest_context(allocate, caps, min(context, LEAST_CONTEXT))
    if fitting is None or (exact and fitting < context):
        raise _too_large(allocate, caps, context, fitting)
    while True:
        try:
            made = allocate(memory, fitting)
            await memory.device.idle()  # a refused allocation shows here, before gigabytes are streamed
            return made
        except OutOfMemory as error:
            memory.close()
            if exact or fitting <= LEAST_CONTEXT:
                raise _refused(allocate, memory, fitting, error) from None
            fitting = max(LEAST_CONTEXT, fitting // 2)


def _too_large(allocate: Allocate[T], caps: Caps, context: int, fitting: int | None) -> OutOfMemory:
    try:
        needed_bytes(allocate, caps, context)
    except OutOfMemory as error:
        reason = error.message
    else:
        raise AssertionError("it fits")
    return OutOfMemory(
        f"With a context of {context} positions this model does not fit: {reason}",
        remedy=f"Load it with context_size={fitting}." if fitting else "Choose a smaller model or quantization.",
    )


def _refused(allocate: Allocate[T], memory: Memory, context: int, error: OutOfMemory) -> OutOfMemory:
    """The error for an allocation that the GPU refused: what a smaller context would save, if it is worth it."""
    caps, known = memory.device.caps, memory.known_limit
    needed = needed_bytes(allocate, caps, context)
    goal = min(int(WORTH * needed), known if known and known < needed else needed)
    smaller = largest_context(allocate, caps, context, goal)
    message = f"The model needs {_mib(needed)} of GPU memory with a context of {context} positions: {error.message}"
    if smaller is None:
        least = needed_bytes(allocate, caps, min(context, LEAST_CONTEXT))
        remedy = f"Choose a smaller model or quantization: with the least context this one needs {_mib(least)}."
    else:
        saved = _mib(needed_bytes(allocate, caps, smaller))
        remedy = f"Load it with context_size={smaller}, which needs {saved}, or choose a smaller model."
    return OutOfMemory(message, remedy=f"{remedy} Other pages that use the GPU take room, too.")


def _mib(nbytes: int) -> str:
    return f"{nbytes / (1 << 20):.1f} MiB"
