# Pyodide is there in the page only; its own types are not on PyPI for this version.
from typing import Any

def __getattr__(name: str) -> Any: ...
