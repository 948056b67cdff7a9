"""A host whose adapter is said to be another one: operations choose their other kernels."""

from __future__ import annotations

from dataclasses import replace


def posing(host, device, **caps):
    """`host` on `device`, which says these Caps of itself; by default a GPU's."""

    class Posing:
        def __init__(self):
            self.caps = replace(device.caps, **{"software": False, **caps})

        def __getattr__(self, name):
            return getattr(device, name)

    async def open_device():
        return Posing()

    return replace(host, open_device=open_device)
