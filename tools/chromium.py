"""Finds Chromium, installs Debian's where we may, and says with which switches it gives a WebGPU adapter."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tools.shell import Failure, apt_install

ADAPTERS = ("default", "swiftshader")
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chromium-headless-shell", "chrome")
_PLACES = (
    "/usr/lib/chromium/chromium",
    "/usr/lib/chromium/chromium-headless-shell",
    "/opt/google/chrome/chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
)
_REMEDY = "Install it (on Debian: apt-get install chromium), or set CHROMIUM to the program's path."
_QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)
_VULKAN = (
    "--use-angle=vulkan",
    "--enable-features=Vulkan,VulkanFromANGLE,DefaultANGLEVulkan",
    "--disable-vulkan-surface",
    "--ignore-gpu-blocklist",
)


def find() -> Path | None:
    """$CHROMIUM, or a Chromium or Chrome on PATH or in a usual place. Raises Failure where $CHROMIUM is wrong."""
    chosen = os.environ.get("CHROMIUM")
    if chosen:
        path = shutil.which(chosen)
        if not path:
            raise Failure(f"CHROMIUM names {chosen}, which is no program. Set it to Chromium's path, or unset it.")
        return Path(path)
    found = [shutil.which(name) for name in _NAMES] + [place for place in _PLACES if Path(place).is_file()]
    return next((Path(path) for path in found if path), None)


def ensure() -> Path:
    """Chromium's path; it is installed where none is found and we may."""
    found = find()
    if found is None:
        apt_install(["chromium"], "No Chromium or Chrome was found", _REMEDY, find)
        found = find()
    if found is None:
        raise Failure(f"No Chromium or Chrome was found, not even after installing Debian's. {_REMEDY}")
    return found


def has_gpu() -> bool:
    """Whether this machine seems to have a GPU with a driver. Off Linux, Chromium knows best."""
    if not sys.platform.startswith("linux"):
        return True
    return Path("/dev/nvidiactl").exists() or any(Path("/dev/dri").glob("renderD*"))


def switches(adapter: str | None = None) -> list[str]:
    """Command-line switches. adapter: "swiftshader" computes on the CPU; None decides by the machine."""
    adapter = adapter or ("default" if has_gpu() else "swiftshader")
    switches = [*_QUIET, "--enable-unsafe-webgpu"]
    if adapter == "swiftshader":
        switches.append("--use-webgpu-adapter=swiftshader")
    elif sys.platform.startswith("linux"):
        switches += _VULKAN
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        switches.append("--no-sandbox")  # Chromium's sandbox does not run as root
    return switches
