"""UTF-8 bytes in, whole characters out. Knows no tokens."""

from __future__ import annotations

import codecs


class StreamDecoder:
    """Holds back the bytes of an incomplete character. Bytes that are not UTF-8 become U+FFFD."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def __copy__(self) -> StreamDecoder:
        twin = StreamDecoder()
        twin._decoder.setstate(self._decoder.getstate())
        return twin

    def feed(self, data: bytes) -> str:
        """The characters that data completes; often "", when a character is spread over several tokens."""
        return self._decoder.decode(data)

    def flush(self) -> str:
        """The end: what was held back can no longer become a character."""
        return self._decoder.decode(b"", True)
