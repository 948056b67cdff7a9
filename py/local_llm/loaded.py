"""A model that is ready to answer, and how it comes to be from an opened file. Knows no service and no events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypedDict

from local_llm import inspection
from local_llm.choosing import Tuning, check_mode, settle
from local_llm.errors import InvalidRequest
from local_llm.formats.opening import Opened, check_bits
from local_llm.generate.engine import Engine
from local_llm.gpu.memory import Memory
from local_llm.gpu.ports import Host
from local_llm.models.families import family_of
from local_llm.models.model import Model, check_context, exact, load
from local_llm.models.proof import steps
from local_llm.ops.qkv_attention import STORAGE_BUFFERS
from local_llm.quantization import Storage, storage_of
from local_llm.soundness import ONLY
from local_llm.text.dialogue import Dialogue, open_dialogue
from local_llm.text.folder import TokenizerFiles

Say = Callable[..., None]  # progress 0 to 1, phase text, then bytes done, bytes in all, bytes a second


CACHE_BITS = (16, 8)
INT8_MODES = ("auto", "off")


class Loading(TypedDict, total=False):
    """Options of a load.

    context_size: positions in the key-value cache; default min(4096, what the model was trained for), less where that
    does not fit. quantize: bits (8 or 4) that weights get while they are loaded where the file has floats; None leaves
    them. cache_bits: 16, or 8: keys and values as bytes, which take little more than half of the memory. tune: "auto"
    (variants of kernels are timed once on each adapter, see choosing.py) or "off". int8: "auto" (products with large
    quantized matrices round their inputs to bytes, where WGSL has packed dot products and exact ones are not faster;
    not on Apple's) or "off".
    """

    context_size: int | None
    quantize: int | None
    cache_bits: int | None
    tune: str
    int8: str


@dataclass(frozen=True)
class Origin:
    """What init() was asked for: the same again gives the same model."""

    source: Any
    context_size: int | None = None
    quantize: int | None = None
    cache_bits: int | None = None
    tune: str = "auto"
    int8: str = "auto"

    def __post_init__(self) -> None:
        """Raises InvalidRequest; what lies in the file settles the rest."""
        check_mode(self.tune)
        check_context(self.context_size)
        check_bits(self.quantize)
        if self.cache_bits is not None and (type(self.cache_bits) is not int or self.cache_bits not in CACHE_BITS):
            raise InvalidRequest(f"cache_bits must be 16, 8 or None, found {self.cache_bits!r:.60}.")
        if self.int8 not in INT8_MODES:
            raise InvalidRequest(f"int8 must be {' or '.join(INT8_MODES)}, found {self.int8!r:.60}.")


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to answer. lineage: one object for a model and those that replace it on a new device.

    dropped: messages that the last conversation let go of (sliding.Chat). replaced: kernels that this adapter computes
    wrong (soundness.py); the plain ones run in their place. wrong: those for which there is none. tuning: what was
    gained by variants timed on this adapter (choosing.py); None where the rules decide.
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
    tuning: Tuning | None = None

    async def close(self) -> None:
        """Free all GPU memory."""
        try:
            await self.engine.close()
        finally:
            self.memory.close()

    def kernels(self) -> dict[str, Any]:
        """What is known of the cache and the kernels on this adapter, JSON-able."""
        tuning = asdict(self.tuning) if self.tuning else None
        few = self.engine.short.agrees if self.engine.short else None  # True or False once it was tried
        known = {
            "few_tokens_agree": few,
            "replaced_kernels": list(self.replaced),
            "wrong_kernels": list(self.wrong),
            "tuning": tuning,
        }
        return {"cache_bits": self.model.heads[0].bits, "int8": self.model.shared.rounded is not None, **known}


async def build(host: Host, opened: Opened, memory: Memory, origin: Origin, say: Say) -> Loaded:
    """Tokenizer, weights, the choice of kernels, pipelines. On any error the caller closes `memory`.

    Raises any LocalLLMError.
    """
    checkpoint, blobs = opened.checkpoint, opened.blobs
    words = TokenizerFiles(**vars(opened.texts)) if opened.texts else checkpoint.metadata
    dialogue = await open_dialogue(checkpoint.name, words, host.open_tokenizer)
    model = await _load(host, opened, memory, origin, say)
    say(0.98, "Compiling kernels")
    model, wrong, tuning = await settle(host, model, origin.tune, lambda text: say(0.98, text))
    replaced = _with_plain(wrong)
    for concerns, mended in ((_fused, _in_two_launches), (_may_round, _without_rounding)):
        if any(concerns(model, name) for name in _with_plain(wrong)):
            model = mended(model)
            model, wrong, tuning = await settle(host, model, origin.tune, lambda text: say(0.98, text))
            replaced += tuple(name for name in _with_plain(wrong) if name not in replaced)
    if model.shared.rounded and not _rounds(model):  # exact products were faster throughout
        model = _without_rounding(model)
    if _with_plain(wrong):
        memory.close()
        device = memory.device
        device.caps = replace(device.caps, software=True)
        model = await _load(host, opened, memory, origin, say)
    say(0.99, "Compiling kernels")
    engine = Engine(model, host.clock, foresees=host.self_test)
    await engine.prepare()
    name = inspection.short_name(checkpoint.name)
    held = replace(origin, context_size=model.context)  # on another device it shall be the same model
    loaded = Loaded(name, memory, model, engine, dialogue, blobs.size, storage_of(checkpoint), held)
    left = tuple(name for name in wrong if name in ONLY)
    return replace(loaded, replaced=replaced, wrong=left, tuning=None if _with_plain(wrong) else tuning)


def _fused(model: Model, name: str) -> bool:
    """Whether a kernel belongs to projections and attention in one launch."""
    return "qkv_attention" in name or "newest_input" in name


def _in_two_launches(model: Model) -> Model:
    caps = replace(model.shared.caps, storage_buffers=STORAGE_BUFFERS - 1)
    return replace(model, shared=replace(model.shared, caps=caps))


def _may_round(model: Model, name: str) -> bool:
    """Whether a kernel is perhaps one that rounds its input."""
    return model.shared.rounded is not None


def _rounds(model: Model) -> bool:
    kernels = {call.kernel for calls in steps(model, [model.max_chunk]) for call in calls}
    words = {"round_rows", "byte_rows", "left_rows"}
    return any(words & {one.name, *dict(one.includes).values()} for one in kernels)


def _without_rounding(model: Model) -> Model:
    """With exact products throughout, and no memory held for others."""
    rounded = model.shared.rounded
    for buffer in (rounded.bytes, rounded.scales) if rounded else ():
        model.memory.destroy(buffer)
    return exact(model)


def _with_plain(wrong: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in wrong if name not in ONLY)


async def _load(host: Host, opened: Opened, memory: Memory, origin: Origin, say: Say) -> Model:
    family = family_of(opened.checkpoint.name, opened.checkpoint.metadata.get("general.architecture"))
    started = host.clock()

    def arrived(done: int, total: int) -> None:
        rate = done / max(host.clock() - started, 1e-3)
        say(0.98 * done / max(total, 1), "Loading weights", done, total, rate)

    context, bits = origin.context_size, origin.cache_bits or 16
    int8 = origin.int8 == "auto"
    return await load(family, opened.checkpoint, opened.blobs, memory, context, arrived, bits, int8)
