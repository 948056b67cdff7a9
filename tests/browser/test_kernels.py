"""The kernel suite inside the page, over browser/device.py in Pyodide: of every test in tests/kernels one shape.

Natively all shapes run, through the same compiler and driver: here it is the host that is tested, and each kernel once
for every storage type and every kind of adapter that its test names.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from importlib import import_module
from pathlib import Path

from tests.browser.harness import ROOT, python

SUITE = ("tests/kernels", "tests/reference", "tests/conftest.py", "tests/__init__.py")
PYTEST = ("pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments")

RUN = """
import json, os, sys
os.chdir("/suite")
sys.path.insert(0, "/suite")
import pytest

class Collector:
    def __init__(self):
        self.passed, self.failed = [], {}

    def pytest_collection_modifyitems(self, items):
        def kind(item):
            params = item.callspec.params if hasattr(item, "callspec") else {}
            kinds = [str(params.get(key)) for key in ("format", "kind", "software")]
            return (item.location[0], item.originalname, *kinds)

        chosen = {}
        for item in items:
            chosen.setdefault(kind(item), item)
        items[:] = list(chosen.values())

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed[report.nodeid] = report.longreprtext
        elif report.when == "call" and report.passed:
            self.passed.append(report.nodeid)

    def pytest_collectreport(self, report):
        if report.failed:
            self.failed[report.nodeid] = report.longreprtext

collector = Collector()
status = pytest.main(
    ["tests/kernels", "-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", "--import-mode=importlib"],
    plugins=[collector],
)
json.dumps({"status": int(status), "passed": collector.passed, "failed": collector.failed})
"""


def bundle() -> bytes:
    """A zip of the suite and of the pure-Python packages that pytest needs."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in SUITE:
            path = ROOT / name
            for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
                zipped.write(file, file.relative_to(ROOT))
        for name in PYTEST:
            module = Path(import_module(name).__file__ or "")
            packed = module.name == "__init__.py"
            for file in sorted(module.parent.rglob("*.py")) if packed else [module]:
                zipped.write(file, file.relative_to(module.parents[packed]))
    return archive.getvalue()


def test_every_kernel_in_the_page(page, server):
    server.files["/suite.zip"] = ("application/zip", bundle())
    page.evaluate(
        """async () => {
            const answer = await fetch("/suite.zip");
            llm.pyodide.unpackArchive(await answer.arrayBuffer(), "zip", { extractDir: "/suite" });
        }"""
    )
    result = json.loads(python(page, RUN))
    for name, text in result["failed"].items():
        print(f"\n==== {name} (in the page)\n{text}", file=sys.stderr)
    assert not result["failed"], (
        f"{len(result['failed'])} failed in the page, the first: {next(iter(result['failed']))}"
    )
    assert result["status"] == 0
    assert len(result["passed"]) > 50
