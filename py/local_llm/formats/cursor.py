"""A reading position in the head of an untrusted file. Knows the file's size and name, and how to complain."""

from __future__ import annotations

import struct

from local_llm.errors import CorruptModel

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_TEXTS = 4 << 20  # bytes of names and single texts in one head; as Python's strings they may take four times as much
_INNER = 4096  # arrays inside arrays; each is a numpy array of its own, however short


class Short(Exception):
    """The bytes up to `stop` lie within the file but are not at hand yet."""

    def __init__(self, stop: int) -> None:
        self.stop = stop


def shown(value: object) -> str:
    """A value of the file for a message: quoted, at most some 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


class Cursor:
    """The first bytes of a file of `size` bytes; `at` is the next byte to read.

    Each read raises CorruptModel where the file ends too early, and Short where more of it must be fetched first.
    """

    def __init__(self, name: str, size: int, limit: int) -> None:
        self.name = name
        self.size = size
        self.data = bytearray()
        self.at = 0
        self.spent = (0, 0)  # bytes of texts, arrays inside arrays
        self._limit = limit

    def extend(self, more: bytes) -> None:
        """Append the next bytes of the file."""
        self.data += more

    def corrupt(self, offset: int, expected: str, found: str) -> CorruptModel:
        """The error to raise: `expected` was wanted at byte `offset`, `found` was there."""
        return CorruptModel(
            f"{self.name}, byte {offset}: expected {expected}, found {found}.",
            remedy="Download the file again, or use another copy.",
        )

    def need(self, nbytes: int, what: str) -> int:
        """The end of the next nbytes, all of them at hand."""
        stop = self.at + nbytes
        if stop > self.size:
            raise self.corrupt(self.at, f"{nbytes} bytes for {what}", f"{self.size - self.at} bytes to the file's end")
        if stop > self._limit:
            raise self.corrupt(self.at, f"a head of at most {self._limit} bytes", f"{what} that ends at byte {stop}")
        if stop > len(self.data):
            raise Short(stop)
        return stop

    def peek(self, nbytes: int) -> bytes:
        """Up to nbytes from here, fewer at the file's end."""
        nbytes = min(nbytes, self.size - self.at)
        return bytes(self.data[self.at : self.need(nbytes, "the magic number")])

    def take(self, nbytes: int, what: str) -> memoryview:
        """The next nbytes, read-only and valid until the next `extend`: copy what is kept."""
        start, stop = self.at, self.need(nbytes, what)
        self.at = stop
        return memoryview(bytes(self.data[start:stop]))

    def u32(self, what: str) -> int:
        stop = self.need(4, what)
        (value,) = _U32.unpack_from(self.data, self.at)
        self.at = stop
        return value

    def u64(self, what: str) -> int:
        stop = self.need(8, what)
        (value,) = _U64.unpack_from(self.data, self.at)
        self.at = stop
        return value

    def count(self, what: str, smallest: int) -> int:
        """A u64 that counts things of at least `smallest` bytes each, which must fit into the rest of the file."""
        at = self.at
        value = self.u64(f"the number of {what}")
        room = max(min(self.size, self._limit) - self.at, 0) // smallest
        if value > room:
            raise self.corrupt(at, f"at most {room} {what} in the file's remaining bytes", str(value))
        return value

    def text(self, what: str) -> bytes:
        """A length and that many bytes."""
        at = self.at
        raw = bytes(self.take(self.u64(f"the length of {what}"), what))
        texts, inner = self.spent
        if texts + len(raw) > _TEXTS:
            raise self.corrupt(at, f"at most {_TEXTS} bytes of names and texts", f"more, with {what}")
        self.spent = (texts + len(raw), inner)
        return raw

    def inner(self, count: int, key: str) -> None:
        """So many arrays come inside another."""
        texts, inner = self.spent
        if inner + count > _INNER:
            raise self.corrupt(self.at, f"at most {_INNER} arrays inside arrays", f"{count} more in {shown(key)}")
        self.spent = (texts, inner + count)

    def string(self, what: str) -> str:
        """A length and that many bytes of UTF-8, which must not be empty."""
        at = self.at
        raw = self.text(what)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.corrupt(at, f"{what} in UTF-8", shown(raw)) from None
        if not text:
            raise self.corrupt(at, what, "an empty text")
        return text
