"""WGSL text: finds shader files, resolves `//#include`, reads headers and bindings. Knows no device.

`//#include step` includes `lib/step.wgsl`. An include may name a role instead of a file: `//#include weight`
takes whatever format the kernel was asked for (`includes={"weight": "q4_1"}` → `lib/q4_1.wgsl`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_INCLUDE = re.compile(r"^//#include (\w+)\s*$", re.MULTILINE)
_OVERRIDE = re.compile(r"^override [^;]*;.*$", re.MULTILINE)
_BINDING = re.compile(
    r"@group\(0\)\s*@binding\((\d+)\)\s*var<\s*(storage|uniform)\s*(?:,\s*(read|read_write)\s*)?>\s*(\w+)\s*:\s*([^;]+);"
)


@dataclass(frozen=True)
class Binding:
    """One `@group(0) @binding(index)` of a kernel. access: "read", "read_write" or "uniform"."""

    index: int
    name: str
    access: str
    type: str


@cache
def shader_folder() -> Path:
    """The wheel carries the shaders inside the package; a checkout has them at its top."""
    packed = _PACKAGE / "shaders"
    return packed if packed.is_dir() else _PACKAGE.parents[1] / "shaders"


@cache
def _text(relative: str) -> str:
    return (shader_folder() / relative).read_text(encoding="utf-8")


def kernel_names() -> list[str]:
    """Names of all kernels: the stems of shaders/*.wgsl."""
    return sorted(path.stem for path in shader_folder().glob("*.wgsl"))


def source(name: str, includes: Mapping[str, str]) -> str:
    """The whole WGSL text of kernel `name`; every library is included once, before its first use.

    Override constants come first, in their order: naga, Firefox's compiler, panics where one comes after the size of an
    array that is made of others (seen in naga 29).
    """
    seen: set[str] = set()

    def expand(text: str) -> str:
        def include(match: re.Match[str]) -> str:
            library = includes.get(match[1], match[1])
            if library in seen:
                return ""
            seen.add(library)
            return expand(_text(f"lib/{library}.wgsl"))

        return _INCLUDE.sub(include, text)

    text = expand(_text(f"{name}.wgsl"))
    return "\n".join([*(found[0] for found in _OVERRIDE.finditer(text)), _OVERRIDE.sub("", text)])


def bindings(code: str) -> tuple[Binding, ...]:
    """Bindings of group 0 in the order of their indices, which must run 0, 1, 2, …"""
    found = [
        Binding(int(index), name, "uniform" if space == "uniform" else access or "read", kind.strip())
        for index, space, access, name, kind in _BINDING.findall(code)
    ]
    found.sort(key=lambda binding: binding.index)
    if [binding.index for binding in found] != list(range(len(found))):
        raise ValueError(f"bindings must be numbered 0, 1, 2, …; found {[b.index for b in found]}")
    return tuple(found)
