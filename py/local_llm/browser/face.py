"""The JavaScript face of the service: the blueprint's camelCase names, in one table. Decides nothing.

Arguments and results cross as JSON text; files, byte arrays and streams stay objects, named by their place in a list.
"""

from __future__ import annotations

import asyncio
import json
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from pyodide.ffi import create_proxy, to_js

from local_llm.errors import InvalidRequest, LocalLLMError
from local_llm.page.bench import Suite, measure
from local_llm.service import Service

IMPORT = {"model": "model"}
LOADING = {
    "contextSize": "context_size",
    "quantize": "quantize",
    "cacheBits": "cache_bits",
    "tune": "tune",
    "int8": "int8",
}
GENERATION = {
    "stream": "stream",
    "whenBusy": "when_busy",
    "maxTokens": "max_tokens",
    "temperature": "temperature",
    "topK": "top_k",
    "topP": "top_p",
    "minP": "min_p",
    "repetitionPenalty": "repetition_penalty",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "seed": "seed",
    "stop": "stop",
    "ignoreEos": "ignore_eos",
    "whenFull": "when_full",
    "speculative": "speculative",
}
CHAT = {**GENERATION, "tools": "tools", "templateOptions": "template_options"}
MEASURE = {
    "promptTokens": "prompt_tokens",
    "newTokens": "new_tokens",
    "runs": "runs",
    "temperature": "temperature",
    "topK": "top_k",
    "topP": "top_p",
    "prefix": "prefix",
    "profile": "profile",
    "speculative": "speculative",
}
AT_ONCE = {
    *("interrupt", "getStatus", "isReady", "isLoading", "getProgress", "getCurrentModel", "getError"),
    "getAvailableModels",
}


class Face:
    """Calls by JavaScript name. emit(name, json): tells the page."""

    def __init__(self, runtime: Service, emit: Callable[[str, str], Any]) -> None:
        self._runtime = runtime
        self._emit = emit
        self._table: dict[str, Callable[..., Any]] = {
            "init": self._init,
            "switchModel": self._init,
            "retry": lambda: runtime.retry(),
            "unload": lambda: runtime.unload(),
            "chat": lambda messages, options=None: runtime.chat(messages, **renamed(options, CHAT)),
            "complete": lambda prompt, options=None: runtime.complete(prompt, **renamed(options, GENERATION)),
            "logits": lambda ids: runtime.logits(ids),
            "embed": lambda texts, options=None: runtime.embed(texts, **renamed(options, {"pooling": "pooling"})),
            "interrupt": lambda: runtime.interrupt(),
            "checkWebGPU": lambda: runtime.check_webgpu(),
            "getAvailableModels": lambda: runtime.available_models(),
            "loadCatalog": lambda url: runtime.load_catalog(url),
            "addModels": lambda models: runtime.add_models([snake(model) for model in models]),
            "getStoredModels": lambda: runtime.stored_models(),
            "getStorage": lambda: runtime.storage(),
            "deleteModel": lambda model: runtime.delete_model(model),
            "pinModel": lambda model, pinned=True: runtime.pin_model(model, pinned),
            "exportModel": self._export,
            "importModel": lambda body, options=None: runtime.import_model(
                body, **renamed(options, {"model": "model"})
            ),
            "freeStorage": lambda nbytes: runtime.free_storage(nbytes),
            "setOptions": lambda options: runtime.set_options(renamed(options, GENERATION)),
            "getOptions": lambda: runtime.get_options(),
            "setMemoryBudget": lambda nbytes=None: runtime.set_memory_budget(nbytes),
            "measure": lambda options=None: measure(runtime, Suite(**renamed(options, MEASURE))),
            "getAnalytics": lambda: runtime.analytics(),
            "getRuntimeInfo": lambda: runtime.runtime_info(),
            "getStatus": lambda: runtime.status(),
            "isReady": lambda: runtime.status()["is_ready"],
            "isLoading": lambda: runtime.status()["is_loading"],
            "getProgress": lambda: runtime.status()["progress"],
            "getCurrentModel": lambda: runtime.status()["model"],
            "getError": lambda: runtime.status()["error"],
        }

    def names_json(self) -> str:
        """JSON of {name: whether it answers with a promise}."""
        return json.dumps({name: name not in AT_ONCE for name in self._table})

    def emit(self, name: str, detail: Mapping[str, Any]) -> None:
        """Dispatch the CustomEvent local-llm:<name> on window."""
        self._emit(f"local-llm:{name}", json.dumps(camel(detail)))

    def invoke(self, name: str, text: str, objects: Any) -> str | asyncio.Task[str]:
        """Call `name` with the JSON list of arguments `text`; JSON of {"value"} or {"error"}, at once or by a task.

        Cancelling the task stops this call only: one that waits leaves the queue, one that generates ends.
        """
        try:
            arguments = json.loads(text, object_hook=lambda item: _restored(item, objects))
            while arguments and arguments[-1] is None:  # JavaScript's undefined
                arguments.pop()
            result = self._table[name](*arguments)
        except Exception as error:
            return _error(error)
        if isinstance(result, Awaitable):
            return asyncio.ensure_future(self._finished(result, objects))
        return _value(result, objects)

    async def _finished(self, result: Awaitable[Any], objects: Any) -> str:
        try:
            return _value(await result, objects)
        except Exception as error:
            return _error(error)

    async def _export(self, model: str) -> dict[str, Any]:
        name, blob = await self._runtime.export_model(model)
        return {"name": name, "blob": blob}

    def _init(self, model: Any = None, options: Mapping[str, Any] | None = None) -> Awaitable[None]:
        return self._runtime.init(model, **renamed(options, LOADING))


class Stream:
    """One streaming answer, for the bridge's async iterator."""

    def __init__(self, chunks: Any) -> None:
        self._chunks = chunks
        self._waiting: asyncio.Task[Any] | None = None

    async def next(self) -> str:
        """JSON of {"value": chunk}, of {"value": null} at the end or once it was stopped, or of {"error"}."""
        self._waiting = asyncio.current_task()
        try:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                return _value(None, None)
            told = {"delta": chunk.delta, "text": chunk.text, "token_count": chunk.token_count, "done": chunk.done}
            return _value(told | (asdict(chunk.reply) if chunk.reply else {}), None)  # the last one tells it all
        except asyncio.CancelledError:
            return _value(None, None)
        except Exception as error:
            return _error(error)
        finally:
            self._waiting = None

    async def stop(self) -> str:
        """End the generation, or leave the queue; a `next` that waits hears of the end."""
        waiting = self._waiting
        if waiting is not None:
            waiting.cancel()
            await asyncio.wait([waiting])
        await self._chunks.aclose()
        return _value(None, None)


def renamed(options: Mapping[str, Any] | None, table: Mapping[str, str]) -> dict[str, Any]:
    """Options by their Python names. Raises InvalidRequest for names that are not in the table."""
    unknown = sorted(set(options or {}) - set(table))
    if unknown:
        raise InvalidRequest(
            f"Options wanted: {', '.join(table)}. Found: {', '.join(unknown)}.", remedy="Remove or rename these."
        )
    return {table[name]: value for name, value in (options or {}).items()}


def camel(value: Any) -> Any:
    """Names in dicts and dataclasses as JavaScript writes them; other values as they are."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {_camel_name(str(key)): camel(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [camel(item) for item in value]
    return value


@lru_cache(1024)
def _camel_name(name: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda m: m[1].upper(), name)


def snake(entry: Any) -> Any:
    """A catalogue's entry with its own names as Python writes them; what they name stays."""
    if not isinstance(entry, Mapping):
        return entry
    return {re.sub(r"(?<=[a-z0-9])[A-Z]", lambda m: f"_{m[0].lower()}", str(key)): item for key, item in entry.items()}


def _restored(item: dict[str, Any], objects: Sequence[Any]) -> Any:
    return objects[item["$object"]] if item.keys() == {"$object"} else item


def _value(result: Any, objects: Any) -> str:
    if isinstance(result, np.ndarray):
        place = objects.push(to_js(np.ascontiguousarray(result).reshape(-1))) - 1
        result = {"shape": list(result.shape), "data": {"$object": place}}
    elif hasattr(result, "__anext__"):
        result = {"$stream": {"$object": objects.push(create_proxy(Stream(result))) - 1}}
    return json.dumps({"value": camel(result)}, default=lambda proxy: {"$object": objects.push(proxy) - 1})


def _error(error: Exception) -> str:
    if isinstance(error, LocalLLMError):
        known = {"name": type(error).__name__, "message": str(error), "remedy": error.remedy}
    else:
        traceback.print_exception(error)  # a defect: the console gets what the caller cannot use
        known = {"name": type(error).__name__, "message": str(error), "remedy": ""}
    return json.dumps({"error": known})
