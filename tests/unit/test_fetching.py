"""What the network may break is tried three times, what arrives wrong once; apt-get runs in one thread at a time."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from tools import assets, chromium, environment, shell
from tools.shell import Failure

DATA = b"an archive"


@pytest.fixture
def pauses(monkeypatch, tmp_path):
    """The pauses that were made; none takes time."""
    made = []
    monkeypatch.setattr(shell.time, "sleep", made.append)
    monkeypatch.setattr(shell, "ROOT", tmp_path)
    monkeypatch.setattr(shell, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(shell, "LOG", tmp_path / "cache" / "failure.log")
    return made


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Makes NAME, on PATH, fail so many times and do something then; its calls are lines of the file it returns."""

    def made(name: str, failures: int, do: str = ":", always: str = ":") -> Path:
        calls, path = tmp_path / f"{name}.calls", tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        failed = f'[ $(wc -l < "{calls}") -gt {failures} ] || {{ echo "ERROR: no way there." >&2; exit 1; }}'
        path.write_text(f'#!/bin/sh\necho "$@" >> "{calls}"\n{always}\n{failed}\n{do}\n')
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(path.parent), prepend=":")
        return calls

    return made


def count(calls: Path) -> int:
    return len(calls.read_text().splitlines())


def package(kind: str, data: bytes = DATA) -> assets.Package:
    return assets.Package(kind, "a", "1", "g", len(data), hashlib.sha256(data).hexdigest(), ())


def download(kind: str, tmp_path: Path) -> Path:
    into = tmp_path / "into"
    into.mkdir()
    return assets.download(package(kind), tmp_path / "bin" / "python", into)


def writes(kind: str, tmp_path: Path, name: str, data: bytes = DATA) -> str:
    return f'printf "{data.decode()}" > "{tmp_path}/into/{name}.{"whl" if kind == "pypi" else "tgz"}"'


KINDS = pytest.mark.parametrize(("kind", "name"), [("pypi", "python"), ("npm", "npm")])


@KINDS
def test_a_download_that_fails_twice_arrives(tmp_path, program, pauses, kind, name, capsys):
    """Each attempt leaves something behind, which the next one must not find."""
    left = f'{writes(kind, tmp_path, "left$$")}; mkdir "{tmp_path}/into/more" || exit 1'
    calls = program(name, 2, f'rm "{tmp_path}/into/left$$".*; {writes(kind, tmp_path, "whole")}', left)
    assert download(kind, tmp_path).read_bytes() == DATA
    assert (count(calls), pauses) == (3, [2.0, 10.0])
    assert "could not download a 1; trying again in 2 s" in capsys.readouterr().err


@KINDS
def test_one_that_always_fails_says_why(tmp_path, program, pauses, kind, name):
    calls = program(name, 99)
    with pytest.raises(
        Failure, match=r"^Could not download a 1: no way there\. Check the network, then run this again"
    ):
        download(kind, tmp_path)
    assert (count(calls), pauses) == (3, [2.0, 10.0])
    assert "no way there" in shell.LOG.read_text()


@KINDS
def test_another_content_is_not_asked_for_again(tmp_path, program, pauses, kind, name):
    calls = program(name, 0, writes(kind, tmp_path, "whole", b"a trojan h"))
    with pytest.raises(Failure, match=r"a 1 is not what assets\.json locks"):
        download(kind, tmp_path)
    assert (count(calls), pauses) == (1, [])


def test_a_program_that_does_not_start_is_not_tried_again(pauses):
    with pytest.raises(Failure, match="/no/such/program does not start"):
        shell.fetch(["/no/such/program"], "do it", "Do that.")
    assert pauses == []


def test_packages_are_installed_at_the_second_attempt(tmp_path, program, pauses, monkeypatch):
    calls = program("python", 1)
    monkeypatch.setattr(environment, "python_path", lambda: tmp_path / "bin" / "python")
    monkeypatch.setattr(environment, "_STAMP", tmp_path / "stamp.json")
    environment.install(["build"])
    assert (count(calls), pauses) == (2, [2.0])
    environment.install(["build"])
    assert count(calls) == 2


@pytest.fixture
def root(monkeypatch):
    monkeypatch.setattr(shell, "_root_prefix", list)


def test_apt_get_waits_and_tries_again(program, pauses, root):
    calls = program("apt-get", 1)
    shell.apt_install(["some", "more"], "It was not found", "Do that.")
    patient = "-o Acquire::Retries=5 -o DPkg::Lock::Timeout=120"
    install = f"{patient} install -y --no-install-recommends some more"
    assert calls.read_text().splitlines() == [f"{patient} update", f"{patient} update", install]
    assert pauses == [2.0]


def test_what_another_thread_installed_is_not_installed_again(tmp_path, program, root, monkeypatch):
    """Four threads want npm and Chromium at once."""
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(chromium, "_PLACES", ())
    monkeypatch.setattr(chromium, "_NAMES", ("a-chromium",))
    folder, busy = tmp_path / "bin", tmp_path / "busy"
    new = f'for name in "$@"; do :; done; cp "{folder}/apt-get" "{folder}/a-$name"'
    alone = f'mkdir "{busy}" || touch "{tmp_path}/twice"; sleep 0.1; {new}; rmdir "{busy}"'
    calls = program("apt-get", 0, alone)
    found = []
    wanted = [chromium.ensure, lambda: shell.find_program("a-npm", "npm", "Install it.")] * 2
    threads = [threading.Thread(target=lambda one=one: found.append(one())) for one in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, found)) == [f"{folder}/a-chromium"] * 2 + [f"{folder}/a-npm"] * 2
    assert count(calls) == 4  # two updates, two installations
    assert not (tmp_path / "twice").exists()
