"""What was found out about an adapter, kept in the host's store: of one adapter, driver and version of ours at a time.

Knows no adapters and nothing of what is found out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from typing import Any

from local_llm.gpu.ports import Caps, Store


async def recall(store: Store, key: str, caps: Caps) -> dict[str, Any]:
    """What was kept for this adapter; {} where that is nothing. Raises ValueError where it cannot be read."""
    try:
        text = await store.get(key)
        known = json.loads(text) if text else {"adapter": "", "facts": {}}
        adapter, facts = known["adapter"], dict(known["facts"])
    except Exception as error:  # a host's store may fail, or hold anything
        raise ValueError(f"The note '{key}' cannot be read: {error!r}") from None
    return facts if adapter == _adapter(caps) else {}


async def keep(store: Store, key: str, caps: Caps, facts: Mapping[str, Any]) -> bool:
    """Keep this instead of what was there. Whether it can be read back: a store may fail, or forget."""
    text = json.dumps({"adapter": _adapter(caps), "facts": dict(facts)})
    try:
        await store.set(key, text)
        return await store.get(key) == text
    except Exception:  # in ways that cannot be listed
        return False


def _adapter(caps: Caps) -> str:
    return json.dumps([_version(), {**asdict(caps), "features": sorted(caps.features)}])


def _version() -> str:
    try:
        return metadata.version("local-llm")
    except metadata.PackageNotFoundError:
        return ""
