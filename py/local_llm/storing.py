"""What the service says and does about kept models: list, delete, pin, room, to and from a file. Knows no browser."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from typing import Any

from local_llm.catalog import Catalog, stem
from local_llm.formats.opening import open_checkpoint
from local_llm.keeping import Keeping


class Storing:
    """A part of service.Service, which has what is named here."""

    catalog: Catalog
    keeping: Keeping
    _keep: Callable[[Coroutine[Any, Any, None]], None]
    _told: Callable[[], AbstractContextManager[None]]

    async def stored_models(self) -> list[dict[str, Any]]:
        """Models on this device, JSON-able: gpu.ports.Kept's fields and `id`, None where the catalogue has none."""
        await self.keeping.refresh()
        return self.keeping.listed(self._ids())

    def look_at_storage(self) -> None:
        """Find out, in the background, which models are here already."""
        self._keep(self.keeping.refresh())

    async def storage(self) -> dict[str, Any]:
        """How much room there is, and whether models can be kept at all: gpu.ports.Storage.room, and `kept_bytes`."""
        await self.keeping.refresh()
        return await self.keeping.room()

    async def delete_model(self, model: str) -> int:
        """Delete what this device keeps of a model: an id or an address. Returns bytes that became free.

        Raises Busy where it is in use, here or in another tab, and UnknownModel. Failures are events, too.
        """
        with self._told():
            return await self.keeping.delete(self._places(model))

    async def pin_model(self, model: str, pinned: bool = True) -> None:
        """A pinned model never gives way in free_storage."""
        await self.keeping.pin(self._places(model), pinned)

    async def free_storage(self, nbytes: int) -> int:
        """Delete the least recently used models until so many bytes are free; see keeping.Keeping.free."""
        with self._told():
            return await self.keeping.free(nbytes)

    async def export_model(self, model: str) -> tuple[str, Any]:
        """(a file's name, its bytes: a Blob in the page) of a model that is kept here whole: an id or an address.

        One file is that file, several are a tar. Raises UnknownModel, CorruptModel. Failures are events, too.
        """
        with self._told():
            return await self.keeping.export(self._places(model))

    async def import_model(self, body: Any, model: str | None = None) -> list[str]:
        """Keep a file that a person has: what export_model made, or a model's one file. Returns addresses of models.

        model: the id or address that it stands for; None: the catalogue's model whose file has this name. Its bytes are
        held against the catalogue's sha256. Raises InvalidRequest, CorruptModel, UnsupportedModel, StorageFull, Busy.
        Failures are events, too.
        """
        name = str(getattr(body, "name", ""))
        with self._told():
            entries = [one for one in self.catalog.entries if model is None and name == one.urls[0].rsplit("/", 1)[-1]]
            place = self._places(model)[0] if model else entries[0].urls[0] if entries else None
            if not name.endswith(".tar"):
                await open_checkpoint(body, self.keeping.open_once)  # is it a model, and whole?
            sha256 = next((one.sha256 for one in self.catalog.entries if one.urls[0] == place), None)
            return await self.keeping.adopt(body, place, sha256)

    def _places(self, model: str) -> Sequence[str]:
        entry = self.catalog.get(model)
        return entry.urls if entry else (model,)

    def _giving_way(self) -> list[dict[str, Any]]:
        """Of a load that was refused for want of room: kept models without which it has room, JSON-able."""
        names = {row["model"]: row["id"] for row in self.keeping.listed(self._ids())}
        return [
            {"model": one.model, "name": names[one.model] or stem(one.model), "nbytes": one.nbytes}
            for one in self.keeping.giving_way
        ]

    def _ids(self) -> dict[str, str]:
        """Catalogue ids by address."""
        return {url: entry.id for entry in self.catalog.entries for url in entry.urls}

    def _kept_sums(self) -> dict[str, int]:
        return {"models": len(self.keeping.models), "kept_bytes": sum(one.nbytes for one in self.keeping.models)}
