"""The content-security policy of the pages: scripts of the site only, bytes from wherever a person asks for them.

Inline scripts and styles are let in by their digests, so that nothing else inline can run. Knows no page.
"""

from __future__ import annotations

import base64
import hashlib
import re

_SCRIPT = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)
_STYLE = re.compile(r"<style[^>]*>(.*?)</style>", re.DOTALL)
_META = '<meta http-equiv="Content-Security-Policy" content="{}">'
_FOUND = re.compile(r"\s*" + re.escape(_META).replace(r"\{\}", '[^"]*'))
_AFTER = '<meta charset="utf-8">'


def policy(scripts: str, styles: str) -> str:
    """One policy. Models come from any address that a person gives; nothing else leaves the site."""
    rules = {
        "default-src": "'none'",
        "script-src": f"{scripts} 'wasm-unsafe-eval'",
        "style-src": styles,
        "img-src": "'self' data:",
        "connect-src": "'self' blob: data: http: https:",
        "worker-src": "'self' blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def guarded(page: str) -> str:
    """A page with its policy, right after the character set. Raises ValueError where that is not told first."""
    if page.count(_AFTER) != 1:
        raise ValueError(f"a page must have one {_AFTER}, so that its policy can follow")
    scripts = " ".join(["'self'", *map(_digest, _SCRIPT.findall(page))])
    styles = " ".join(["'self'", *map(_digest, _STYLE.findall(page))])
    return page.replace(_AFTER, f"{_AFTER}\n    {_META.format(policy(scripts, styles))}")


def unguarded(page: str) -> str:
    """The page without its policy."""
    return _FOUND.sub("", page)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
