"""The user's folders on each system."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_llm.native.folders import cache_folder, config_folder
from local_llm.native.store import open_store

HOME = Path("/home/ann")


@pytest.mark.parametrize(
    ("platform", "variables", "config", "cache"),
    [
        ("linux", {}, HOME / ".config", HOME / ".cache"),
        ("linux", {"XDG_CONFIG_HOME": "/c", "XDG_CACHE_HOME": "/k", "APPDATA": "/no"}, Path("/c"), Path("/k")),
        ("linux", {"XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": ""}, HOME / ".config", HOME / ".cache"),
        ("darwin", {"XDG_CACHE_HOME": "/no"}, HOME / "Library/Application Support", HOME / "Library/Caches"),
        ("win32", {}, HOME / "AppData/Roaming", HOME / "AppData/Local"),
        ("win32", {"APPDATA": "/r", "LOCALAPPDATA": "/l"}, Path("/r"), Path("/l")),
    ],
)
def test_folders_follow_the_systems_habit(monkeypatch, platform, variables, config, cache):
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(Path, "home", lambda: HOME)
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "APPDATA", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (config_folder(), cache_folder()) == (config / "local-llm", cache / "local-llm")


def test_no_test_writes_to_a_users_own():
    assert config_folder() not in open_store()._path.parents
