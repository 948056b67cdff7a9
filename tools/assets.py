"""Fetches what assets.json names, through pip and npm, and verifies every archive and file by its sha256.

Knows nothing of what the files are for. `Package.group` says which commands need a package.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from tools.shell import CACHE, ROOT, Failure, fetch, find_program, say

LOCK = ROOT / "assets.json"
FOLDER = CACHE / "assets"
_ALL = "*"  # the whole archive, unpacked into a folder
_ITSELF = "."  # the archive as it came
_NETWORK = "Check the network, then run this again."


@dataclass(frozen=True)
class File:
    """One file of a package: where it lies in the archive, where it goes under FOLDER, what it must be."""

    path: str
    to: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Package:
    """One archive of a package registry. kind: "npm" or "pypi"."""

    kind: str
    name: str
    version: str
    group: str
    bytes: int
    sha256: str
    files: tuple[File, ...]

    @property
    def key(self) -> str:
        """A name for its stamp."""
        return f"{self.kind}-{self.name}".replace("/", "-").replace("@", "")

    @property
    def stamp(self) -> str:
        """Changes with everything that assets.json says of it."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


def read_lock(path: Path = LOCK) -> tuple[Package, ...]:
    """The packages of assets.json."""
    entries = json.loads(path.read_text(encoding="utf-8"))["packages"]
    return tuple(Package(**{**entry, "files": tuple(File(**file) for file in entry["files"])}) for entry in entries)


def ensure(python: Path, groups: Iterable[str], folder: Path = FOLDER) -> None:
    """Every file of these groups under folder, verified. What is there already is not fetched again."""
    wanted = set(groups)
    missing = [package for package in read_lock() if package.group in wanted and not is_there(package, folder)]
    if not missing:
        return
    if any(package.kind == "npm" for package in missing):
        find_program("npm", "npm", "Install Node.js with npm.")
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda package: _fetch(package, python, folder), missing))


def is_there(package: Package, folder: Path) -> bool:
    """Whether it was unpacked here before, by the same lock, and all its files still have their sizes."""
    stamp = folder / ".stamps" / package.key
    if not stamp.is_file() or stamp.read_text() != package.stamp:
        return False
    return all(_sized(folder / file.to, file) for file in package.files)


def _sized(path: Path, file: File) -> bool:
    return path.is_dir() if file.path == _ALL else path.is_file() and path.stat().st_size == file.bytes


def _fetch(package: Package, python: Path, folder: Path) -> None:
    say(f"  fetching {package.name} {package.version} ({package.bytes / 1e6:.0f} MB) …")
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="fetch-") as name:
        archive = download(package, python, Path(name))
        unpack(package, archive, folder)


def download(package: Package, python: Path, into: Path) -> Path:
    """The package's archive, by pip or npm, verified."""
    spec = f"{package.name}{'==' if package.kind == 'pypi' else '@'}{package.version}"
    purpose = f"download {package.name} {package.version}"
    if package.kind == "pypi":
        # One fixed platform, so that everyone gets the archive whose hash is in the lock.
        fixed = ["--only-binary", ":all:", "--python-version", "3.11", "--platform", "manylinux2014_x86_64"]
        command = [python, "-m", "pip", "download", "-q", "--no-deps", *fixed, "-d", into, spec]
        fetch(command, purpose, _NETWORK, into=into)
    else:
        npm = find_program("npm", "npm", "Install Node.js with npm.")
        env = {} if _home_is_writable() else {"npm_config_cache": str(CACHE / "npm")}
        command = [npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", into, spec]
        fetch(command, purpose, _NETWORK, into=into, env=env)
    found = [path for path in into.iterdir() if path.suffix in (".whl", ".tgz")]
    if len(found) != 1:
        raise Failure(f"Could not {purpose}: expected one archive, found {len(found)}. {_NETWORK}")
    with found[0].open("rb") as stream:
        verify(stream, package.bytes, package.sha256, f"{package.name} {package.version}")
    return found[0]


def _home_is_writable() -> bool:
    home = Path.home()
    return home.is_dir() and os.access(home, os.W_OK)


def verify(stream: IO[bytes], nbytes: int, sha256: str, name: str) -> None:
    """Read a stream to its end. Raises Failure where its length or sha256 is not as locked."""
    digest = hashlib.sha256()
    length = 0
    while block := stream.read(1 << 20):
        digest.update(block)
        length += len(block)
    if (length, digest.hexdigest()) != (nbytes, sha256):
        raise Failure(
            f"{name} is not what assets.json locks: wanted {nbytes} bytes with sha256 {sha256[:12]}…, "
            f"got {length} bytes with {digest.hexdigest()[:12]}…. Check what stands between you and the registry."
        )


def unpack(package: Package, archive: Path, folder: Path) -> None:
    """Put the package's files in their places under folder; each is verified before it gets its name."""
    stamp = folder / ".stamps" / package.key
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    for file in package.files:
        target = folder / file.to
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.path == _ALL:
            shutil.rmtree(target, ignore_errors=True)
            _unpack_all(archive, target)
            continue
        partial = target.with_name(target.name + ".partial")
        if file.path == _ITSELF:
            shutil.copyfile(archive, partial)
        else:
            with _member(archive, file.path) as source, partial.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
        with partial.open("rb") as stream:
            verify(stream, file.bytes, file.sha256, f"{file.path} of {package.name}")
        partial.replace(target)
    stamp.write_text(package.stamp)


@contextmanager
def _member(archive: Path, path: str) -> Iterator[IO[bytes]]:
    if archive.suffix == ".tgz":
        with tarfile.open(archive) as tar:
            stream = tar.extractfile(path)
            if stream is None:
                raise Failure(f"{archive.name} has no file {path}; assets.json does not fit it.")
            yield stream
    else:
        with zipfile.ZipFile(archive) as zipped, zipped.open(path) as stream:
            yield stream


def _unpack_all(archive: Path, target: Path) -> None:
    """An npm archive without its first folder. Only plain files are taken, and none outside target."""
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts[1:]
            source = tar.extractfile(member) if member.isfile() else None
            if source is None or not parts or ".." in parts:
                continue
            path = target.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as sink:
                shutil.copyfileobj(source, sink)
