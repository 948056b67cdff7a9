"""A Device without a GPU: buffers are bytearrays, submits are recorded, a hook plays the kernels' part."""

from __future__ import annotations

from collections.abc import Callable

from local_llm.gpu.ports import Caps

CAPS = Caps("recording", "none", "none", True, frozenset(), 128 << 20, 256 << 20, 65535, 16384, 256)


class RecordingDevice:
    """See gpu.ports.Device. on_submit(dispatches) is called once per replay."""

    def __init__(self, caps: Caps = CAPS) -> None:
        self.caps = caps
        self.live: list[bytearray] = []
        self.submits: list[tuple[list, int]] = []
        self.pipelines: list[str] = []
        self.recordings = 0
        self.on_submit: Callable[[list], None] = lambda dispatches: None
        self.fail_after: int | None = None  # raise at the n-th buffer, as a full GPU would

    def create_buffer(self, nbytes, label):
        if self.fail_after is not None and len(self.live) >= self.fail_after:
            raise MemoryError(label)
        assert nbytes % 4 == 0
        buffer = bytearray(nbytes)
        self.live.append(buffer)
        return buffer

    def write(self, buffer, data, offset=0):
        assert len(data) % 4 == 0
        assert offset + len(data) <= len(buffer)
        buffer[offset : offset + len(data)] = data

    async def _later(self, value):
        return value

    def read(self, buffer, nbytes, offset=0):
        return self._later(bytes(buffer[offset : offset + nbytes]))

    async def create_pipeline(self, code, entry, bindings, constants):
        self.pipelines.append(entry)
        return entry

    def bind(self, pipeline, buffers):
        return (pipeline, tuple(id(buffer) for buffer in buffers))

    def record(self, dispatches):
        self.recordings += 1
        return list(dispatches)

    def submit(self, recorded, times=1):
        self.submits.append((recorded, times))
        for _ in range(times):
            self.on_submit(recorded)

    def idle(self):
        return self._later(None)

    def destroy(self, buffer):
        self.live = [held for held in self.live if held is not buffer]

    def close(self):
        self.live = []
