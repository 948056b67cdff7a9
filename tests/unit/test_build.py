"""build.py and tools/: options, messages, the lock and what is verified by it, the wheels; nothing from the network."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

import build
from tools import assets, chromium, demo, environment, shell, site
from tools.shell import ROOT, Failure


def parsed(*words):
    return build.parser().parse_args(["demo", *words])


# Options and messages


def test_options_take_the_javascript_names():
    words = ["--max-tokens", "8", "--temperature", "0.5", "--top-p", "0.9", "--seed", "3", "--top-k", "0"]
    assert build.read_options(parsed(*words)) == {
        "maxTokens": 8,
        "temperature": 0.5,
        "topP": 0.9,
        "seed": 3,
        "topK": 0,
    }


def test_options_not_given_are_left_to_the_page():
    assert build.read_options(parsed("hello")) == {}


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--temperature", "-1"),
        ("--temperature", "nan"),
        ("--temperature", "inf"),
        ("--temperature", "hot"),
        ("--max-tokens", "0"),
        ("--max-tokens", "1.5"),
        ("--top-p", "1.1"),
        ("--min-p", "-0.1"),
        ("--seed", "-1"),
        ("--seed", str(2**32)),
    ],
)
def test_bad_option(flag, value, capsys):
    assert build.main(["demo", "hello", flag, value]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {flag} wants a")
    assert f"got {value}" in error
    assert error.count("\n") == 1


def test_messages_from_a_file(tmp_path):
    path = tmp_path / "m.json"
    system = {"role": "system", "content": "Be brief. 🙂"}
    path.write_text(json.dumps([system]), encoding="utf-8")
    assert build.read_messages(parsed("--messages", str(path))) == [system]
    assert build.read_messages(parsed("Hi", "--messages", str(path))) == [system, {"role": "user", "content": "Hi"}]
    assert build.read_messages(parsed("Hi")) == [{"role": "user", "content": "Hi"}]
    assert build.read_messages(parsed()) == [{"role": "user", "content": build.DEFAULT_PROMPT}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"[{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[]", "is not a list of messages"),
        (b'{"role": "user", "content": "x"}', "is not a list of messages"),
        (b'[{"role": "user"}]', "is not a list of messages"),
        (b'["hello"]', "is not a list of messages"),
    ],
)
def test_bad_messages(tmp_path, content, said, capsys):
    path = tmp_path / "m.json"
    if content is not None:
        path.write_bytes(content)
    assert build.main(["demo", "--messages", str(path)]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "It must hold a JSON list" in error


def test_raw_and_messages_exclude_each_other(tmp_path, capsys):
    assert build.main(["demo", "--raw", "--messages", str(tmp_path)]) == 1
    assert "--raw" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["missing.gguf", "."])
def test_bad_model(tmp_path, name, capsys):
    assert build.main(["demo", "--model", str(tmp_path / name)]) == 1
    assert "--model wants a GGUF file; found " in capsys.readouterr().err


def test_unknown_bench_names_what_there_is(capsys):
    assert build.main(["bench", "--suite", "no-such-thing"]) == 1
    assert "wants --suite decode, prefill, load, latency, kernels, peers; got no-such-thing" in capsys.readouterr().err


def test_further_arguments_go_to_pytest():
    _, rest = build.parser().parse_known_args(["test", "tests/unit", "-k", "serve", "-x"])
    assert rest == ["tests/unit", "-k", "serve", "-x"]


def test_help_names_every_command():
    done = subprocess.run([sys.executable, "build.py", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    for command in ("demo", "serve", "build", "check", "test", "bench"):
        assert re.search(rf"^    {command} ", done.stdout, re.MULTILINE)


def test_standard_library_only():
    command = [sys.executable, "-S", "-c", "import build, tools.demo"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stderr == ""


# Programs


def test_run_says_what_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(shell, "LOG", ROOT / ".cache" / "test-failure.log")
    command = [sys.executable, "-c", "import sys; print('noise'); sys.exit('ERROR: no such thing.')"]
    with pytest.raises(Failure, match=r"^Could not do it: no such thing\. Do that\. \(All it said: "):
        shell.run(command, "do it", "Do that.")
    assert "noise" in shell.LOG.read_text()
    shell.LOG.unlink()


def test_run_says_what_does_not_start():
    with pytest.raises(Failure, match="/no/such/program does not start"):
        shell.run(["/no/such/program"], "do it", "Do that.")


def test_a_missing_program_where_nothing_may_be_installed(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(shell, "_root_prefix", lambda: None)
    with pytest.raises(Failure, match=r"^npm was not found, .* without root on Debian\. Install Node\.js\.$"):
        shell.find_program("npm", "npm", "Install Node.js.")


@pytest.mark.parametrize(("code", "status"), [("", 0), ("raise SystemExit(3)", 3)])
def test_status_of_a_run(code, status, monkeypatch):
    monkeypatch.setattr(environment, "python_path", lambda: sys.executable)
    assert build.in_venv("-c", code) == status


def test_a_killed_run_is_told(monkeypatch):
    monkeypatch.setattr(environment, "python_path", lambda: sys.executable)
    with pytest.raises(Failure, match=r"was ended by signal 9 from outside\. Run this again\."):
        build.in_venv("-c", "import os; os.kill(os.getpid(), 9)")


def test_chromium_by_environment(tmp_path, monkeypatch):
    program = tmp_path / "mine"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("CHROMIUM", str(program))
    assert chromium.find() == program
    program.unlink()
    with pytest.raises(Failure, match=r"CHROMIUM names .*mine, which is no program"):
        chromium.find()


def test_no_chromium_and_no_right_to_install(monkeypatch):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(chromium, "_PLACES", ())
    monkeypatch.setattr(shell, "_root_prefix", lambda: None)
    with pytest.raises(Failure, match=r"^No Chromium or Chrome was found, .*apt-get install chromium"):
        chromium.ensure()


def test_switches_follow_the_machine(monkeypatch):
    software = "--use-webgpu-adapter=swiftshader"
    monkeypatch.setattr(chromium, "has_gpu", lambda: False)
    assert software in chromium.switches()
    assert software not in chromium.switches("default")
    monkeypatch.setattr(chromium, "has_gpu", lambda: True)
    assert software not in chromium.switches()
    assert software in chromium.switches("swiftshader")


# The lock


def package(tmp_path: Path, kind: str, path: str, data: bytes = b"content") -> tuple[assets.Package, Path]:
    """A package of one file, and its archive."""
    archive = tmp_path / ("a.whl" if kind == "pypi" else "a.tgz")
    if kind == "pypi":
        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.writestr("a/b.txt", data)
    else:
        with tarfile.open(archive, "w:gz") as tar:
            for name in ("package/a/b.txt", "package/../../outside.txt"):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    whole = archive.read_bytes()
    held = whole if path == "." else data
    file = assets.File(path, "to/b.txt", len(held), hashlib.sha256(held).hexdigest())
    return assets.Package(kind, "a", "1", "g", len(whole), hashlib.sha256(whole).hexdigest(), (file,)), archive


@pytest.mark.parametrize(("kind", "path"), [("pypi", "a/b.txt"), ("npm", "package/a/b.txt"), ("pypi", ".")])
def test_unpack(tmp_path, kind, path):
    one, archive = package(tmp_path, kind, path)
    folder = tmp_path / "folder"
    assert not assets.is_there(one, folder)
    assets.unpack(one, archive, folder)
    assert assets.is_there(one, folder)
    assert hashlib.sha256((folder / "to/b.txt").read_bytes()).hexdigest() == one.files[0].sha256
    assert not assets.is_there(replace(one, version="2"), folder)
    (folder / "to/b.txt").write_bytes(b"short")
    assert not assets.is_there(one, folder)


def test_unpack_a_whole_archive_stays_inside(tmp_path):
    one, archive = package(tmp_path, "npm", "*")
    assets.unpack(one, archive, tmp_path / "folder")
    assert (tmp_path / "folder" / "to/b.txt" / "a/b.txt").read_bytes() == b"content"
    assert not list(tmp_path.rglob("outside.txt"))


def test_another_content_is_refused(tmp_path):
    one, archive = package(tmp_path, "pypi", "a/b.txt")
    other = replace(one, files=(replace(one.files[0], sha256="0" * 64),))
    with pytest.raises(Failure, match=r"a/b\.txt of a is not what assets\.json locks: wanted 7 bytes with sha256 0000"):
        assets.unpack(other, archive, tmp_path / "folder")
    assert not (tmp_path / "folder" / "to/b.txt").exists()
    assert not assets.is_there(other, tmp_path / "folder")


def test_another_archive_is_refused(tmp_path, monkeypatch):
    one, archive = package(tmp_path, "pypi", "a/b.txt")
    monkeypatch.setattr(assets, "fetch", lambda *_, **__: (tmp_path / "into" / "a.whl").write_bytes(b"other"))
    (tmp_path / "into").mkdir()
    with pytest.raises(Failure, match=r"a 1 is not what assets\.json locks: .*got 5 bytes"):
        assets.download(one, Path(sys.executable), tmp_path / "into")
    assert archive.exists()


def test_every_locked_file_has_a_place_and_a_hash():
    packages = assets.read_lock()
    places = [file.to for one in packages for file in one.files]
    assert len(places) == len(set(places))
    for one in packages:
        assert re.fullmatch("[0-9a-f]{64}", one.sha256)
        for file in one.files:
            assert file.path == "*" or re.fullmatch("[0-9a-f]{64}", file.sha256)


def test_default_model_is_the_one_in_the_facts():
    (model,) = (file for one in assets.read_lock() for file in one.files if file.to.startswith("models/"))
    assert assets.FOLDER / model.to == build.DEFAULT_MODEL
    assert (model.bytes, model.sha256[:8], model.sha256[-4:]) == (98_362_432, "b179c952", "db53")


def test_requirements_are_pinned_and_groups_included():
    found = environment.requirements(["test"])
    assert any(one.startswith("wgpudawn==") for one in found)
    assert all("==" in one for one in found)


# The wheels and the site


def markupsafe(folder: Path) -> Path:
    for name in ("markupsafe/__init__.py", "markupsafe/_native.py", "markupsafe-3.0.4.dist-info/METADATA"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n")
    return folder


def test_pure_markupsafe_is_a_sound_wheel_and_always_the_same(tmp_path):
    first, second = tmp_path / "1.whl", tmp_path / "2.whl"
    site.pure_markupsafe(markupsafe(tmp_path / "a"), first)
    site.pure_markupsafe(markupsafe(tmp_path / "b"), second)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as wheel:
        names = set(wheel.namelist())
        record = wheel.read("markupsafe-3.0.4.dist-info/RECORD").decode().splitlines()
        assert {line.split(",")[0] for line in record} == names
        assert "Tag: py3-none-any" in wheel.read("markupsafe-3.0.4.dist-info/WHEEL").decode()


@pytest.fixture(scope="module")
def dist():
    assert site.wheel_path().is_file(), "run python3 build.py build first"
    return site.DIST


def test_manifest_names_what_is_there(dist):
    manifest = json.loads((dist / "manifest.json").read_text())
    assert set(manifest) == {"pyodide", "packages", "wheels", "tokenizers"}
    for name in (*manifest["wheels"], manifest["tokenizers"], manifest["pyodide"] + "pyodide.mjs"):
        assert (dist / name).is_file()
    lock = json.loads((dist / "pyodide" / "pyodide-lock.json").read_text())["packages"]
    for name in manifest["packages"]:
        wheel = dist / "pyodide" / lock[name]["file_name"]
        assert hashlib.sha256(wheel.read_bytes()).hexdigest() == lock[name]["sha256"]


def test_wheel_carries_all_that_a_page_needs(dist):
    assert site.wheel_path().name == "local_llm-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(site.wheel_path()) as wheel:
        names = set(wheel.namelist())
    scripts = ("web/bridge.js", "web/boot.js", "web/tokenizers.js", "web/vault.js")
    for name in (*scripts, "shaders/rms_norm.wgsl", "shaders/lib/step.wgsl"):
        assert f"local_llm/{name}" in names


# The demo's closing lines


def test_report_says_software_plainly():
    result = {
        "model": "m",
        "adapter": "A",
        "software_adapter": True,
        "prompt_tokens": 5,
        "completion_tokens": 7,
        "time_to_first_token_s": 0.5,
        "tokens_per_second": 3.21,
        "finish_reason": "stop",
    }
    text = demo.report(result)
    assert "m on A (software adapter)" in text
    assert "5 prompt tokens, 7 new tokens, first token after 0.50 s, 3.2 tokens a second, finished: stop" in text
    assert "software" not in demo.report({**result, "software_adapter": False})


def test_progress_is_a_few_lines_where_it_is_kept(capsys):
    progress = demo.Progress()
    for step in range(101):
        progress.show(step / 100, "Loading")
    progress.clear()
    assert capsys.readouterr().err.splitlines() == [
        "    0 %  Loading",
        "   25 %  Loading",
        "   50 %  Loading",
        "   75 %  Loading",
        "  100 %  Loading",
    ]
