"""What this device keeps of models, as the service tells it. Knows the Storage port, not where bytes lie."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from local_llm.errors import StorageFull, UnknownModel
from local_llm.gpu.ports import Blobs, Host, Kept, Storage

NOWHERE = {"kind": None, "reason": "This host keeps no models.", "used_bytes": 0, "quota_bytes": 0, "persistent": False}


class Keeping:
    """models: what was kept when last looked at. changed(): hears when that has become something else."""

    def __init__(self, host: Host, changed: Callable[[], None]) -> None:
        self.models: tuple[Kept, ...] = ()
        self.open_once = self._of_model = host.open_blobs  # nothing is kept
        self._storage = host.storage
        self._changed = changed
        self._source: Any = None
        self._missing = 0  # bytes for which the present model was refused

    def begin(self, source: Any, sha256: str | None, nbytes: int = 0) -> None:
        """From now on files are of the model `source`. sha256, nbytes: see gpu.ports.Storage.opener."""
        self._source, self._missing = source, 0
        if self._storage:
            self._of_model = self._storage.opener(source, sha256, nbytes)

    async def open_blobs(self, source: Any) -> Blobs:
        """See gpu.ports.Host: what comes from the network is kept."""
        try:
            return await self._of_model(source)
        except StorageFull as error:
            self._missing = error.missing
            await self.refresh()
            raise

    async def loaded(self, source: Any) -> None:
        """The model is loaded."""
        if self._storage:
            with suppress(StorageFull):  # of a note that it was; its bytes are there
                await self._storage.loaded(source)
            await self.refresh()

    def rest(self) -> None:
        """No model is loaded, nor being loaded."""
        if self._storage:
            self._storage.rest()

    async def refresh(self) -> None:
        """Look at what is kept."""
        found = tuple(await self._storage.kept()) if self._storage else ()
        if found != self.models:
            self.models = found
            self._changed()

    def told(self, urls: Sequence[str]) -> dict[str, Any]:
        """Of a model in the list: whether it loads without a download, whether there is something to delete."""
        here = [one for one in self.models if one.model in self._addresses(urls)] if self.models else []
        return {
            "cached": any(one.whole for one in here),
            "deletable": bool(here),
            "kept_bytes": sum(one.nbytes for one in here),
            "pinned": any(one.pinned for one in here),
        }

    def listed(self, names: Mapping[str, str]) -> list[dict[str, Any]]:
        """Everything kept, JSON-able, the largest first. names: catalogue ids by address."""
        known = {address: name for place, name in names.items() for address in self._addresses([place])}
        rows = [{**asdict(one), "id": known.get(one.model)} for one in self.models]
        return sorted(rows, key=lambda row: -row["nbytes"])

    async def room(self) -> dict[str, Any]:
        """See gpu.ports.Storage.room; and `kept_bytes`: of models."""
        found = dict(await self._storage.room()) if self._storage else NOWHERE
        return {**found, "kept_bytes": sum(one.nbytes for one in self.models)}

    async def delete(self, urls: Iterable[str]) -> int:
        """Returns bytes that became free. Raises Busy, and UnknownModel where nothing is kept under these addresses."""
        storage, wanted = await self._there(), self._addresses(urls)
        here = [one for one in self.models if one.model in wanted]
        if not here:
            raise UnknownModel(f"Nothing is kept of {', '.join(sorted(wanted))}.")
        try:
            return self._freed([await storage.delete(one.model) for one in here])
        finally:
            await self.refresh()

    async def export(self, urls: Iterable[str]) -> tuple[str, Any]:
        """(a file's name, its bytes as the host carries them). Raises UnknownModel where it is not here whole."""
        storage, wanted = await self._there(), self._addresses(urls)
        here = [one.model for one in self.models if one.model in wanted]
        if not here:
            raise UnknownModel(f"Nothing is kept of {', '.join(sorted(wanted))}.", remedy="Load it first.")
        return await storage.export(here[0])

    async def adopt(self, body: Any, model: str | None, sha256: str | None) -> list[str]:
        """Keep the models in a file; see gpu.ports.Storage.adopt."""
        storage = await self._there()
        try:
            return await storage.adopt(body, model, sha256 or "")
        finally:
            await self.refresh()

    async def pin(self, urls: Iterable[str], pinned: bool) -> None:
        """Keep a model from giving way in free()."""
        storage = await self._there()
        for url in urls:
            await storage.pin(url, pinned)
        await self.refresh()

    async def free(self, nbytes: int) -> int:
        """Delete models until so many bytes are free, the least recently used first; never pinned or loaded ones.

        Returns bytes that became free. Raises StorageFull where that is not enough; then nothing is deleted.
        """
        storage, room = await self._there(), await self.room()
        missing = nbytes - (room["quota_bytes"] - room["used_bytes"])
        chosen = self._oldest(missing)
        if missing > sum(one.nbytes for one in chosen):
            raise StorageFull(
                f"{nbytes} bytes are wanted; deleting all models that are neither pinned nor in use leaves "
                f"{missing - sum(one.nbytes for one in chosen)} missing.",
                remedy="Unpin or unload a model, or free space on this device.",
            )
        try:
            return self._freed([await storage.delete(one.model) for one in chosen])
        finally:
            await self.refresh()

    @property
    def giving_way(self) -> list[Kept]:
        """Models without which there is room for the one that was refused, as free() chooses; [] if that is no use."""
        mine = self._addresses([self._source]) if isinstance(self._source, str) else set()
        chosen = self._oldest(self._missing, mine)
        return chosen if sum(one.nbytes for one in chosen) >= self._missing else []

    def _freed(self, counts: Sequence[int]) -> int:
        """The sum of these bytes, which the present model misses no more."""
        self._missing = max(self._missing - sum(counts), 0)
        return sum(counts)

    def _oldest(self, missing: int, spared: Collection[str] = ()) -> list[Kept]:
        """The least recently used models that together have so many bytes, or all; no pinned, used or spared ones."""
        chosen: list[Kept] = []
        for one in sorted(self.models, key=lambda one: one.used_at):
            free = not one.pinned and not one.used and one.model not in spared
            if free and missing > sum(each.nbytes for each in chosen):
                chosen.append(one)
        return chosen

    def _addresses(self, urls: Iterable[str]) -> set[str]:
        return {self._storage.address(url) for url in urls} if self._storage else set(urls)

    async def _there(self) -> Storage:
        if self._storage is None:
            raise UnknownModel(NOWHERE["reason"])
        await self.refresh()
        return self._storage
