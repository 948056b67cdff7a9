"""Typed, checked access to a checkpoint's metadata under one architecture's prefix."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from local_llm.errors import CorruptModel
from local_llm.formats.values import numbers_in

_MOST = 4096  # numbers of one list; there is one for each two rows of a head


class Metadata:
    """`name` is the file, for messages. Keys are without the architecture. Every reader raises CorruptModel."""

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        self.name = name
        self._values = values
        self.architecture = str(values.get("general.architecture", ""))

    def __contains__(self, key: str) -> bool:
        return f"{self.architecture}.{key}" in self._values

    def integer(self, key: str, default: int | None = None, *, least: int = 1, most: int = 1 << 24) -> int:
        """A whole number in [least, most]."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self._wrong(key, f"a whole number from {least} to {most}", value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite positive number."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
            raise self._wrong(key, "a positive number", value)
        return float(value)

    def cap(self, key: str) -> float:
        """A positive number, or 0.0 where there is none, or a zero."""
        value = self._get(key, None)
        return 0.0 if value is None or (isinstance(value, int | float) and not value) else self.number(key)

    def text(self, key: str, default: str) -> str:
        """A text."""
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "a text", value)
        return value

    def numbers(self, key: str) -> tuple[float, ...]:
        """At most 4096 finite positive numbers; none where the key is missing."""
        values = numbers_in(self._get(key, ()))
        if values is None or len(values) > _MOST or values.dtype.kind not in "iuf":
            raise self._wrong(key, f"a list of at most {_MOST} numbers", self._get(key, None))
        if not (np.isfinite(values) & (values > 0)).all():
            raise self._wrong(key, "a list of positive numbers", values)
        return tuple(values.astype(float).tolist())

    def integers(self, key: str, count: int, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """`count` whole numbers from 0 to 4096."""
        values = numbers_in(self._get(key, () if default is None else default))
        wanted = f"a list of {count} whole numbers from 0 to 4096"
        if values is None or len(values) != count or values.dtype.kind not in "iu":
            raise self._wrong(key, wanted, self._get(key, None))
        if not ((values >= 0) & (values <= 4096)).all():
            raise self._wrong(key, wanted, values)
        return tuple(values.tolist())

    def flags(self, key: str, default: Sequence[bool]) -> tuple[bool, ...]:
        """One bool for each in default (one a layer); the file may say a number n instead: all but every n-th."""
        values = self._get(key, default)
        if isinstance(values, int) and not isinstance(values, bool) and values > 0:
            return tuple((i + 1) % values > 0 for i in range(len(default)))
        found = numbers_in(values)
        if found is None or len(found) != len(default):
            raise self._wrong(key, f"a list of {len(default)} bools", values)
        return tuple(map(bool, found.tolist()))

    def _get(self, key: str, default: Any) -> Any:
        return self._values.get(f"{self.architecture}.{key}", default)

    def _wrong(self, key: str, wanted: str, found: Any) -> CorruptModel:
        shown = "nothing" if found is None else repr(found)[:60]
        return CorruptModel(f"{self.name}: metadata '{self.architecture}.{key}' must be {wanted}, found {shown}.")
