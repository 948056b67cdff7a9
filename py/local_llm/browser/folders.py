"""What storage needs of a folder, wherever it lies: files with names, pieces NAME-SHA256. Knows no model, no URL."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any

import js

from local_llm.browser.vault import WholeDigest
from local_llm.errors import StorageFull


class Folder(ABC):
    """One folder. A piece (a chunk, or a part of one) that was cut short or has changed does not fit its name.

    Here pieces are digested by the page; a host of files that can do better overrides that.
    """

    kind = ""  # of the storage, as gpu.ports.Storage.room tells it

    @abstractmethod
    async def folder(self, name: str) -> Folder:
        """The folder `name` in this one; made where it is missing."""

    @abstractmethod
    async def names(self) -> list[str]:
        """Of the files and folders in it."""

    @abstractmethod
    async def read(self, name: str) -> Any | None:
        """A file's bytes as a Uint8Array; None where there is no such file, or it cannot be read."""

    @abstractmethod
    async def write(self, name: str, data: Any) -> None:
        """Write a file: a text or a Uint8Array. It takes its place when all of it is written. Raises StorageFull.

        Who is cancelled here does not wait, but the file is written.
        """

    @abstractmethod
    async def remove(self, name: str) -> None:
        """A file, or a folder with all that is in it. Nothing happens where there is none.

        Raises Busy where something goes on writing in it.
        """

    async def keep(self, name: str, data: Any) -> tuple[str, Any]:
        """Write a piece as `name`-SHA256: (that, its bytes, perhaps as another array: `data` is given away).

        Who is cancelled here does not wait, but the piece is written. Raises StorageFull.
        """
        name = f"{name}-{await sha256(data)}"
        await self.write(name, data)
        return name, data

    @property
    def writing(self) -> Collection[asyncio.Task[Any]]:
        """What is written, also for those who were cancelled and do not wait; here nothing that could come too late."""
        return ()

    async def taken(self, name: str, spare: Any = None) -> Any | None:
        """A piece's bytes as a Uint8Array; None where there are none that fit its name.

        spare: an array that nobody needs any more: it may come back as the piece's.
        """
        data = await self.read(name)
        return data if data is not None and name.endswith(await sha256(data)) else None

    async def add_to(self, digest: WholeDigest, name: str) -> bool:
        """Add a chunk to a whole file's digest; False where there is none that fits its name."""
        data = await self.taken(name)
        if data is not None:
            await digest.add(data)
        return data is not None

    async def blob(self, name: str) -> Any | None:
        """A file as a Blob, which need not be in memory; None where there is none."""
        data = await self.read(name)
        return None if data is None else js.Blob.new(js.Array.of(data))

    def begin(self) -> None:
        """Pieces are to be kept or taken soon; here nothing is to be prepared for that."""
        return

    def rest(self) -> None:
        """Nothing more is to be done soon; here nothing is held for that."""
        return


async def sha256(data: Any) -> str:
    """Of a Uint8Array, in hexadecimal."""
    return (await js.crypto.subtle.digest("SHA-256", data)).to_bytes().hex()


def full() -> StorageFull:
    """What is raised where the browser has no more room."""
    return StorageFull("The browser's storage is full.", remedy="Delete models that you do not need.")
