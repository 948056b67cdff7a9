"""Files that a model at an address did without, remembered on disk: its next load asks for none of them.

A server may lack a file only for now (a wrong folder, an upload that goes on), so its word counts once a load got as
far as the weights, for a week, and never for weights themselves. Knows no format, and not how files are kept.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from local_llm.errors import DownloadFailed
from local_llm.gpu.ports import Blobs

_BELIEVED_S = 7 * 24 * 3600
_SURE = (404, 410)  # other refusals may be of who asks
_BESIDE = (".json", ".jinja")  # what lies beside weights


class Absences:
    """Of one opener. place: a URL's own folder, in which the mark is a file `absent`, as old as the server's word.

    open_blobs: asks the network.
    """

    def __init__(self, place: Callable[[str], Path], open_blobs: Callable[[str], Awaitable[Blobs]]) -> None:
        self._place = place
        self._open_blobs = open_blobs
        self._denied: set[str] = set()  # by the server, in loads that have not come to the weights

    async def open(self, url: str) -> Blobs:
        """open_blobs, without a request where the file is known to be absent. Raises DownloadFailed."""
        mark = self._place(url) / "absent"
        age = _age(mark)
        text = f"There was no {url} when its model was loaded."
        absent = DownloadFailed(text, remedy=f"Delete {mark} where it is there now.", absent=True)
        if age is not None and 0 <= age < _BELIEVED_S:
            raise absent
        try:
            blobs = await self._open_blobs(url)
        except DownloadFailed as error:
            if error.status in _SURE and urlsplit(url).path.endswith(_BESIDE):
                self._denied.add(url)
            if error.absent or age is None:
                raise
            raise absent from None  # nobody can be asked
        self._denied.discard(url)
        with suppress(OSError):
            mark.unlink(missing_ok=True)
        return blobs

    def done_without(self, url: str) -> None:
        """Weights at `url` are being loaded, so the model needs none of the files that its folder lacks."""
        folder = url.partition("?")[0].rpartition("/")[0] + "/"
        for denied in [one for one in self._denied if one.startswith(folder)]:
            self._denied.remove(denied)
            with suppress(OSError):  # a disk that is full, or not ours to write
                place = self._place(denied)
                place.mkdir(parents=True, exist_ok=True)
                (place / "absent").write_text(denied, encoding="utf-8")


def _age(mark: Path) -> float | None:
    """Seconds; None where there is no mark."""
    try:
        return time.time() - mark.stat().st_mtime
    except OSError:
        return None
