"""The virtual environment .venv/, filled with pyproject.toml's dependency groups, refilled when they change."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tools.shell import ROOT, apt_install, fetch, run, say

FOLDER = ROOT / ".venv"
_STAMP = FOLDER / "local-llm.json"
_REMEDY = "Check the network, then run this again; if it persists, remove .venv/ first."


def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements(groups: Iterable[str]) -> list[str]:
    """What pip must install for these dependency groups, included groups resolved."""
    table = project()["dependency-groups"]
    found: dict[str, None] = {}
    for group in groups:
        for entry in table[group]:
            for requirement in [entry] if isinstance(entry, str) else requirements([entry["include-group"]]):
                found[requirement] = None
    return list(found)


def python_path() -> Path:
    """The environment's Python."""
    return FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def create() -> Path:
    """Make .venv/ of the running Python where it is missing or of another; returns its Python."""
    if _read_stamp().get("base") == _base() and python_path().exists():
        return python_path()
    say(f"  making .venv/ with Python {sys.version.split()[0]} …")
    if importlib.util.find_spec("ensurepip") is None:
        remedy = "Install it (on Debian: apt-get install python3-venv)."
        apt_install(["python3-venv"], "Python's venv module was not found", remedy)
    run([sys.executable, "-m", "venv", "--clear", FOLDER], "make the virtual environment .venv/", _REMEDY)
    _write_stamp({"base": _base(), "requirements": [], "wheel": ""})
    return python_path()


def install(groups: Iterable[str]) -> None:
    """Have these dependency groups installed. Nothing is asked of the network when they are."""
    stamp = _read_stamp()
    wanted = requirements(groups)
    if set(wanted) <= set(stamp["requirements"]):
        return
    everything = sorted({*stamp["requirements"], *wanted})
    say(f"  installing {len(everything)} Python packages and what they need …")
    fetch([python_path(), "-m", "pip", "install", "-q", *everything], "install Python packages with pip", _REMEDY)
    _write_stamp({**stamp, "requirements": everything})


def install_wheel(wheel: Path) -> None:
    """Have exactly this build of local_llm installed."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    stamp = _read_stamp()
    if stamp["wheel"] == digest:
        return
    flags = ["--no-deps", "--no-index", "--force-reinstall"]
    run([python_path(), "-m", "pip", "install", "-q", *flags, wheel], "install the wheel into .venv/", _REMEDY)
    _write_stamp({**stamp, "wheel": digest})


def _base() -> str:
    return f"{sys.version} {os.path.realpath(sys.executable)} {ROOT}"


def _read_stamp() -> dict[str, Any]:
    try:
        return json.loads(_STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"base": "", "requirements": [], "wheel": ""}


def _write_stamp(stamp: dict[str, Any]) -> None:
    _STAMP.write_text(json.dumps(stamp, indent=1), encoding="utf-8")
