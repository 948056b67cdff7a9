"""Puts the built site into one HTML file that opens from disk, without a server; tools/onefile.js reads it there.

Knows which files a site has; does not know what they do.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

from tools.policy import policy, unguarded
from tools.shell import Failure

NAME = "local-llm.html"
BASE = "https://local-llm.invalid/"  # a top-level domain that is reserved: nothing can answer there
LOADER = Path(__file__).with_suffix(".js")
_STYLE = re.compile(r'<link rel="stylesheet" href="([^":]+)">')
_MODULE = re.compile(r'<script type="module"(?: src="([^":]+)")?>(.*?)</script>', re.DOTALL)
_OUTSIDE = re.compile(r'(?<!<a )\b(?:src|href)="(?!data:|#)([^"]+)"')  # a person may follow a link
_IMPORT = re.compile(r'"\./([\w.-]+\.js)"')
_OWN = "tokenizers"  # the wheel carries it too


def write(site: Path) -> Path:
    """Make local-llm.html of the other files of the site. Raises Failure where the page asks for something else."""
    page = unguarded((site / "index.html").read_text(encoding="utf-8"))
    page = _STYLE.sub(lambda found: f"<style>\n{(site / found[1]).read_text(encoding='utf-8')}</style>", page)
    page = _MODULE.sub(lambda found: _held_back(found[1], found[2]), page)
    outside = _OUTSIDE.findall(page)
    if outside or "</body>" not in page:
        raise Failure(
            f"{NAME} wants all of index.html in it; found no way for {', '.join(outside) or 'a page without </body>'}. "
            "Teach tools/onefile.py to put that in."
        )
    blocks = [f'<script type="text/plain" data-file="{name}">{_packed(data)}</script>' for name, data in _files(site)]
    loader = LOADER.read_text(encoding="utf-8").replace("$BASE", BASE).replace("$POLICY", policy("blob:", "'none'"))
    before, after = page.rsplit("</body>", 1)
    path = site / NAME
    end = "\n".join([*blocks, f"<script>\n{loader}</script>", "</body>"])
    path.write_text(before + end + after, encoding="utf-8")
    return path


def _held_back(source: str | None, text: str) -> str:
    """A module of the page, to be run by the loader once its imports can be found."""
    code = f'import "{BASE}{source}";' if source else _located(text)
    return f'<script type="text/plain" data-module>{code}</script>'


def _located(code: str, name: str = "index.html") -> str:
    """A module of ours with full addresses: a blob has no neighbours."""
    return _IMPORT.sub(rf'"{BASE}\1"', code).replace("import.meta.url", f'"{BASE}{name}"')


def _files(site: Path) -> Iterator[tuple[str, bytes]]:
    manifest = json.loads((site / "manifest.json").read_text(encoding="utf-8"))
    left_out = manifest.pop(_OWN)
    yield "manifest.json", json.dumps(manifest).encode()
    for path in sorted(site.glob("*.js")):
        if path.name != left_out:
            yield path.name, _located(path.read_text(encoding="utf-8"), path.name).encode()
    for folder in ("pyodide", "wheels"):
        for path in sorted((site / folder).iterdir()):
            yield f"{folder}/{path.name}", path.read_bytes()


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, mtime=0)).decode()
