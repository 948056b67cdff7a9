"""What the service tells about itself, JSON-able: its status, the adapter and what a model holds, errors, names."""

from __future__ import annotations

from typing import Any

from local_llm.errors import LocalLLMError
from local_llm.gpu.memory import Memory
from local_llm.gpu.ports import Caps
from local_llm.state import State


def status(state: State, gpu_bytes: int) -> dict[str, Any]:
    """What the runtime is doing now."""
    return {
        "is_ready": state.phase == "ready",
        "is_loading": state.phase == "loading",
        "is_generating": state.generating,
        "progress": state.progress,
        "progress_text": state.progress_text,
        "model": state.model,
        "error": state.error,
        "gpu_bytes": gpu_bytes,
    }


def runtime_info(caps: Caps, memory: Memory | None, context_size: int | None, file_bytes: int) -> dict[str, Any]:
    """The adapter, its features and limits, and what a model (if there is one) holds."""
    return {
        "adapter": caps.adapter,
        "vendor": caps.vendor,
        "architecture": caps.architecture,
        "software_adapter": caps.software,
        "features": sorted(caps.features),
        "max_binding_bytes": caps.max_binding_bytes,
        "max_buffer_bytes": caps.max_buffer_bytes,
        "context_size": context_size,
        "gpu_bytes": memory.nbytes if memory else 0,
        "gpu_bytes_by_use": memory.by_label() if memory else {},
        "file_bytes": file_bytes,
    }


def short_name(name: str) -> str:
    """A file's or folder's name without its path and `.gguf`."""
    return name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].split("?")[0].removesuffix(".gguf")


def message(error: BaseException) -> str:
    """What an error says."""
    return error.message if isinstance(error, LocalLLMError) else str(error) or type(error).__name__
