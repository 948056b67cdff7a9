"""Coverage-guided fuzzing of one target, in a process of its own: python -m tests.unit.guided TARGET FOLDER SECONDS.

atheris changes bytes where that leads to code that was not reached before. FOLDER holds what it begins with.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any


def main() -> None:
    """Ends with status 0 where nothing was found; otherwise FOLDER has what did it."""
    name, folder, seconds = sys.argv[1:]
    atheris: Any = import_module("atheris")  # pyproject.toml's group `soak`, on Linux
    with atheris.instrument_imports(include=["local_llm", "jinja2"]):
        from local_llm.text import allowance
        from tests.unit.targets import tried
    allowance.SECONDS = 0.5
    flags = [f"-max_total_time={seconds}", f"-artifact_prefix={folder}/", "-max_len=65536", "-timeout=30"]
    atheris.Setup([sys.argv[0], folder, *flags], lambda data: tried(name, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
