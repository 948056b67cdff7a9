"""The layers of docs/architecture.md, the lengths of files, and no registry's host: read from the sources themselves.

Every rule is a function from text to complaints, and each is first shown to complain.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "py" / "local_llm"
LEVELS = {
    "errors": 0,
    "gpu": 1,
    "formats": 1,
    "ops": 2,
    "models": 3,
    "generate": 4,
    "text": 4,
    # the product: everything not named here
    "browser": 6,
    "native": 6,
    "entry": 6,  # picks the host
    "": 8,  # local_llm itself, the door
}
PRODUCT = 5
STRANGERS = [{"generate", "text"}, {"browser", "native"}]
ONLY_UNDER = {
    "js": "browser",
    "pyodide": "browser",
    "pyodide_js": "browser",
    "_pyodide": "browser",
    "micropip": "browser",
    "local_llm_bridge": "browser",
    "wgpudawn": "native",
    "wgpu": "native",
    "tokenizers": "native",
}
HOSTS = ["pypi." + "org", "files.python" + "hosted.org", "registry." + "npmjs", "npmjs." + "com", "deb." + "debian.org"]


def layer_of(module: str) -> str:
    """The first part below local_llm: "gpu", "runtime", or "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def level_of(module: str) -> int:
    return LEVELS.get(layer_of(module), PRODUCT)


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Names of modules that any statement imports, wherever it stands; also through import_module("…")."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".") if is_package else module.split(".")[:-1]
                base = ".".join([*above[: len(above) - node.level + 1], *([base] if base else [])])
            if base == "local_llm":
                yield from (f"local_llm.{alias.name}" for alias in node.names)
            else:
                yield base
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value


def complaints(text: str, module: str, is_package: bool = False) -> list[str]:
    """What the source text of a module imports against the rule."""
    allowed = {"numpy", "jinja2", "markdown_it", "__future__", *sys.stdlib_module_names}
    layer = layer_of(module)
    found = []
    for name in imported(ast.parse(text), module, is_package):
        top = name.split(".")[0]
        if top == "local_llm":
            other = layer_of(name)
            if level_of(name) > level_of(module):
                found.append(f"{module} imports {name}, which lies above it")
            elif layer != other and any({layer, other} == pair for pair in STRANGERS):
                found.append(f"{module} imports {name}: {layer}/ and {other}/ do not know each other")
        elif top in ONLY_UNDER:
            if layer != ONLY_UNDER[top]:
                found.append(f"{module} imports {name}, which is known under {ONLY_UNDER[top]}/ only")
        elif top not in allowed:
            found.append(f"{module} imports {name}, which the wheel does not depend on")
    return found


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("local_llm.gpu.plan", "from local_llm.models.llama import x"),
        ("local_llm.gpu.plan", "def f():\n    from local_llm import runtime"),
        ("local_llm.ops.linear", "from ..models import llama"),
        ("local_llm.errors", "import local_llm.gpu.ports"),
        ("local_llm.models.llama", "from local_llm.state import State"),
        ("local_llm.models.llama", "from local_llm import LocalLLM"),
        ("local_llm.generate.engine", "from local_llm.text.stops import x"),
        ("local_llm.text.stops", "from local_llm.generate import engine"),
        ("local_llm.browser.device", "from local_llm.native.device import open_device"),
        ("local_llm.runtime", "import local_llm.browser.boot"),
        ("local_llm.runtime", "def f():\n    import js"),
        ("local_llm.runtime", "from pyodide.ffi import to_js"),
        ("local_llm.native.cli", "import js"),
        ("local_llm.browser.device", "import wgpudawn"),
        ("local_llm.gpu.plan", "import importlib\nimportlib.import_module('wgpudawn')"),
        ("local_llm.formats.gguf", "import gguf"),
        ("local_llm.runtime", "import torch"),
    ],
)
def test_rule_complains(module, text):
    assert complaints(text, module)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("local_llm.formats.gguf", "from local_llm.gpu.ports import Blobs\nimport struct"),
        ("local_llm.models.llama", "from local_llm.ops import linear\nfrom local_llm.errors import CorruptModel"),
        ("local_llm.text.chat_template", "def f():\n    import jinja2.sandbox"),
        ("local_llm.browser.boot", "import js\nfrom pyodide.ffi import to_js\nfrom local_llm.runtime import LocalLLM"),
        ("local_llm.native.device", "def f():\n    import wgpudawn as wgpu"),
        ("local_llm.ops.linear", "from . import shared\nfrom ..gpu import kernel"),
    ],
)
def test_rule_is_silent(module, text):
    assert complaints(text, module) == []


def test_imports_go_down_only():
    sources = sorted(PACKAGE.rglob("*.py"))
    assert len(sources) > 20
    found = []
    for path in sources:
        found += complaints(path.read_text(encoding="utf-8"), module_name(path), path.name == "__init__.py")
    assert not found, "\n".join(found)


def test_declared_dependencies_are_the_allowed_ones():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert sorted(name.split(">")[0] for name in declared) == ["jinja2", "markdown-it-py", "numpy"]


def tracked() -> list[Path]:
    """Every file that git tracks or would, and that is there; without git, what is not hidden or built."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive
        built = {
            ".venv",
            ".cache",
            ".git",
            ".gpu",
            "dist",
            "__pycache__",
            "node_modules",
            ".pytest_cache",
            ".ruff_cache",
        }
        return [path for path in ROOT.rglob("*") if path.is_file() and not built & set(path.relative_to(ROOT).parts)]
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def line_count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_files_stay_short():
    limits = {".py": 400, ".wgsl": 200}
    long = [
        f"{path.relative_to(ROOT)} has {line_count(path)} lines, the limit is {limits[path.suffix]}"
        for path in tracked()
        if path.suffix in limits and line_count(path) > limits[path.suffix]
    ]
    assert not long, "\n".join(long)


def test_web_stays_short():
    lines = {path.name: line_count(path) for path in tracked() if path.parent == ROOT / "web"}
    assert {"boot.js", "bridge.js"} <= set(lines)
    assert sum(lines.values()) <= 400, lines


def hosts_in(data: bytes) -> list[str]:
    """Package registries' hosts named in a file."""
    text = data.lower()
    return [host for host in HOSTS if host.encode() in text]


@pytest.mark.parametrize("host", HOSTS)
def test_a_registry_host_is_noticed(host):
    assert hosts_in(f"see https://{host.upper()}/x".encode()) == [host]


def test_no_registry_host_is_named():
    found = [f"{path.relative_to(ROOT)} names {host}" for path in tracked() for host in hosts_in(path.read_bytes())]
    assert not found, "\n".join(found)


def kept_module_state(text: str) -> list[str]:
    """Names rebound with `global`: state that two LocalLLM would share."""
    return [name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Global) for name in node.names]


def test_no_module_state():
    assert kept_module_state("x = 0\ndef f():\n    global x\n    x = 1") == ["x"]
    found = {module_name(path): kept_module_state(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
    assert {module: names for module, names in found.items() if names} == {}


def test_every_module_says_what_it_is():
    silent = []
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if tree.body and not ast.get_docstring(tree):
            silent.append(module_name(path))
    assert not silent
