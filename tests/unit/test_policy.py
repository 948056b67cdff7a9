"""The pages' content-security policy: digests of what is inline, and nothing that would let other scripts in."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from tests.browser.harness import ROOT
from tools.policy import guarded, policy, unguarded

PAGES = ("index.html", "bench.html")


@pytest.mark.parametrize("name", PAGES)
def test_what_is_inline_is_let_in_by_its_digest_only(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    page = guarded(text)
    [found] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    for kind, rule in (("script", "script-src"), ("style", "style-src")):
        own = re.findall(rf"<{kind}(?: type=\"module\")?>(.*?)</{kind}>", text, re.DOTALL)
        digests = {base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in own}
        assert set(re.findall(r"'sha256-([^']*)'", found.split(rule)[1].split(";")[0])) == digests
    assert "unsafe-inline" not in found
    assert "'unsafe-eval'" not in found
    assert unguarded(page) == text
    assert page.index("Content-Security-Policy") < page.index("<title>")


@pytest.mark.parametrize("name", PAGES)
def test_pages_take_scripts_and_styles_from_beside_them(name):
    """So no integrity has to be given for anything: nothing comes from elsewhere."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(?:https?:)?//', text)
    assert not re.findall(r'(?:import|from)\s*\(?\s*"(?:https?:)?//', text)
    assert not re.findall(r"\son\w+=|javascript:", text)


def test_a_page_that_does_not_begin_as_it_must_is_refused():
    with pytest.raises(ValueError, match="charset"):
        guarded("<!doctype html><script>1</script>")


def test_the_policy_lets_no_other_script_in():
    rules = dict(rule.split(" ", 1) for rule in policy("blob:", "'none'").split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["script-src"] == "blob: 'wasm-unsafe-eval'"


@pytest.mark.parametrize("folder", ["py", "web", "tools"])
def test_our_code_makes_no_code_of_texts(folder):
    """`(url) => import(url)` is the one text that does: in a worker without our boot.js there is no other import()."""
    made = re.compile(
        r"\beval\(|\bexec\(|new Function\(|\.innerHTML|outerHTML|insertAdjacentHTML|document\.write|run_js\("
    )
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".js")
        for line in path.read_text(encoding="utf-8").splitlines()
        if made.search(line)
    ]
    allowed = ['bridge.py: return run_js("(url) => import(url)")']
    assert found == (allowed if folder == "py" else [])
