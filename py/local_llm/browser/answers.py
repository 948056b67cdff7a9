"""Requests for the bytes of a file, and what answers say about it. Knows no storage and no model."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import js
from pyodide.ffi import JsException, to_js

from local_llm.browser.bridge import typed
from local_llm.browser.waiting import within
from local_llm.errors import DownloadFailed
from local_llm.transfer import RETRIED, Identity, Patience, digest_of, retry_after, start_of, total_of

REMEDY = "Check the address in another tab; the server must allow this page to read it (CORS)."
_WRONG = "Check the address: it must be that of the file itself, not of a page about it."
_READABLE = ("etag", "last-modified", "content-range", "content-length", "content-encoding", "content-type")
_HEADERS = (*_READABLE, "retry-after", "x-linked-etag", "repr-digest")
T = TypeVar("T")


class Broken(Exception):
    """A request failed in a way that another try may mend. asked: seconds that the server wants us to wait.

    unheard: the browser says nothing of an answer.
    """

    def __init__(self, why: str, asked: float | None = None, unheard: bool = False) -> None:
        super().__init__(why)
        self.asked = asked
        self.unheard = unheard


@dataclass(frozen=True)
class Answer:
    """status: 200 or 206. end() breaks it off."""

    status: int
    headers: dict[str, str]
    body: Any
    end: Callable[[], Any]

    @property
    def begins_at(self) -> int | None:
        """The first byte of the body in the file; None where the server hides it."""
        return start_of(self.headers["content-range"]) if self.status == 206 else 0


@dataclass(frozen=True)
class Facts:
    """What a server says of a file. identity: None where it does not tell the size. ranges: it serves parts."""

    identity: Identity | None
    ranges: bool


async def ask(url: str, patience: Patience, start: int | None = None, stop: int = 0, method: str = "GET") -> Answer:
    """Request bytes [start, stop), or all. Raises Broken, and DownloadFailed where it is of no use to try again."""
    control = js.AbortController.new()
    wanted = {} if start is None else {"Range": f"bytes={start}-{stop - 1}"}
    options = {"headers": wanted, "method": method, "cache": "no-store", "signal": control.signal}
    pending = asyncio.ensure_future(js.fetch(url, to_js(options, dict_converter=js.Object.fromEntries)))
    try:
        done, _ = await asyncio.wait([pending], timeout=patience.stall_seconds)
    except asyncio.CancelledError:
        done = set()
        raise
    finally:
        if not done:
            control.abort()
            pending.add_done_callback(lambda task: task.cancelled() or task.exception())
    if not done:
        raise Broken(f"no answer within {patience.stall_seconds:g} seconds")
    try:
        response = pending.result()
    except JsException as error:
        ours = typed(error, f"Wanted a model file at {url}")  # the single file says so what it does not hold
        if isinstance(ours, DownloadFailed):
            ours.absent = True
        if ours is not error:
            raise ours from None
        raise Broken(f"the request failed ({error})", unheard=True) from None
    headers = {name: str(response.headers.get(name) or "") for name in _HEADERS}
    answer = Answer(int(response.status), headers, response.body, control.abort)
    try:
        _accept(url, answer)
    except BaseException:
        answer.end()
        raise
    return answer


def _accept(url: str, answer: Answer) -> None:
    if answer.status in RETRIED:
        asked = retry_after(answer.headers["retry-after"], time.time())
        raise Broken(f"the server answered {answer.status}", asked)
    if answer.status not in (200, 206):
        gone = 400 <= answer.status < 500
        text = f"Wanted a file at {url}; the server answered {answer.status}."
        raise DownloadFailed(text, remedy=_WRONG, absent=gone)
    if answer.headers["content-type"].startswith("text/html"):
        raise DownloadFailed(f"Wanted a model file at {url}; found an HTML page.", remedy=_WRONG, absent=True)


async def patiently(url: str, patience: Patience, work: Callable[[], Awaitable[T]]) -> T:
    """The first request for a file, tried again while it is Broken. Raises DownloadFailed."""
    failures = 0
    while True:
        try:
            return await work()
        except Broken as broken:
            failures += 1
            if failures >= patience.opening:
                text, hidden = (
                    f"Wanted a model file at {url}; {broken}.",
                    broken.unheard and await _hides(url, patience),
                )
                if hidden:  # it is there for others, or the server's "not found" lacks the header that lets us read it
                    text = f"Wanted a model file at {url}; its server answers, but does not let this page read that."
                raise DownloadFailed(text, remedy=REMEDY, absent=hidden) from None
            await asyncio.sleep(patience.pause(failures, broken.asked, random.random()))


async def _hides(url: str, patience: Patience) -> bool:
    """Whether a server of another origin answers, and only not to this page."""
    if js.URL.new(url, js.location.href).origin == js.location.origin:
        return False
    options = {"method": "HEAD", "mode": "no-cors", "cache": "no-store"}
    try:
        pending = js.fetch(url, to_js(options, dict_converter=js.Object.fromEntries))
        await within(pending, patience.stall_seconds)
    except (JsException, TimeoutError):
        return False
    return True


async def probe(url: str, patience: Patience) -> Facts:
    """What the server says of the file, from a request for its first byte. Raises DownloadFailed."""

    async def work() -> Facts:
        answer = await ask(url, patience, 0, 1)
        answer.end()
        size = total_of(answer.headers["content-range"])
        if answer.status == 200:
            length = answer.headers["content-length"]
            size = int(length) if length.isdigit() and not answer.headers["content-encoding"] else None
        elif size is None:  # other origins show no Content-Range
            head = await ask(url, patience, method="HEAD")
            size = int(head.headers["content-length"] or 0) or None
        return Facts(None if size is None else identity_of(answer, size), answer.status == 206)

    return await patiently(url, patience, work)


async def whole(url: str, patience: Patience) -> Any:
    """The file as a Blob in the browser's blob store, for servers that serve no parts. Raises DownloadFailed."""

    async def work() -> Any:
        answer = await ask(url, patience)
        try:
            return await js.Response.new(answer.body).blob()
        except JsException as error:
            raise Broken(f"the connection broke ({error})") from None

    return await patiently(url, patience, work)


def identity_of(answer: Answer, size: int) -> Identity:
    """Of the file that an answer is about."""
    headers = answer.headers
    return Identity(size, headers["etag"], headers["last-modified"], digest_of(headers))
