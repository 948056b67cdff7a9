"""Builds the wheel and the static site dist/ from the checkout and the fetched assets. Asks nothing of the network."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tools import assets, environment, onefile, policy
from tools.shell import CACHE, ROOT, run

DIST = ROOT / "dist"
_STAMP = CACHE / "site.stamp"
_SOURCES = ("py", "shaders", "web", "index.html", "bench.html", "pyproject.toml", "README.md", "LICENSE", "assets.json")
_RENAMED = {"boot.js": "local-llm.js"}
_PYODIDE_PACKAGES = ["numpy", "micropip"]
_PURE = "markupsafe-3.0.4-py3-none-any.whl"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def wheel_path() -> Path:
    """Where the wheel of local_llm lies once built."""
    return DIST / "wheels" / f"local_llm-{environment.project()['project']['version']}-py3-none-any.whl"


def build(python: Path) -> Path:
    """dist/, built anew only where a source has changed. Assets and hatchling must be there."""
    stamp = _digest()
    if (
        _STAMP.is_file()
        and _STAMP.read_text() == stamp
        and wheel_path().is_file()
        and (DIST / "manifest.json").is_file()
        and (DIST / onefile.NAME).is_file()
    ):
        return DIST
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="site-") as name:
        site = Path(name) / "dist"
        wheels = site / "wheels"
        wheels.mkdir(parents=True)
        _copy_page(site)
        shutil.copytree(assets.FOLDER / "pyodide", site / "pyodide")
        pure_markupsafe(assets.FOLDER / "markupsafe", wheels / _PURE)
        locked = [file.to for package in assets.read_lock() for file in package.files if file.to.startswith("wheels/")]
        for path in locked:
            shutil.copy(assets.FOLDER / path, wheels)
        _build_wheel(python, Path(name) / "stage", wheels)
        manifest = {
            "pyodide": "pyodide/",
            "packages": _PYODIDE_PACKAGES,
            "wheels": [f"wheels/{_PURE}", *locked, f"wheels/{wheel_path().name}"],
            "tokenizers": "tokenizers.js",
        }
        (site / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        onefile.write(site)
        shutil.rmtree(DIST, ignore_errors=True)
        site.rename(DIST)
    _STAMP.write_text(stamp)
    return DIST


def _sources() -> Iterator[Path]:
    for name in _SOURCES:
        path = ROOT / name
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file for file in found if file.is_file() and "__pycache__" not in file.parts)
    yield from (Path(__file__), Path(onefile.__file__), Path(policy.__file__), onefile.LOADER)


def _digest() -> str:
    digest = hashlib.sha256()
    for path in _sources():
        data = path.read_bytes()
        digest.update(f"{path.relative_to(ROOT)} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def _copy_page(site: Path) -> None:
    """The pages, their style, the scripts of web/, and the libraries' wasm builds."""
    package = ROOT / "py" / "local_llm"
    styles = [package / "widget" / "widget.css", package / "page" / "page.css"]
    for page in (ROOT / "index.html", ROOT / "bench.html"):
        (site / page.name).write_text(policy.guarded(page.read_text(encoding="utf-8")), encoding="utf-8")
    for path in [*styles, *sorted((ROOT / "web").glob("*"))]:
        if path.is_file():
            shutil.copy(path, site / _RENAMED.get(path.name, path.name))
    (site / "tokenizers.js").write_bytes(tokenizers_module())
    (site / "vault.js").write_bytes(vault_script())


def tokenizers_module() -> bytes:
    """The tokenizers' library, a UMD script, as a module: whatever loader the page has, it hands over its exports."""
    script = (assets.FOLDER / "tokenizers.js").read_bytes()
    return b"const exports = {}, module = { exports };\n" + script + b"\nexport const Tokenizer = exports.Tokenizer;\n"


def vault_script() -> bytes:
    """The worker of web/vault.js with hash-wasm's sha256 before it."""
    return (assets.FOLDER / "sha256.js").read_bytes() + b"\n" + (ROOT / "web" / "vault.js").read_bytes()


def _build_wheel(python: Path, stage: Path, into: Path) -> None:
    """hatchling, on a copy of the sources with the tokenizers' build beside the bridge."""
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in _SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, stage / name, ignore=ignore)
        elif path.is_file():
            shutil.copy(path, stage / name)
    (stage / "web").mkdir(exist_ok=True)
    (stage / "web" / "tokenizers.js").write_bytes(tokenizers_module())
    (stage / "web" / "vault.js").write_bytes(vault_script())
    flags = ["-q", "--no-deps", "--no-index", "--no-build-isolation", "-w", into]
    remedy = "Read hatchling's message; pyproject.toml and the package folder must fit."
    run([python, "-m", "pip", "wheel", *flags, stage], "build the wheel", remedy)


def pure_markupsafe(folder: Path, wheel: Path) -> None:
    """A wheel of MarkupSafe without its C speed-ups: the compiled one for Pyodide lies on its CDN only.

    folder: the pure-Python files and the metadata of its PyPI wheel. The same input gives the same bytes.
    """
    info = next(folder.glob("*.dist-info")).name
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: build.py\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = []
    for name, data in sorted(files.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(data)}\n")
    files[f"{info}/RECORD"] = "".join([*record, f"{info}/RECORD,,\n"]).encode()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in sorted(files.items()):
            zipped.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
