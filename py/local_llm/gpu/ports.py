"""The seam between the runtime and its host: five small ports.

Nothing above this file sees a WebGPU descriptor, enum or flag, and nothing asks where it runs: what differs
between adapters is a value in `Caps`. The adapters live in `browser/` and `native/`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

Handle = Any  # opaque: a JavaScript object in the page, a wgpu object in CPython
Grid = tuple[int, int, int]
PACKED_DOT = "packed_4x8_integer_dot_product"  # a feature of WGSL: dot4I8Packed and pack4xI8


@dataclass(frozen=True)
class Caps:
    """What the adapter and device offer. Byte limits are WebGPU's, in bytes."""

    adapter: str  # a name for people, for example "NVIDIA H100 80GB HBM3"
    vendor: str
    architecture: str
    software: bool  # True: a CPU pretends to be a GPU
    features: frozenset[str]  # of WebGPU that the device was created with, and of WGSL
    max_binding_bytes: int  # largest storage binding
    max_buffer_bytes: int
    max_workgroups: int  # workgroups in one dimension of a dispatch
    workgroup_bytes: int  # workgroup memory
    max_invocations: int  # invocations in one workgroup
    storage_buffers: int = 8  # that one kernel may bind; WebGPU promises 8
    driver: str = ""  # what compiles our kernels: names and versions, as far as the host tells


@dataclass(frozen=True)
class Dispatch:
    """One kernel launch with everything bound."""

    pipeline: Handle
    group: Handle
    grid: Grid


class Device(Protocol):
    """A GPU device. Calls are queued in order; `read` and `idle` wait for what was queued before them.

    WebGPU reports validation errors, failed allocations and a lost device asynchronously: the next awaited
    `read` or `idle` raises them as `GPUFault`, `OutOfMemory` or `DeviceLost`.
    """

    caps: Caps

    def create_buffer(self, nbytes: int, label: str) -> Handle:
        """A zeroed buffer usable as storage, uniform, copy source and copy target. nbytes: multiple of 4."""
        ...

    def write(self, buffer: Handle, data: bytes, offset: int = 0) -> None:
        """Queue a small write. len(data) and offset: multiples of 4."""
        ...

    def read(self, buffer: Handle, nbytes: int, offset: int = 0) -> Awaitable[bytes]:
        """Queue a copy out *now*, without stalling what is queued later; await the bytes."""
        ...

    def create_pipeline(
        self, code: str, entry: str, bindings: Sequence[str], constants: Mapping[str, float]
    ) -> Awaitable[Handle]:
        """Compile, in the background. bindings: per binding of group 0 "read", "read_write" or "uniform"."""
        ...

    def bind(self, pipeline: Handle, buffers: Sequence[Handle]) -> Handle:
        """Bind whole buffers to bindings 0, 1, … of group 0."""
        ...

    def record(self, dispatches: Sequence[Dispatch]) -> Handle:
        """Keep a list of dispatches on the host's side of the seam, ready for replay."""
        ...

    def submit(self, recorded: Handle, times: int = 1) -> None:
        """Replay a recording `times` times in one compute pass; one queue submit."""
        ...

    def idle(self) -> Awaitable[None]:
        """Wait until all that was queued has run."""
        ...

    def destroy(self, buffer: Handle) -> None:
        """Free a buffer's memory once what uses it has run."""
        ...

    def close(self) -> None:
        """Destroy the device. Later calls raise DeviceLost."""
        ...


@runtime_checkable
class Stopwatch(Protocol):
    """What a Device may offer besides, for benches."""

    def timed(self, recorded: Handle, times: int = 1) -> Awaitable[float]:
        """Seconds on the GPU of `times` replays in one pass, by its own clock. Needs the feature timestamp-query."""
        ...

    def copied(self, source: Handle, target: Handle, nbytes: int, times: int) -> Awaitable[float]:
        """Seconds until so many copies of nbytes have run, by the host's clock."""
        ...


class Blobs(Protocol):
    """Bytes of one model file. Bulk bytes go around Python."""

    name: str  # for messages: a URL or path
    size: int  # bytes in all

    async def read(self, start: int, stop: int) -> bytes:
        """Bytes [start, stop), for headers. Raises DownloadFailed, or CorruptModel where the file is shorter."""
        ...

    async def stream_into(
        self, device: Device, buffer: Handle, start: int, stop: int, progress: Callable[[int], None]
    ) -> None:
        """Put bytes [start, stop) at offset 0 of buffer. progress(n) is told of every n further bytes.

        stop - start need not be a multiple of 4: the tail is padded with zeros.
        """
        ...


class Tokenizer(Protocol):
    """Hugging Face's `tokenizers` (Rust), as wasm in the page and as a wheel in CPython."""

    def encode(self, text: str) -> list[int]:
        """Ids of text, no special tokens added."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; special tokens are kept."""
        ...


class Store(Protocol):
    """Small named texts that survive the session (settings). Models' bytes are not its business.

    lasts: whether they do, as far as the host knows by now; else they are gone with this page.
    """

    @property
    def lasts(self) -> bool: ...

    async def get(self, key: str) -> str | None: ...

    async def set(self, key: str, text: str) -> None: ...


@dataclass(frozen=True)
class Kept:
    """What this device keeps of one model. model: its address. size: bytes in all, as far as they are known.

    whole: it loads without a download. used_at: milliseconds since 1970 of the last load, 0: never loaded. used: now,
    in this page.
    """

    model: str
    nbytes: int
    size: int
    whole: bool
    used_at: int
    pinned: bool = False
    used: bool = False


class Storage(Protocol):
    """Models' bytes that survive the session, by the address that each model was asked for with."""

    def address(self, place: str) -> str:
        """What a model at `place` is called in `kept`: absolute."""
        ...

    def opener(self, source: Any, sha256: str | None = None, nbytes: int = 0) -> Callable[[Any], Awaitable[Blobs]]:
        """open_blobs for the files of the model `source`: what comes from the network is kept, and found again.

        sha256: what the file must have, where that is known. nbytes: of all files together, 0: nobody knows. Opening
        raises StorageFull, DownloadFailed; a file that another tab downloads is waited for, one that was absent when
        the model was loaded is not asked for again.
        """
        ...

    async def loaded(self, source: Any) -> None:
        """The model has been loaded from its files: they are whole."""
        ...

    def rest(self) -> None:
        """Nothing is in use any more: break off downloads. What is kept can be deleted."""
        ...

    async def kept(self) -> list[Kept]:
        """All models here, also parts of them."""
        ...

    async def delete(self, model: str) -> int:
        """Returns bytes that became free. Raises Busy where the model is in use, here or in another tab."""
        ...

    async def export(self, model: str) -> tuple[str, Handle]:
        """(a file's name, its bytes as the host carries them) of a whole model, held against its digests.

        One file is that file, several are a tar. Raises UnknownModel, CorruptModel.
        """
        ...

    async def adopt(self, body: Any, model: str | None, sha256: str = "") -> list[str]:
        """Keep the models in a file, and return their addresses: what export made, or one file, which is `model`'s.

        sha256: what that file must have. Raises CorruptModel, InvalidRequest, StorageFull, Busy; then nothing is kept.
        """
        ...

    async def pin(self, model: str, pinned: bool) -> None:
        """Mark a model that must not give way to others."""
        ...

    async def room(self) -> Mapping[str, Any]:
        """{kind: "opfs", "indexeddb" or None, reason: why nothing can be kept, used_bytes, quota_bytes, persistent}."""
        ...


@dataclass(frozen=True)
class Host:
    """The ports of one host, handed to the runtime at start-up."""

    open_device: Callable[[], Awaitable[Device]]
    open_blobs: Callable[[Any], Awaitable[Blobs]]  # a URL, a path, a File, bytes
    open_tokenizer: Callable[[bytes], Awaitable[Tokenizer]]  # the text of a tokenizer.json, UTF-8
    store: Store
    clock: Callable[[], float]  # seconds, monotonic
    self_test: bool = True  # kernels are tried once on each adapter, see soundness.py
    storage: Storage | None = None  # None: models' bytes are fetched anew for each load
