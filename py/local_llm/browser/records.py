"""What is known of kept files: about.json, the chunks and parts of chunks in the folder of each. Knows no network."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from local_llm.browser.folders import Folder
from local_llm.browser.unfinished import held, span_of
from local_llm.gpu.ports import Kept
from local_llm.transfer import Identity

ABSENT = "absent"  # the server had no such file when the model was loaded
IMPORTED = "imported"  # it comes from a file that has not been held against its digests yet
_ABOUT = "about.json"


@dataclass(frozen=True)
class About:
    """What is known of one kept file. model: the address it belongs to. loaded_at: ms since 1970; 0: never loaded.

    sha256: of the whole file, as far as its kept bytes have been held against it. note: ABSENT, IMPORTED or "".
    """

    url: str
    model: str
    chunk_bytes: int
    size: int
    etag: str = ""
    modified: str = ""
    sha256: str = ""
    loaded_at: int = 0
    pinned: bool = False
    note: str = ""

    @property
    def identity(self) -> Identity:
        return Identity(self.size, self.etag, self.modified)

    @property
    def count(self) -> int:
        """Chunks of the whole file."""
        return -(-self.size // self.chunk_bytes)

    def held(self, chunks: tuple[str, ...]) -> int:
        """Bytes in these chunks."""
        last = f"{self.count - 1:06d}-"
        short = self.count * self.chunk_bytes - self.size if any(name.startswith(last) for name in chunks) else 0
        return len(chunks) * self.chunk_bytes - short


@dataclass(frozen=True)
class File:
    """A kept file: where it lies, what is known of it, the names of its chunks.

    parts: of chunks that are not whole. done: of chunks that are, so that nobody needs them.
    """

    name: str
    folder: Folder
    about: About | None
    chunks: tuple[str, ...]
    parts: tuple[str, ...] = ()
    done: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        return self.about is not None and self.about.note != IMPORTED and len(self.chunks) == self.about.count

    @property
    def nbytes(self) -> int:
        return self.about.held(self.chunks) + held(self.parts) if self.about else 0

    def fits(self, sha256: str) -> bool:
        """Whether it needs neither a download nor a check. sha256: "" where it is not known."""
        return self.whole and self.about is not None and sha256 in ("", self.about.sha256)


def kept_of(model: str, files: list[File]) -> Kept:
    """Of a model whose files these are."""
    abouts = [file.about for file in files if file.about]
    return Kept(
        model=model,
        nbytes=sum(file.nbytes for file in files),
        size=sum(about.size for about in abouts),
        whole=all(file.whole for file in files) and any(about.loaded_at for about in abouts),
        used_at=max(about.loaded_at for about in abouts),
        pinned=any(about.pinned for about in abouts),
    )


async def file_of(root: Folder, name: str) -> File:
    """What lies in the folder `name`, which is made where it is missing."""
    folder = await root.folder(name)
    names = sorted(await folder.names())
    latest = {one[:6]: one for one in names if one[:6].isdigit() and one[6:7] == "-"}  # fetched twice, it counts once
    parts = [one for one in names if span_of(one)]
    open_, done = (tuple(one for one in parts if (one[:6] in latest) == wanted) for wanted in (False, True))
    return File(name, folder, await about_of(folder), tuple(latest.values()), open_, done)


async def about_of(folder: Folder) -> About | None:
    """None where nothing is known."""
    data = await folder.read(_ABOUT)
    try:
        return About(**json.loads(data.to_bytes())) if data is not None else None
    except (ValueError, TypeError):  # cut short, or of another version of this package
        return None


async def write_about(folder: Folder, about: About) -> None:
    """Take the place of what was known."""
    await folder.write(_ABOUT, json.dumps(asdict(about)))


def folder_name(url: str) -> str:
    """Of the file at an address."""
    return hashlib.sha256(url.encode()).hexdigest()[:32]
