"""What was found out about adapters, kept in the host's store: of each adapter, driver and version of ours apart.

Knows no adapters and nothing of what is found out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import metadata
from typing import Any

from local_llm.gpu.ports import Caps, Store

MOST = 3  # adapters, or versions of one: those written last

Facts = Mapping[str, Any]


async def recall(store: Store, key: str, caps: Caps) -> dict[str, Any] | None:
    """What was kept for this adapter, {} where that is nothing; None where the store fails.

    Raises ValueError where the store holds something else.
    """
    try:
        text = await store.get(key)
    except Exception:  # in ways that cannot be listed
        return None
    return dict(_notes(key, text).get(_adapter(caps), {}))


async def revise(store: Store, key: str, caps: Caps, revised: Callable[[Facts], Facts]) -> dict[str, Any] | None:
    """Keep what `revised` makes of what is there by now for this adapter: others write as well. Returns that.

    What else the store may hold counts as nothing. None where it cannot be read back: a store may fail, or forget.
    """
    try:
        held = await store.get(key)
    except Exception:
        return None
    try:
        notes = _notes(key, held)
    except ValueError:
        notes = {}
    adapter = _adapter(caps)
    facts = dict(revised(notes.pop(adapter, {})))
    text = json.dumps({"notes": [[adapter, facts], *notes.items()][:MOST]})
    try:
        await store.set(key, text)
        return facts if await store.get(key) == text else None
    except Exception:
        return None


def _notes(key: str, text: str | None) -> dict[str, Facts]:
    """By adapter, the last that was written first."""
    try:
        return {str(adapter): dict(facts) for adapter, facts in json.loads(text)["notes"]} if text else {}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"The note '{key}' cannot be read: {error!r}") from None


def _adapter(caps: Caps) -> str:
    return json.dumps([_version(), {**asdict(caps), "features": sorted(caps.features)}])


def _version() -> str:
    try:
        return metadata.version("local-llm")
    except metadata.PackageNotFoundError:
        return ""
