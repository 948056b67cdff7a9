"""Fuzzing that sees which code it reaches (atheris), in --soak; otherwise each target once with what it begins with.

atheris has wheels for CPython on Linux only, and slows down what it watches: it is not part of the usual tests.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.browser.harness import ROOT
from tests.unit.fuzzing import fuzzing, seconds_each
from tests.unit.targets import TARGETS, sound, tried


@fuzzing
@pytest.mark.parametrize("name", TARGETS)
def test_code_that_is_reached_ends_well(request, name, tmp_path):
    data = sound(name, tmp_path)
    TARGETS[name](data)  # raises nothing
    for stop in range(0, len(data), len(data) // 20):
        tried(name, data[:stop])
    seconds = round(seconds_each(request))
    if not seconds:
        return
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "sound").write_bytes(data)
    words = [sys.executable, "-m", "tests.unit.guided", name, str(folder), str(seconds)]
    paths = [str(ROOT), *([str(ROOT / "py")] if "PYTHONPATH" in os.environ else [])]
    ended = subprocess.run(
        words, cwd=ROOT, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, capture_output=True, text=True
    )
    print(name, ended.stderr.strip().splitlines()[-1:])
    assert ended.returncode == 0, f"{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
