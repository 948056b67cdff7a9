"""The Store port in CPython: one JSON file in the user's folder for settings."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from local_llm.native.folders import config_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def open_store() -> FileStore:
    """The store in the user's own folder."""
    return FileStore(config_folder() / "store.json")


class FileStore:
    """See gpu.ports.Store. A file that is missing or damaged counts as empty: settings are never worth a failure.

    One that is there and cannot be read is left as it is.
    """

    lasts = True

    def __init__(self, path: Path) -> None:
        self._path = path

    async def get(self, key: str) -> str | None:
        return (self._load() or {}).get(key)

    async def set(self, key: str, text: str) -> None:
        with self._alone():
            values = self._load()
            if values is None:
                return
            values[key] = text
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside = self._path.with_suffix(f".{os.getpid()}.tmp")
            beside.write_text(json.dumps(values, ensure_ascii=False, indent=1), encoding="utf-8")
            beside.replace(self._path)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Other processes wait meanwhile: none writes over what another keeps. Where there are no locks, none waits."""
        with ExitStack() as held:
            if fcntl:
                with suppress(OSError):
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    lock = held.enter_context(self._path.with_suffix(".lock").open("a"))
                    fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _load(self) -> dict[str, str] | None:
        """None where the file cannot be read."""
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        except OSError:
            return None
        if not isinstance(values, dict):
            return {}
        return {key: value for key, value in values.items() if isinstance(value, str)}
