# The page's global scope, known only in the page: anything may be there.
from typing import Any

def __getattr__(name: str) -> Any: ...
