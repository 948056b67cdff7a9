"""What the fuzzing tests share: how long they go on, and what one example may take. Knows no format.

A soak keeps the example that it is at in .cache/fuzz/, and those that failed: native code can end the whole process.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from local_llm.errors import LocalLLMError

CONSTANT = 12 << 20  # bytes beside those of the files: the tokenizer's tables, jinja2's compiler
SMALL = 1 << 20  # bytes of files that take no more than that; larger ones take what docs/architecture.md allows
MOST = 96 << 20
BESIDE = 96 << 20  # bytes that any file, however large, may take beside its own: docs/architecture.md
SLOW = 5.0  # seconds of a processor for one of them; some hundredths are usual
SOAK_SECONDS = 1800  # of all fuzzing tests together; LOCAL_LLM_FUZZ_SECONDS says otherwise


class Hung(BaseException):
    """No Exception, so that nothing that is tried can swallow it."""


def seconds_each(request: Any) -> float:
    """How long each fuzzing test of this run may go on; 0: a few examples, always the same ones."""
    told = os.environ.get("LOCAL_LLM_FUZZ_SECONDS")
    if not told and not request.config.getoption("--soak"):
        return 0.0
    tests = sum(getattr(item.obj, "__fuzzing__", False) for item in request.session.items)
    return float(told or SOAK_SECONDS) / max(tests, 1)


def fuzzing(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test that shares the time there is."""
    test.__fuzzing__ = True  # type: ignore[attr-defined]
    return test


def explore(request: Any, examples: int, strategy: Any, one: Callable[[Any], None]) -> None:
    """one(example) for so many examples, or as many as its time allows."""
    seconds = seconds_each(request)
    kept = request.config.rootpath / ".cache" / "fuzz" / f"{request.node.name}.txt"
    tried = keeping(kept, one) if seconds else one

    @settings(
        max_examples=200 if seconds else examples,
        deadline=None,
        database=None,
        derandomize=not seconds,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    @given(strategy)
    def run(example: Any) -> None:
        tried(example)

    end, rounds = time.monotonic() + seconds, 0
    while not rounds or time.monotonic() < end:
        run()
        rounds += 1
    if seconds:
        print(f"{request.node.name}: {200 * rounds} examples in {seconds:.0f} s")


def keeping(path: Path, one: Callable[[Any], None]) -> Callable[[Any], None]:
    """one, with its example in `path` until it is through; where it fails, both stay as NAME.failed."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def run(example: Any) -> None:
        path.write_text(f"{example!r}\n", "utf-8")
        try:
            one(example)
        except BaseException:
            path.write_text(f"{example!r}\n{traceback.format_exc()}", "utf-8", "backslashreplace")
            path.replace(path.with_suffix(".failed"))
            raise
        path.unlink()

    return run


def allowed(nbytes: int) -> int:
    """Bytes that reading so many bytes of files may take."""
    return nbytes + (CONSTANT if nbytes <= SMALL else MOST)


@contextmanager
def bounded(nbytes: int, of: type[LocalLLMError] | None = None) -> Iterator[None]:
    """What is done in here ends well or in a typed error, soon, with so many more bytes at the most.

    of: the error that it must end in.
    """

    late: list[int] = []

    def hung(number: int, frame: Any) -> None:
        late.append(number)
        raise Hung(f"still at it after {SLOW} seconds")

    before = signal.signal(signal.SIGPROF, hung)
    signal.setitimer(signal.ITIMER_PROF, SLOW, SLOW)
    tracemalloc.start()
    try:
        with pytest.raises(of) if of else suppress(LocalLLMError):
            yield
        peak = tracemalloc.get_traced_memory()[1]
        assert peak < nbytes, f"{peak} bytes at once; {nbytes} were allowed"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        tracemalloc.stop()
    if late:  # in a destructor or a callback no exception goes further
        raise Hung(f"was told {len(late)} times to end")
