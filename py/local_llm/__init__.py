"""Quantized language models in a web page: Python plans, WebGPU computes.

>>> from local_llm import LocalLLM
>>> llm = LocalLLM()
>>> await llm.init("models/SmolLM2-135M-Instruct.Q4_1.gguf")
>>> reply = await llm.chat([{"role": "user", "content": "Hello"}])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from local_llm.entry import LocalLLM

__version__ = "0.1.0"
__all__ = ["LocalLLM"]


def __getattr__(name: str) -> Any:
    """The runtime is imported when it is asked for, so that a single layer can be used alone."""
    if name == "LocalLLM":
        from local_llm.entry import LocalLLM

        return LocalLLM
    raise AttributeError(f"module 'local_llm' has no attribute {name!r}")
