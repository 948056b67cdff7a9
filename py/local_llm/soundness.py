"""A model on an adapter that is known to compute it right: by a self-test, once for each adapter and version of ours.

Where a kernel is wrong the plain ones, made for software adapters, run instead. Knows no events.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib import metadata
from typing import Any

from local_llm.errors import DeviceLost, LocalLLMError
from local_llm.formats.opening import Opened
from local_llm.generate.engine import COUNTS
from local_llm.gpu.memory import Memory
from local_llm.gpu.ports import Host
from local_llm.loaded import Loaded, Origin, Say, build
from local_llm.models.model import Model
from local_llm.models.proof import case_names, wrong_kernels

KEY = "kernels"  # in the host's store
ONLY = ("argmax",)  # have no plain variant


async def build_sound(host: Host, opened: Opened, memory: Memory, origin: Origin, say: Say) -> Loaded:
    """loaded.build, with kernels that this adapter computes right.

    `replaced` names the others, `wrong` those without a plain variant.
    """
    loaded = await build(host, opened, memory, origin, say)
    wrong = await _wrong(host, loaded)
    replaced = tuple(name for name in wrong if name not in ONLY)
    if replaced:
        memory.close()
        device = memory.device
        device.caps = replace(device.caps, software=True)
        loaded = await build(host, opened, memory, origin, say)
    return replace(loaded, replaced=replaced, wrong=tuple(name for name in wrong if name in ONLY))


async def _wrong(host: Host, loaded: Loaded) -> list[str]:
    """Kernels of the model that this adapter gets wrong, from what was kept or from a test now."""
    model = loaded.model
    counts = chunk_lengths(model)
    caps = model.memory.device.caps
    if caps.software or not host.self_test:  # it has the plain kernels already
        return []
    adapter = json.dumps([_version(), {**asdict(caps), "features": sorted(caps.features)}])
    names = case_names(model, counts)
    kept = await _kept(host, adapter)
    if not all(name in kept for name in names):
        try:
            wrong = await wrong_kernels(model, counts)
        except DeviceLost:
            raise
        except LocalLLMError:  # no memory left for a test is no verdict
            return []
        kept = {**kept, **{name: name not in wrong for name in names}}
        await _keep(host, adapter, kept)
    return [name for name in names if not kept[name]]


def chunk_lengths(model: Model) -> list[int]:
    """Tokens of the steps that prompts are computed in."""
    return sorted({min(count, model.max_chunk) for count in (*COUNTS, model.max_chunk)})


def _version() -> str:
    try:
        return metadata.version("local-llm")
    except metadata.PackageNotFoundError:
        return ""


async def _kept(host: Host, adapter: str) -> dict[str, bool]:
    try:
        known = json.loads(await host.store.get(KEY) or "{}")
        found = known["right"] if isinstance(known, Mapping) and known.get("adapter") == adapter else {}
        return {str(name): right is True for name, right in dict(found).items()}
    except Exception:  # a host's store may fail, or hold anything
        return {}


async def _keep(host: Host, adapter: str, right: Mapping[str, Any]) -> None:
    try:
        await host.store.set(KEY, json.dumps({"adapter": adapter, "right": right}))
    except Exception:  # then it is tested again
        return
