"""A stranger with a terminal: build.py demo answers from a real Chromium page and fails in one sentence.

Once set up it needs no network: every run here would fail to download.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from local_llm import LocalLLM
from tests.model.tiny import write_tiny_gguf
from tools import chromium
from tools.shell import ROOT

OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "npm_config_offline": "true"}
FIELDS = {
    "text": str,
    "token_ids": list,
    "prompt_tokens": int,
    "completion_tokens": int,
    "time_to_first_token_s": float,
    "tokens_per_second": float,
    "adapter": str,
    "software_adapter": bool,
    "model": str,
    "finish_reason": str,
}


def demo(*words, **env):
    command = [sys.executable, "build.py", "demo", *map(str, words)]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **OFFLINE, **env}, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_gguf(tmp_path_factory.mktemp("models") / "tiny é.gguf").path


def test_a_question_is_answered():
    done = demo("Why is the sky blue?", "--max-tokens", 12)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 5
    assert "100 %  Ready" in done.stderr
    assert "36 prompt tokens, 12 new tokens, first token after " in done.stderr
    assert ("(software adapter)" in done.stderr) == (not chromium.has_gpu())


async def test_json_says_what_the_same_python_says_natively(tiny):
    done = demo("the sea and the sea", "--raw", "--json", "--model", tiny, "--max-tokens", 8)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {name: type(value) for name, value in found.items()} == FIELDS
    llm = LocalLLM()
    await llm.init(str(tiny))
    expected = await llm.complete("the sea and the sea", max_tokens=8)
    await llm.unload()
    assert found["token_ids"] == list(expected.token_ids)
    assert (found["text"], found["completion_tokens"]) == (expected.text, expected.usage.completion_tokens)


def test_a_conversation_with_a_seed_repeats_itself(tiny, tmp_path):
    path = tmp_path / "messages.json"
    path.write_text(json.dumps([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi 🙂"}]))
    words = ["--messages", path, "--model", tiny, "--temperature", 1.5, "--max-tokens", 12, "--json", "--seed"]
    runs = [demo(*words, seed) for seed in (1, 1, 2)]
    assert [done.returncode for done in runs] == [0, 0, 0], runs[0].stderr
    first, again, other = (json.loads(done.stdout)["token_ids"] for done in runs)
    assert first == again != other


def test_a_broken_file_is_one_sentence(tmp_path):
    path = tmp_path / "page.gguf"
    path.write_text("<!doctype html>")
    done = demo("x", "--model", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("error: CorruptModel: ")


def test_a_browser_without_webgpu_is_one_sentence(tiny, tmp_path):
    program = tmp_path / "chromium"
    real = os.environ.get("CHROMIUM") or shutil.which("chromium")
    program.write_text(
        "#!/bin/bash\nwanted=()\n"
        'for word in "$@"; do [[ $word == *webgpu* ]] || wanted+=("$word"); done\n'
        f'exec "{real}" "${{wanted[@]}}" --disable-features=WebGPU,WebGPUService\n'
    )
    program.chmod(0o755)
    done = demo("x", "--model", tiny, CHROMIUM=str(program))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("error: WebGPUUnavailable: ")
