"""What a click in a widget does to the service. Errors show in the status; nobody awaits these."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from local_llm.errors import LocalLLMError

_log = logging.getLogger(__name__)


class Service(Protocol):
    """What actions need of a service."""

    def status(self) -> Mapping[str, Any]: ...

    def init(self, model: Any = None) -> Awaitable[None]: ...

    def switch_model(self, model: Any) -> Awaitable[None]: ...

    def delete_model(self, model: Any) -> Awaitable[None]: ...

    def pin_model(self, model: Any, pinned: bool = True) -> Awaitable[None]: ...

    def retry(self) -> Awaitable[None]: ...

    def unload(self) -> Awaitable[None]: ...

    def interrupt(self) -> None: ...


async def act(service: Service, action: str, model: str | None = None) -> None:
    """Do what the control `action` says. model: of "switch-model", and what "load-model" prefers.

    A failure is in the service's status by the time this returns; only defects reach the log.
    """
    steps: dict[str, Callable[[], Any]] = {
        "load-model": lambda: service.init(model or None),
        "switch-model": lambda: service.switch_model(model),
        "delete-model": lambda: service.delete_model(model),  # offered for models that the service calls deletable
        "pin-model": lambda: service.pin_model(model, True),
        "unpin-model": lambda: service.pin_model(model, False),
        "make-room": lambda: _make_room(service),
        "retry": service.retry,
        "unload-model": service.unload,
        "stop-loading": service.unload,
        "stop-generation": service.interrupt,
    }
    step = steps.get(action)
    if step is None:
        return
    try:
        pending = step()
        if pending is not None:
            await pending
    except LocalLLMError:
        pass  # an error event told everybody
    except Exception:
        _log.exception("The action '%s' failed", action)


async def _make_room(service: Service) -> None:
    """Delete what the error box named, nothing else, and load again."""
    giving = service.status().get("giving_way") or ()
    for one in giving:
        await service.delete_model(one["model"])
    if giving:
        await service.retry()
