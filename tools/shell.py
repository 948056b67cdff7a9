"""Runs other programs quietly and turns every failure into one sentence with a remedy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
LOG = CACHE / "last-failure.log"
PAUSES = (2.0, 10.0)  # seconds before another attempt at what the network or a lock of others may have broken
_APT = threading.Lock()  # several threads install; apt-get does one thing at a time
_PATIENT = ("-o", "Acquire::Retries=5", "-o", "DPkg::Lock::Timeout=120")


class Failure(Exception):
    """Something the user must know: one sentence that says what was wanted, what was found and what to do."""


class CommandFailed(Failure):
    """A program ran and ended with another status than 0."""


def say(text: str) -> None:
    """A line of progress, on stderr: stdout belongs to the answer."""
    sys.stderr.write(f"{text}\n")  # one write: several threads talk
    sys.stderr.flush()


def fetch(
    command: Sequence[str | Path],
    purpose: str,
    remedy: str,
    *,
    into: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """run, and again after each of PAUSES while the program fails. into: a folder that each attempt finds empty."""
    for pause in PAUSES:
        try:
            return run(command, purpose, remedy, env=env)
        except CommandFailed:
            say(f"  could not {purpose}; trying again in {pause:g} s …")
        time.sleep(pause)
        for path in into.iterdir() if into else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return run(command, purpose, remedy, env=env)


def run(
    command: Sequence[str | Path], purpose: str, remedy: str, *, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> str:
    """Run a program, show nothing, return its stdout. Raises Failure with the program's own complaint."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, errors="replace"
        )
    except OSError as error:
        raise Failure(f"Could not {purpose}: {words[0]} does not start ({error.strerror}). {remedy}") from None
    if done.returncode:
        CACHE.mkdir(exist_ok=True)
        LOG.write_text(f"$ {' '.join(words)}\n{done.stdout}\n{done.stderr}\n", encoding="utf-8")
        complaint = _complaint(done.stderr or done.stdout)
        raise CommandFailed(f"Could not {purpose}: {complaint}. {remedy} (All it said: {LOG.relative_to(ROOT)})")
    return done.stdout


def _complaint(output: str) -> str:
    """The line that says most: the first that calls itself an error, else the last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "e:", "npm error", "fatal"))]
    line = (errors or lines[-1:] or ["it failed without a word"])[0]
    return line.removeprefix("ERROR: ").removeprefix("npm error ").rstrip(".")[:300]


def find_program(name: str, debian_package: str, remedy: str) -> str:
    """The path of a program, installed from Debian's archive where it is missing and we may do so."""
    found = shutil.which(name)
    if not found:
        apt_install([debian_package], f"{name} was not found", remedy, lambda: shutil.which(name))
        found = shutil.which(name)
    if not found:
        raise Failure(f"{name} was not found, not even after installing {debian_package}. {remedy}")
    return found


def apt_install(packages: Sequence[str], why: str, remedy: str, there: Callable[[], object] = lambda: None) -> None:
    """Install Debian packages as root or with password-less sudo. Raises Failure(why, remedy) where we may not.

    there: finds what is wanted, if another thread has installed it meanwhile.
    """
    prefix = _root_prefix()
    if prefix is None or not shutil.which("apt-get"):
        raise Failure(f"{why}, and it cannot be installed from here without root on Debian. {remedy}")
    with _APT:
        if there():
            return
        say(f"  {why}: installing {', '.join(packages)} with apt-get …")
        apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *_PATIENT]
        fetch([*apt, "update"], "refresh Debian's package lists", "Check the network, then run this again.")
        install = [*apt, "install", "-y", "--no-install-recommends", *packages]
        fetch(install, f"install {', '.join(packages)}", remedy)


def _root_prefix() -> list[str] | None:
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True).returncode == 0:
        return [sudo, "-n"]
    return None


@contextmanager
def only_one() -> Iterator[None]:
    """Two runs in one checkout set things up one after the other."""
    try:
        CACHE.mkdir(exist_ok=True)
        handle = (CACHE / "lock").open("a")
    except OSError as error:
        raise Failure(f"Cannot write to {CACHE} ({error.strerror}). Use a copy of the project that you own.") from None
    with handle:
        if fcntl:
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
