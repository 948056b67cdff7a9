"""The state manager: what is kept comes back, and a store that fails costs nothing but the memory of it."""

from __future__ import annotations

import asyncio
import json

import pytest

from local_llm.errors import InvalidRequest
from local_llm.settings import KEY, Settings, StateManager, read_settings
from tests.model.tiny import write_tiny_gguf
from tests.unit.service_rig import Bench


class Shelf:
    """A Store in memory. fail: every call raises."""

    lasts = True

    def __init__(self, text: str | None = None, fail: bool = False) -> None:
        self.texts = {} if text is None else {KEY: text}
        self.fail = fail
        self.reads = 0

    async def get(self, key):
        self.reads += 1
        await asyncio.sleep(0)
        if self.fail:
            raise OSError("refused")
        return self.texts.get(key)

    async def set(self, key, text):
        await asyncio.sleep(0)
        if self.fail:
            raise OSError("full")
        self.texts[key] = text


async def test_what_is_kept_comes_back():
    shelf = Shelf()
    first = StateManager(shelf)
    await first.update(model="m", context_size=512)
    await first.update(options={"temperature": 0.5}, memory_budget=10)
    await first.measured("m", {"tokens": 3})
    again = await StateManager(shelf).restore()
    assert again == Settings("m", 512, {"temperature": 0.5}, 10, {"m": {"tokens": 3}})


async def test_the_store_is_read_once():
    shelf = Shelf()
    state = StateManager(shelf)
    await asyncio.gather(state.restore(), state.restore())
    assert shelf.reads == 1


async def test_two_tabs_keep_what_either_has_changed():
    shelf = Shelf()
    one, other = StateManager(shelf), StateManager(shelf)
    await asyncio.gather(one.restore(), other.restore())
    await one.update(options={"temperature": 0.5})
    await one.measured("m", {"tokens": 3})
    await other.measured("n", {"tokens": 4})
    await other.measured("m", {"loads": 1})
    await other.update(model="n")
    again = await StateManager(shelf).restore()
    assert again == Settings(
        "n", None, {"temperature": 0.5}, None, {"m": {"tokens": 3, "loads": 1}, "n": {"tokens": 4}}
    )
    assert other.settings.options == {}  # what is at work in a tab is its own


async def test_changes_before_the_first_read_do_not_lose_what_was_kept():
    shelf = Shelf(json.dumps({"model": "old", "options": {"top_k": 3}}))
    state = StateManager(shelf)
    await asyncio.gather(
        state.update(model="new"), state.measured("new", {"tokens": 1}), state.measured("old", {"a": 1})
    )
    kept = await StateManager(shelf).restore()
    assert (kept.model, dict(kept.options)) == ("new", {"top_k": 3})
    assert kept.measured == {"new": {"tokens": 1}, "old": {"a": 1}}


async def test_measurements_of_a_model_add_up():
    state = StateManager(Shelf())
    await state.measured("m", {"tokens": 1, "bits": 5})
    await state.measured("m", {"tokens": 2})
    assert state.settings.measured == {"m": {"tokens": 2, "bits": 5}}


async def test_a_broken_store_costs_nothing():
    state = StateManager(Shelf(fail=True))
    assert await state.restore() == Settings()
    assert "refused" in (state.problem or "")
    assert (await state.update(model="m")).model == "m"
    assert "full" in (state.problem or "")
    assert state.settings.model == "m"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', '{"model": 3, "options": [], "measured": {"a": 1}}'])
async def test_damage_means_defaults(text):
    assert await StateManager(Shelf(text)).restore() == Settings()


def test_what_does_not_fit_is_dropped():
    value = {
        "model": "m",
        "context_size": True,
        "memory_budget": -1,
        "options": {"a": 1, "top_k": 3, "temperature": {}},
        "measured": {"x": {}, "y": 1},
    }
    assert read_settings(value) == Settings("m", None, {"top_k": 3}, None, {"x": {}})


async def restored(folder, before, **asked):
    """A service that starts with `asked` after another one started with `before`; there is a model "other", too."""
    for seed, name in enumerate(("tiny", "other")):
        write_tiny_gguf(folder / f"{name}.gguf", seed)
    bench = Bench(folder)
    first = bench.service()
    await first.init("tiny", **before)
    await first.close()
    again = bench.service()
    await again.init(**asked)
    return again


@pytest.mark.parametrize(("asked", "bits"), [({}, 8), ({"cache_bits": 16}, 16)])
async def test_the_bits_of_the_cache_are_restored(tmp_path, asked, bits):
    again = await restored(tmp_path, {"cache_bits": 8}, **asked)
    assert (await again.runtime_info())["cache_bits"] == bits
    await again.init("other")
    assert (await again.runtime_info())["cache_bits"] == 16
    assert again.settings.settings.cache_bits is None


@pytest.mark.parametrize("bits", [4, True, "8", 0, 8.0])
async def test_other_bits_of_the_cache_are_refused(tmp_path, bits):
    write_tiny_gguf(tmp_path / "tiny.gguf", 1)
    service = Bench(tmp_path).service()
    with pytest.raises(InvalidRequest, match="cache_bits must be 16, 8 or None"):
        await service.init("tiny", cache_bits=bits)
    assert read_settings({"cache_bits": bits}) == Settings()


@pytest.mark.parametrize(("asked", "bits"), [({}, 8), ({"quantize": 4}, 4), ({"quantize": 0}, None)])
async def test_the_quantization_is_restored(tmp_path, asked, bits):
    again = await restored(tmp_path, {"quantize": 8}, **asked)
    assert again._require().origin.quantize == bits
    await again.init("other")
    assert (again._require().origin.quantize, again.settings.settings.quantize) == (None, None)
