"""The list of models that are offered by name. Pure: JSON in, entries out. What a model is made of, its file says.

An entry's id is its file's name without ".gguf", so the loaded model and the entry have the same name.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import resources
from typing import Any
from urllib.parse import urljoin

from local_llm.errors import InvalidRequest, UnknownModel
from local_llm.formats.quant import BY_NAME
from local_llm.models.families import FAMILIES

# Tensor types of llama.cpp's mixtures where rows are multiples of 256. Other models need "tensor_types" in the entry.
_MIXTURES = {
    "Q4_0": ("Q4_0", "Q6_K"),
    "Q4_1": ("Q4_1", "Q6_K"),
    "Q5_0": ("Q5_0", "Q6_K"),
    "Q5_1": ("Q5_1", "Q6_K"),
    "Q4_K_S": ("Q4_K", "Q5_K", "Q6_K"),
    "Q4_K_M": ("Q4_K", "Q6_K"),
    "Q5_K_S": ("Q5_K", "Q6_K"),
    "Q5_K_M": ("Q5_K", "Q6_K"),
}
# Bits per weight in practice, for an estimate where the size is not known.
_BITS = {"Q4_0": 4.7, "Q4_1": 5.1, "Q4_K_S": 4.7, "Q4_K_M": 4.9, "Q5_K_M": 5.7, "Q6_K": 6.6, "Q8_0": 8.5, "F16": 16.0}


@dataclass(frozen=True)
class Entry:
    """One model. parameters: weights in all. download_bytes, sha256: of the file; None where not known for certain."""

    id: str
    name: str
    family: str
    architecture: str  # the file's general.architecture
    parameters: int
    quantization: str
    context: int  # tokens it was trained for
    licence: str
    urls: tuple[str, ...]
    download_bytes: int | None = None
    sha256: str | None = None
    tensor_types: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """Why this runtime cannot load it, for people; empty where it can."""
        if self.architecture not in FAMILIES:
            return f"Architecture {self.architecture} is not supported yet."
        types = self.tensor_types or _MIXTURES.get(self.quantization, (self.quantization,))
        missing = sorted({kind for kind in types if kind not in BY_NAME or BY_NAME[kind].format is None})
        if len(missing) == 1:
            return f"Tensor type {missing[0]} is not supported yet."
        return f"Tensor types {' and '.join(missing)} are not supported yet." if missing else ""

    @property
    def estimated_bytes(self) -> int:
        """About the size of the file, from the number of weights."""
        return round(self.parameters * _BITS.get(self.quantization, 8.5) / 8)

    @cached_property
    def description(self) -> dict[str, Any]:
        """JSON-able, with `supported` and `reason`."""
        return {
            **asdict(self),
            "url": self.urls[0],
            "estimated_bytes": self.estimated_bytes,
            "supported": not self.reason,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Catalog:
    """Entries in the order of the list."""

    entries: tuple[Entry, ...]

    @property
    def ids(self) -> list[str]:
        return [entry.id for entry in self.entries]

    def get(self, model: str) -> Entry | None:
        """The entry of this id; letter case does not matter."""
        return next((entry for entry in self.entries if entry.id.lower() == model.lower()), None)

    def find(self, model: str) -> Entry:
        """The entry of this id. Raises UnknownModel that lists the nearest ids."""
        entry = self.get(model)
        if entry is None:
            near = nearest(model, self.ids)
            remedy = f"Did you mean {' or '.join(near)}?" if near else f"Known ids: {', '.join(self.ids)}."
            raise UnknownModel(f"There is no model '{model}'.", remedy=remedy + " A URL or a file works too.")
        return entry

    @property
    def default(self) -> Entry | None:
        """The first one that can be loaded."""
        return next((entry for entry in self.entries if not entry.reason), None)

    def with_first(self, entries: Iterable[Entry]) -> Catalog:
        """These entries before ours; ours of the same id are left out."""
        first = tuple(entries)
        taken = {entry.id.lower() for entry in first}
        return Catalog(first + tuple(entry for entry in self.entries if entry.id.lower() not in taken))


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

    Only id (or url) is needed of an entry. Raises InvalidRequest that says what does not fit.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"A catalogue must be JSON; this is not: {error}.") from None
    models = value.get("models") if isinstance(value, dict) else value
    if not isinstance(models, list):
        raise InvalidRequest('A catalogue must be a JSON object {"models": [ … ]}, or the list itself.')
    entries = [_entry(model, number, base) for number, model in enumerate(models)]
    seen: set[str] = set()
    for entry in entries:
        if entry.id.lower() in seen:
            raise InvalidRequest(f"The catalogue has two models of the id '{entry.id}'.")
        seen.add(entry.id.lower())
    return Catalog(tuple(entries))


def _entry(model: Any, number: int, base: str) -> Entry:
    where = f"Model {number} of the catalogue"
    if not isinstance(model, dict):
        raise InvalidRequest(f"{where} must be an object, found {model!r:.60}.")
    urls = model.get("urls") or ([model["url"]] if model.get("url") else [])
    if not isinstance(urls, list) or not urls or not all(isinstance(url, str) for url in urls):
        raise InvalidRequest(f"{where} needs 'url', a string, or 'urls', a list of strings.")
    identity = _field(model, "id", str, stem(urls[0]), where)
    types = model.get("tensor_types") or []
    return Entry(
        id=identity,
        name=_field(model, "name", str, identity, where),
        family=_field(model, "family", str, "Other", where),
        architecture=_field(model, "architecture", str, "llama", where),
        parameters=_field(model, "parameters", int, 0, where),
        quantization=_field(model, "quantization", str, "F32", where),
        context=_field(model, "context", int, 0, where),
        licence=_field(model, "licence", str, "", where),
        urls=tuple(urljoin(base, url) for url in urls),
        download_bytes=_field(model, "download_bytes", int, None, where),
        sha256=_field(model, "sha256", str, None, where),
        tensor_types=tuple(str(kind) for kind in types) if isinstance(types, list) else (),
    )


def _field(model: dict[str, Any], name: str, kind: type, default: Any, where: str) -> Any:
    value = model.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InvalidRequest(f"{where}: '{name}' must be {kind.__name__}, found {value!r:.60}.")
    return value


def stem(url: str) -> str:
    """The file's name in a URL or path, without ".gguf": what the runtime calls the model."""
    name = url.replace("\\", "/").split("?")[0].split("#")[0].rstrip("/").rsplit("/", 1)[-1]
    return name.removesuffix(".gguf")
