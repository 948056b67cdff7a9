"""The worker of web/vault.js: files and digests off the page's main thread. Knows no model and no URL."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import js
from pyodide.ffi import JsException, create_proxy, to_js

from local_llm.browser.bridge import packaged_url, site_url
from local_llm.browser.waiting import within

MISSING = ("NotFoundError", "NotReadableError")  # errors of a file that is not there, or was replaced meanwhile
_PATIENCE = 10.0  # seconds until a worker must have said that it is there


class Refused(Exception):
    """What the browser did not do, by the name of its error."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


class Vault:
    """One worker. `ask` may be called again before it has answered."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._asked: dict[int, asyncio.Future[Any]] = {0: asyncio.get_running_loop().create_future()}
        self._last = 0
        self.alive = True
        self._proxies = [create_proxy(self._heard), create_proxy(self._failed)]
        worker.onmessage, worker.onerror = self._proxies

    async def there(self) -> bool:
        """Whether it runs: a page's policy may forbid it."""
        try:
            await within(asyncio.shield(self._asked[0]), _PATIENCE)
            return True
        except (Refused, TimeoutError):
            self.end()
            return False

    async def ask(self, verb: str, *given: Any, hand_over: Any = None) -> Any:
        """What the verb answers. hand_over: an array, the last argument, which is the worker's from now on.

        Raises Refused.
        """
        if not self.alive:  # nothing would answer
            raise Refused("WorkerError", "it was ended")
        self._last += 1
        answer = self._asked[self._last] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        message = [self._last, verb, *given, *([] if hand_over is None else [hand_over])]
        self._worker.postMessage(to_js(message), to_js([] if hand_over is None else [hand_over.buffer]))
        return await asyncio.shield(answer)

    async def retire(self) -> None:
        """Finish what was asked, then end: half a write would be worth nothing."""
        while waiting := [answer for number, answer in self._asked.items() if number and not answer.done()]:
            await asyncio.wait(waiting)
        self.end()

    def end(self) -> None:
        """Whatever it does, it stops."""
        self._failed(None)
        self._worker.terminate()
        self._worker.onmessage = self._worker.onerror = None
        for proxy in self._proxies:
            proxy.destroy()
        self._proxies = []

    def _heard(self, event: Any) -> None:
        number, value, name, message = (*event.data, None, None, None)[:4]
        answer = self._asked.pop(int(number), None) if number else self._asked[0]
        if answer is None or answer.done():
            return
        if name:
            answer.set_exception(Refused(str(name), str(message)))
        else:
            answer.set_result(value)

    def _failed(self, event: Any) -> None:
        self.alive = False
        reason = str(getattr(event, "message", "") or "it was ended")
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(Refused("WorkerError", reason))


async def open_vault() -> Vault | None:
    """A worker of its own; None where the page may have none."""
    for find in (site_url, packaged_url):
        address = find("vault.js")
        if address is None:
            continue
        try:
            vault = Vault(js.Worker.new(address))
        except (JsException, AttributeError):  # there are no workers here
            continue
        there = await vault.there()
        js.URL.revokeObjectURL(address)
        if there:
            return vault
    return None


class Shared:
    """One worker for many, opened when it is first needed, and again after it died."""

    def __init__(self) -> None:
        self._opening: asyncio.Task[Vault | None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    async def get(self) -> Vault | None:
        """None where the page may have no worker."""
        return await asyncio.shield(self.begin())

    def begin(self) -> asyncio.Task[Vault | None]:
        """Open it, unless it is there or on its way."""
        if self._opening is not None and self._opening.done():
            vault = self._opening.result()
            if vault is not None and not vault.alive:
                self._opening = None
        if self._opening is None:
            self._opening = asyncio.ensure_future(open_vault())
        return self._opening

    def rest(self) -> None:
        """End the worker when it has done what it was asked."""
        opening, self._opening = self._opening, None
        if opening is not None:
            task = asyncio.ensure_future(_retired(opening))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)


async def _retired(opening: asyncio.Task[Vault | None]) -> None:
    """A worker that is perhaps still on its way is there, and has ended."""
    vault = await opening
    if vault is not None:
        await vault.retire()


class WholeDigest:
    """The sha256 of bytes that come in order, computed beside the page where that can be, else by Python."""

    def __init__(self) -> None:
        self._vault: Vault | None = None
        self._python = hashlib.sha256()

    async def begin(self) -> None:
        self._vault = await open_vault()

    async def add_file(self, path: str, name: str) -> bool:
        """Add a chunk of the private file system; False where it is not what its name says. Needs `off_thread`."""
        assert self._vault is not None
        try:
            return bool(await self._vault.ask("add", path, name))
        except Refused as failure:
            if failure.name in MISSING:
                return False
            raise

    async def add(self, data: Any) -> None:
        """Add a Uint8Array; it is given away."""
        if self._vault is None:
            self._python.update(data.to_bytes())
        else:
            await self._vault.ask("update", hand_over=data)

    async def finish(self) -> str:
        """In hexadecimal."""
        return str(await self._vault.ask("finish")) if self._vault else self._python.hexdigest()

    @property
    def off_thread(self) -> bool:
        return self._vault is not None

    def end(self) -> None:
        if self._vault is not None:
            self._vault.end()
