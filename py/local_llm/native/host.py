"""The ports of CPython, in one place. Knows no models."""

from __future__ import annotations

import time

from local_llm.gpu.ports import Host
from local_llm.native.cache import cached_opener
from local_llm.native.device import open_device
from local_llm.native.folders import cache_folder
from local_llm.native.store import open_store
from local_llm.native.tokenizer import open_tokenizer


def host() -> Host:
    return Host(open_device, cached_opener(cache_folder()), open_tokenizer, open_store(), time.monotonic)
