"""A model that is ready to answer, and how it comes to be from an opened file. Knows no service and no events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from local_llm import inspection
from local_llm.formats.opening import Opened
from local_llm.generate.engine import Engine
from local_llm.gpu.memory import Memory
from local_llm.gpu.ports import Host
from local_llm.models.families import family_of
from local_llm.models.model import Model, load
from local_llm.quantization import Storage, storage_of
from local_llm.text.dialogue import Dialogue, open_dialogue
from local_llm.text.folder import TokenizerFiles

Say = Callable[..., None]  # progress 0 to 1, phase text, then bytes done, bytes in all, bytes a second


@dataclass(frozen=True)
class Origin:
    """What init() was asked for: the same again gives the same model."""

    source: Any
    context_size: int | None = None
    quantize: int | None = None


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to answer. lineage: one object for a model and those that replace it on a new device.

    dropped: messages that the last conversation let go of (sliding.Chat). replaced: kernels that this adapter computes
    wrong (soundness.py); the plain ones run in their place. wrong: those for which there is none.
    """

    name: str
    memory: Memory
    model: Model
    engine: Engine
    dialogue: Dialogue
    file_bytes: int
    storage: Storage
    origin: Origin
    lineage: object = field(default_factory=object)
    dropped: list[Mapping[str, Any]] = field(default_factory=list)
    replaced: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


async def build(host: Host, opened: Opened, memory: Memory, origin: Origin, say: Say) -> Loaded:
    """Tokenizer, weights, pipelines. On any error the caller closes `memory`. Raises any LocalLLMError."""
    checkpoint, blobs = opened.checkpoint, opened.blobs
    family = family_of(checkpoint.name, checkpoint.metadata.get("general.architecture"))
    words = TokenizerFiles(**vars(opened.texts)) if opened.texts else checkpoint.metadata
    dialogue = await open_dialogue(checkpoint.name, words, host.open_tokenizer)
    started = host.clock()

    def arrived(done: int, total: int) -> None:
        rate = done / max(host.clock() - started, 1e-3)
        say(0.98 * done / max(total, 1), "Loading weights", done, total, rate)

    model = await load(family, checkpoint, blobs, memory, origin.context_size, arrived)
    say(0.98, "Compiling kernels")
    engine = Engine(model, host.clock)
    await engine.prepare()
    name = inspection.short_name(checkpoint.name)
    held = replace(origin, context_size=model.context)  # on another device it shall be the same model
    return Loaded(name, memory, model, engine, dialogue, blobs.size, storage_of(checkpoint), held)
