"""What a download lives by, pure: when to try again, how long to wait, whether two answers are of the same file.

Knows no network and no host.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})  # answers after which the same request may work later
_SHORTEST = 1 << 18  # bytes of a request where longer ones break
_LONGEST = 32 << 20  # bytes of a request where all goes well: each costs some 20 ms
_SOON = 1.0  # seconds of a request after which the next one is not made longer
_CALM = 256  # whole requests in a row after which longer ones are tried again
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Patience:
    """attempts: tries in a row that bring no byte. opening: the same for the first request: an address may be wrong.

    stall_seconds: a request without a byte for so long is broken off. lanes: requests at a time.
    """

    attempts: int = 7
    opening: int = 3
    first_seconds: float = 0.5
    most_seconds: float = 30.0
    stall_seconds: float = 30.0
    lanes: int = 3

    def pause(self, failures: int, asked: float | None, luck: float) -> float:
        """Seconds before the next try. asked: what the server wants (Retry-After). luck: 0 to 1, at random."""
        usual = min(self.first_seconds * 2 ** max(failures - 1, 0), self.most_seconds) * (0.5 + luck / 2)
        return max(usual, min(asked or 0.0, 4 * self.most_seconds))


class Reach:
    """How many bytes the next request asks for: more while requests come whole and soon, fewer where they break.

    A browser drops what it has received and not yet given out of a request that breaks, so requests stay below the
    length that broke until many in a row have come whole. chunk_bytes: what the first request asks for.
    """

    def __init__(self, chunk_bytes: int) -> None:
        self.nbytes = chunk_bytes
        self._shortest = min(_SHORTEST, chunk_bytes // 2)
        self._most = _LONGEST
        self._whole = 0

    def came(self, seconds: float) -> None:
        """A request came whole, in so much time."""
        self._whole += 1
        if self._whole % _CALM == 0:
            self._most = min(2 * self._most, _LONGEST)
        if seconds < _SOON:
            self.nbytes = min(4 * self.nbytes, self._most)

    def broke(self, nbytes: int) -> None:
        """A request for so many bytes broke."""
        self._whole = 0
        self._most = self.nbytes = max(min(self._most, nbytes // 2), self._shortest)


@dataclass(frozen=True)
class Identity:
    """What tells one version of a file from another. etag, modified: as the server writes them, "" where it is silent.

    sha256: of the whole file, where a header says it.
    """

    size: int
    etag: str = ""
    modified: str = ""
    sha256: str = ""

    def fits(self, other: Identity) -> bool:
        """Whether both can be the same file: nothing that both know differs."""
        mine, others = (one.etag.removeprefix("W/") for one in (self, other))
        known = ((mine, others), (self.modified, other.modified), (self.sha256, other.sha256))
        return self.size == other.size and all(not a or not b or a == b for a, b in known)


def retry_after(text: str, now: float) -> float | None:
    """Seconds, from a Retry-After header: a number, or a date. now: seconds since 1970."""
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except ValueError:
        return None


def total_of(content_range: str) -> int | None:
    """The file's size in a Content-Range header; None where it does not say."""
    total = content_range.rpartition("/")[2]
    return int(total) if total.isdigit() else None


def start_of(content_range: str) -> int | None:
    """The first byte in a Content-Range header; None where it does not say."""
    found = re.match(r"bytes (\d+)-", content_range)
    return int(found[1]) if found else None


def digest_of(headers: Mapping[str, str]) -> str:
    """The sha256 of the whole file in hexadecimal, where headers (in small letters) say it; else ""."""
    linked = headers.get("x-linked-etag", "").strip('"')
    if _HEX.fullmatch(linked):
        return linked
    found = re.search(r"sha-256=:([A-Za-z0-9+/=]+):", headers.get("repr-digest", ""))
    try:
        text = base64.b64decode(found[1], validate=True).hex() if found else ""
    except binascii.Error:
        return ""
    return text if _HEX.fullmatch(text) else ""
