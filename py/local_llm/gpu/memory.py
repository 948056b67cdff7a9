"""GPU memory: buffers with sizes and names, and the ledger that knows what is held. Knows no models."""

from __future__ import annotations

from dataclasses import dataclass

from local_llm.errors import OutOfMemory
from local_llm.gpu.ports import Device, Handle


@dataclass(frozen=True, eq=False)
class Buffer:
    """A GPU buffer. Compared by identity."""

    handle: Handle
    nbytes: int
    label: str


class Memory:
    """All buffers that one model or task holds; `close` frees every one, whatever happened before.

    known_limit: bytes that should not be exceeded, as far as anybody knows; `create` does not hold against it.
    """

    def __init__(self, device: Device, known_limit: int | None = None) -> None:
        self.device = device
        self.known_limit = known_limit
        self._held: dict[Buffer, None] = {}
        self.nbytes = 0
        self.peak = 0

    def create(self, nbytes: int, label: str) -> Buffer:
        """A zeroed buffer of at least nbytes (rounded up to 16)."""
        size = max(16, (nbytes + 15) // 16 * 16)
        limit = min(self.device.caps.max_buffer_bytes, self.device.caps.max_binding_bytes)  # kernels bind whole buffers
        if size > limit:
            raise OutOfMemory(f"Buffer '{label}' needs {size} bytes; this adapter's largest buffer is {limit} bytes.")
        buffer = Buffer(self.device.create_buffer(size, label), size, label)
        self._held[buffer] = None
        self.nbytes += size
        self.peak = max(self.peak, self.nbytes)
        return buffer

    def upload(self, data: bytes, label: str) -> Buffer:
        """A buffer that holds data, padded with zeros to a multiple of 4."""
        buffer = self.create(len(data), label)
        self.device.write(buffer.handle, data + bytes(-len(data) % 4))
        return buffer

    def destroy(self, buffer: Buffer) -> None:
        """Free one buffer; a second time does nothing."""
        if buffer in self._held:
            del self._held[buffer]
            self.nbytes -= buffer.nbytes
            self.device.destroy(buffer.handle)

    def by_label(self) -> dict[str, int]:
        """Bytes held, per label."""
        totals: dict[str, int] = {}
        for buffer in self._held:
            totals[buffer.label] = totals.get(buffer.label, 0) + buffer.nbytes
        return totals

    def close(self) -> None:
        """Free everything."""
        for buffer in list(self._held):
            self.destroy(buffer)
