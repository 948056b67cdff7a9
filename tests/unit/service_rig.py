"""What tests of the whole service stand on: a host over a folder, whose device plays the kernels' part."""

from __future__ import annotations

import json
import struct
from typing import Any

from local_llm.catalog import read_catalog
from local_llm.errors import LocalLLMError
from local_llm.events import NAMES
from local_llm.generate.engine import RING
from local_llm.gpu.ports import Host
from local_llm.native.blobs import open_blobs
from local_llm.native.tokenizer import open_tokenizer
from local_llm.service import Service
from tests.reference.recording_device import RecordingDevice

CATALOG = read_catalog(
    json.dumps(
        {
            "models": [
                {"id": "odd", "url": "odd.gguf", "architecture": "mamba", "quantization": "F32"},
                {"id": "tiny", "url": "tiny.gguf", "quantization": "F32"},
                {"id": "other", "url": "other.gguf", "quantization": "Q8_0"},
                {"id": "gone", "url": "gone.gguf"},
            ]
        }
    )
)


class Shelf:
    """A Store in memory."""

    def __init__(self, lasts: bool = True) -> None:
        self.texts: dict[str, str] = {}
        self.lasts = lasts

    async def get(self, key):
        return self.texts.get(key)

    async def set(self, key, text):
        self.texts[key] = text


class Bench:
    """A host over files of one folder, and everything that services on it said."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.device: Any = RecordingDevice()
        self.shelf = Shelf()
        self.heard: list[tuple[str, dict]] = []
        self.now = 0.0
        self.no_gpu: LocalLLMError | None = None

    def clock(self) -> float:
        self.now += 0.01
        return self.now

    async def open_device(self):
        if self.no_gpu:
            raise self.no_gpu
        return self.device

    async def open_blobs(self, source):
        return await open_blobs(str(self.folder / source) if isinstance(source, str) else source)

    def service(self) -> Service:
        host = Host(self.open_device, self.open_blobs, open_tokenizer, self.shelf, self.clock)
        service = Service(host, catalog=CATALOG)
        for name in NAMES:
            service.on(name, lambda detail, name=name: self.heard.append((name, dict(detail))))
        service.on("ready", lambda detail: self.play(service))
        return service

    def play(self, service) -> None:
        """Each step chooses the token after the last one."""
        loaded = service._loaded
        step, tokens = loaded.model.shared.step.handle, loaded.model.tokens.handle

        def submit(dispatches):
            position, count, index, seed = struct.unpack_from("<4I", step)
            if any(dispatch.pipeline == "pick" for dispatch in dispatches):
                chosen = 40 + (struct.unpack_from("<I", tokens, 4 * (count - 1))[0] + 1) % 40
                struct.pack_into("<I", tokens, 0, chosen)
                struct.pack_into("<I", loaded.engine._ring.handle, 4 * (index % RING), chosen)
                struct.pack_into("<4I", step, 0, position + count, 1, index + 1, seed)

        self.device.on_submit = submit

    def names(self) -> list[str]:
        return [name for name, _ in self.heard if name not in ("progress", "token")]

    def last(self, name: str) -> dict:
        return next(detail for told, detail in reversed(self.heard) if told == name)
