"""The user's own folders on this system, with our name. Knows not what lies in them."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def config_folder() -> Path:
    """Where this system keeps a user's settings."""
    return _own("APPDATA", "AppData/Roaming", "Library/Application Support", "XDG_CONFIG_HOME", ".config")


def cache_folder() -> Path:
    """Where this system keeps what can be fetched again."""
    return _own("LOCALAPPDATA", "AppData/Local", "Library/Caches", "XDG_CACHE_HOME", ".cache")


def _own(windows: str, on_windows: str, on_macos: str, xdg: str, elsewhere: str) -> Path:
    """Variables that name the folder on Windows and elsewhere, and where it is in the home folder without them."""
    variable, usual = (windows, on_windows) if sys.platform == "win32" else (xdg, elsewhere)
    if sys.platform == "darwin":
        variable, usual = "", on_macos
    return Path(os.environ.get(variable) or Path.home() / usual) / "local-llm"
