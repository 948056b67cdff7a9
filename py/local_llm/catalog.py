"""The list of models that are offered by name. Pure: JSON in, entries out. What a model is made of, its file says.

An entry's id is its file's name without ".gguf", so the loaded model and the entry have the same name. WebLLM's ids
("Qwen3-0.6B-q4f16_1-MLC") are not listed but found: their entries are made of the listed model's facts.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from importlib import resources
from typing import Any
from urllib.parse import urljoin

from local_llm import footprint
from local_llm.errors import InvalidRequest, UnknownModel
from local_llm.footprint import Shapes
from local_llm.formats.quant import BY_NAME, MLC_TYPES
from local_llm.models.families import FAMILIES

CONTEXTS = (2048, 4096, 8192)  # for which GPU bytes are told
# Bits per weight in practice, for an estimate where neither the size nor the shapes are known.
_BITS = {"Q4_0": 4.7, "Q4_1": 5.1, "Q4_K_S": 4.7, "Q4_K_M": 4.9, "Q5_K_M": 5.7, "Q6_K": 6.6, "Q8_0": 8.5, "F16": 16.0}
_MLC_ID = re.compile(r"(.+)-(q\d+f\d+(?:_\d)?)-MLC(?:-(\d+k|b\d+))?", re.IGNORECASE)
_MLC_FOLDER = "https://huggingface.co/mlc-ai/{}/resolve/main/"


@dataclass(frozen=True)
class Entry:
    """One model. parameters: weights in all. download_bytes, sha256: of the file; None where not known for certain.

    use: chat, code, reasoning or embedding. shapes: what its size follows from, where known. context_size: the cache
    that this id asks for, where it does. mlc: the model's name among WebLLM's.
    """

    id: str
    name: str
    family: str
    architecture: str  # the file's general.architecture; "" where only the file knows
    parameters: int
    quantization: str
    context: int  # tokens it was trained for
    licence: str
    urls: tuple[str, ...]
    download_bytes: int | None = None
    sha256: str | None = None
    tensor_types: tuple[str, ...] = ()
    use: str = "chat"
    shapes: Shapes | None = None
    context_size: int | None = None
    mlc: str = ""

    @cached_property
    def types(self) -> tuple[str, ...]:
        """Of the tensors in the file: told by the list, or following from shapes and quantization."""
        if self.tensor_types:
            return self.tensor_types
        if self.shapes is not None:
            return footprint.tensor_types(self.shapes, self.quantization)
        return (footprint.base_type(self.quantization),)

    @property
    def reason(self) -> str:
        """Why this runtime cannot load it, for people; empty where it can."""
        if self.architecture and self.architecture not in FAMILIES:
            return f"Architecture {self.architecture} is not supported yet."
        missing = sorted(kind for kind in set(self.types) if not _is_supported(kind))
        if len(missing) == 1:
            return f"Tensor type {missing[0]} is not supported yet."
        return f"Tensor types {' and '.join(missing)} are not supported yet." if missing else ""

    @property
    def estimated_bytes(self) -> int:
        """About the size of the file."""
        if self.shapes is not None and all(map(_is_supported, self.types)):
            return footprint.file_bytes(self.shapes, self.quantization)
        return round(self.parameters * _BITS.get(self.quantization, 8.5) / 8)

    @property
    def least_bytes(self) -> int:
        """What a download takes at the least; 0 where nobody knows."""
        return self.download_bytes or (self.estimated_bytes if self.shapes is not None else 0)

    def gpu_bytes(self, context: int) -> int | None:
        """GPU memory that it takes with a cache of so many positions; None where its shapes are not known."""
        if self.shapes is None or not all(map(_is_supported, self.types)):
            return None
        positions = min(context, self.context or context)
        needed = footprint.cache_bytes(self.shapes, positions) + footprint.working_bytes(self.shapes, positions)
        return self._weight_bytes + needed

    @cached_property
    def _weight_bytes(self) -> int:
        return footprint.weight_bytes(self.shapes, self.quantization) if self.shapes else 0

    def fits(self, limit: int | None, held: int = 0) -> bool | None:
        """Whether it can be loaded with its default cache. None: nobody knows.

        limit: GPU bytes that are known to be too many. held: bytes that this GPU is known to hold.
        """
        needed = self.gpu_bytes(self.context_size or 4096)
        if needed is None:
            return None
        if limit is not None and needed > limit:
            return False
        return True if limit is not None or needed <= held else None

    def is_cached(self, stored: Set[str]) -> bool:
        """Whether its file, or a file of its folder, is among the stored URLs."""
        return any(url in stored or (url.endswith("/") and any(map(_begins(url), stored))) for url in self.urls)

    @cached_property
    def description(self) -> dict[str, Any]:
        """JSON-able, with `supported` and `reason`. gpu_bytes: by context size."""
        told = {item.name: getattr(self, item.name) for item in fields(self)}
        return {
            **told,
            "shapes": asdict(self.shapes) if self.shapes else None,
            "tensor_types": self.types,
            "url": self.urls[0],
            "estimated_bytes": self.estimated_bytes,
            "gpu_bytes": {str(context): self.gpu_bytes(context) for context in CONTEXTS},
            "supported": not self.reason,
            "reason": self.reason,
        }


def _is_supported(kind: str) -> bool:
    return kind in MLC_TYPES or (kind in BY_NAME and BY_NAME[kind].format is not None)


def _begins(folder: str) -> Any:
    return lambda url: url.startswith(folder)


@dataclass(frozen=True)
class Catalog:
    """Entries in the order of the list. mlc: WebLLM's models, each with the quantizations that it comes in."""

    entries: tuple[Entry, ...]
    mlc: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        return [entry.id for entry in self.entries]

    def get(self, model: str) -> Entry | None:
        """The entry of this id, listed or WebLLM's; letter case does not matter."""
        listed = next((entry for entry in self.entries if entry.id.lower() == model.lower()), None)
        return listed or self._of_webllm(model)

    def _of_webllm(self, model: str) -> Entry | None:
        """An id of WebLLM: NAME-QUANTIZATION-MLC, then -1k for a cache of 1,024 positions, or -b4 for a batch of 4."""
        found = _MLC_ID.fullmatch(model)
        if found is None:
            return None
        bases = {base.lower(): base for base in self.mlc}
        base, quantization = bases.get(found[1].lower(), ""), found[2].lower()
        if quantization not in self.mlc.get(base, ()):
            return None
        folder, suffix = f"{base}-{quantization}-MLC", (found[3] or "").lower()
        known = next((entry for entry in self.entries if entry.mlc == base), None)
        facts = known or Entry("", base.replace("-", " "), "WebLLM", "", 0, "", 0, "", ())
        shapes = replace(known.shapes, separate_output=False) if known and known.shapes else None
        return replace(
            facts,
            id=f"{folder}-{suffix}" if suffix else folder,
            quantization=quantization,
            urls=(_MLC_FOLDER.format(folder),),
            download_bytes=None,
            sha256=None,
            tensor_types=() if shapes else (footprint.base_type(quantization),),
            shapes=shapes,
            context_size=1024 * int(suffix[:-1]) if suffix.endswith("k") else None,
            mlc=base,
        )

    def find(self, model: str) -> Entry:
        """The entry of this id. Raises UnknownModel that lists the nearest ids."""
        entry = self.get(model)
        if entry is None:
            near = nearest(model, [*self.ids, *self.mlc_ids])
            remedy = f"Did you mean {' or '.join(near)}?" if near else f"Known ids: {', '.join(self.ids)}."
            raise UnknownModel(f"There is no model '{model}'.", remedy=remedy + " A URL or a file works too.")
        return entry

    @property
    def mlc_ids(self) -> list[str]:
        """WebLLM's ids, without suffixes."""
        return [f"{base}-{quantization}-MLC" for base, kinds in self.mlc.items() for quantization in kinds]

    @property
    def default(self) -> Entry | None:
        """The first one that can be loaded."""
        return next((entry for entry in self.entries if not entry.reason), None)

    def with_first(self, entries: Iterable[Entry]) -> Catalog:
        """These entries before ours; ours of the same id are left out."""
        first = tuple(entries)
        taken = {entry.id.lower() for entry in first}
        return replace(self, entries=first + tuple(entry for entry in self.entries if entry.id.lower() not in taken))


def nearest(model: str, ids: Sequence[str], count: int = 3) -> list[str]:
    """Ids that look like `model`, the nearest first."""
    lower = {known.lower(): known for known in ids}
    found = difflib.get_close_matches(model.lower(), lower, count, 0.5)
    found += [known for known in lower if model.lower() in known and known not in found]
    return [lower[known] for known in found[:count]]


def built_in(base: str = "") -> Catalog:
    """The list that comes with the package. base: where its relative URLs count from."""
    return read_catalog(resources.files("local_llm").joinpath("catalog.json").read_text(encoding="utf-8"), base)


def read_catalog(text: str, base: str = "") -> Catalog:
    """From JSON: {"models": [{"id", "url" or "urls", …}, …]}. Relative URLs count from `base`.

    Only id (or url) is needed of an entry. "shapes": {NAME: {…}} holds what entries name as their "shape", "mlc" says
    which of WebLLM's ids there are. Raises InvalidRequest that says what does not fit.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"A catalogue must be JSON; this is not: {error}.") from None
    whole = value if isinstance(value, dict) else {"models": value}
    models, shapes, mlc = whole.get("models"), whole.get("shapes", {}), whole.get("mlc", {})
    if not isinstance(models, list) or not isinstance(shapes, dict) or not isinstance(mlc, dict):
        raise InvalidRequest('A catalogue must be a JSON object {"models": [ … ]}, or the list itself.')
    entries = [_entry(model, number, base, shapes) for number, model in enumerate(models)]
    seen: set[str] = set()
    for entry in entries:
        if entry.id.lower() in seen:
            raise InvalidRequest(f"The catalogue has two models of the id '{entry.id}'.")
        seen.add(entry.id.lower())
    return Catalog(tuple(entries), {str(name): tuple(map(str, kinds)) for name, kinds in mlc.items()})


def _entry(model: Any, number: int, base: str, shapes: Mapping[str, Any]) -> Entry:
    where = f"Model {number} of the catalogue"
    if not isinstance(model, dict):
        raise InvalidRequest(f"{where} must be an object, found {model!r:.60}.")
    urls = model.get("urls") or ([model["url"]] if model.get("url") else [])
    if not isinstance(urls, list) or not urls or not all(isinstance(url, str) for url in urls):
        raise InvalidRequest(f"{where} needs 'url', a string, or 'urls', a list of strings.")
    identity = _field(model, "id", str, stem(urls[0]), where)
    types = model.get("tensor_types") or []
    parameters = _field(model, "parameters", int, 0, where)
    return Entry(
        id=identity,
        name=_field(model, "name", str, identity, where),
        family=_field(model, "family", str, "Other", where),
        architecture=_field(model, "architecture", str, "llama", where),
        parameters=parameters,
        quantization=_field(model, "quantization", str, "F32", where),
        context=_field(model, "context", int, 0, where),
        licence=_field(model, "licence", str, "", where),
        urls=tuple(urljoin(base, url) for url in urls),
        download_bytes=_field(model, "download_bytes", int, None, where),
        sha256=_field(model, "sha256", str, None, where),
        tensor_types=tuple(str(kind) for kind in types) if isinstance(types, list) else (),
        use=_field(model, "use", str, "chat", where),
        shapes=_shapes(model, shapes, parameters, where),
        context_size=_field(model, "context_size", int, None, where),
        mlc=_field(model, "mlc", str, "", where),
    )


def _shapes(model: dict[str, Any], known: Mapping[str, Any], parameters: int, where: str) -> Shapes | None:
    """Of the entry's "shape", an object or the name of one; what no matrix holds of the parameters is in vectors."""
    shape = model.get("shape")
    if shape is None:
        return None
    found: Any = known.get(shape) if isinstance(shape, str) else shape
    try:
        shapes = Shapes(**found, separate_output=_field(model, "separate_output", bool, False, where))
        numbers = [getattr(shapes, item.name) for item in fields(shapes)]
        if not all(isinstance(number, int) and 0 <= number < 1 << 40 for number in numbers):
            raise TypeError("whole numbers are wanted")
    except TypeError as error:
        wanted = ", ".join(item.name for item in fields(Shapes))
        raise InvalidRequest(
            f"{where}: 'shape' {shape!r:.60} does not fit ({error}).", remedy=f"It has {wanted}."
        ) from None
    return replace(shapes, vectors=max(0, parameters - shapes.parameters))


def _field(model: dict[str, Any], name: str, kind: type, default: Any, where: str) -> Any:
    value = model.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InvalidRequest(f"{where}: '{name}' must be {kind.__name__}, found {value!r:.60}.")
    return value


def stem(url: str) -> str:
    """The name of a file or folder in a URL or path, without ".gguf": what the runtime calls the model."""
    path = url.replace("\\", "/").split("?")[0].split("#")[0]
    if path.endswith("/"):
        path = path.split("/resolve/")[0]
    return path.rstrip("/").rsplit("/", 1)[-1].removesuffix(".gguf")
