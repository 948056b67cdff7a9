"""Vocabularies and the catalogue in the page's own Python, under Node: the same bytes as in CPython.

WebAssembly has 32-bit addresses, so numpy's index type is another there; nothing here needs a browser.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from local_llm.catalog import built_in
from local_llm.text.definition import tokenizer_json
from local_llm.text.folder import TokenizerFiles, read_folder
from tests.model.conftest import ASSETS, ROOT
from tests.unit.golden_tokenizers import golden, metadata_of
from tests.unit.test_folder import BUILDERS, original

SCRIPT = Path(__file__).with_name("pyodide_words.mjs")


def plain(value: Any) -> Any:
    return {"dtype": str(value.dtype), "values": value.tolist()} if isinstance(value, np.ndarray) else value


def test_the_pages_python_makes_the_same_definitions():
    job = {
        "gguf": {kind: {key: plain(value) for key, value in metadata_of(kind).items()} for kind in golden()},
        "folders": {kind: original(kind).to_str() for kind in BUILDERS},
    }
    command = ["node", SCRIPT, ASSETS / "pyodide", ROOT / "py"]
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    made = {kind: tokenizer_json(metadata_of(kind), kind) for kind in golden()}
    made |= {kind: read_folder(kind, TokenizerFiles(text.encode()))[1] for kind, text in job["folders"].items()}
    made["catalogue"] = json.dumps([entry.description for entry in built_in().entries]).encode()
    assert json.loads(done.stdout) == {kind: hashlib.sha256(one).hexdigest() for kind, one in made.items()}
