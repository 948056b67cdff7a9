"""Tuning over Dawn, on a software adapter said to be a GPU: texts stay the same from start to start."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from local_llm import LocalLLM
from local_llm.models import tuning
from local_llm.ops.variants import candidates
from tests.model.posing import posing
from tests.model.tiny import write_tiny_gguf
from tests.unit.service_rig import Shelf

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("choosing") / "tiny.gguf"
    write_tiny_gguf(path, 3, layers=1, context=120, types="Q4_0")
    return str(path)


@pytest.fixture
def visit(host, counted, path, monkeypatch):
    """Starts of one page, whose store lasts. The rule's variants are timed, and never win."""
    race = tuning._race

    async def lost(watch, variants, *rest):
        found = await race(watch, variants, *rest)
        return replace(found, variant=variants[1], after=found.before / 2)

    monkeypatch.setattr(tuning, "_race", lost)
    monkeypatch.setattr(tuning, "STAGES", ((99, 1, 0.0),))
    monkeypatch.setattr(tuning, "candidates", lambda *which: candidates(*which)[:2])  # compiling takes most of the time
    monkeypatch.setattr(tuning, "WARM_UP", 0.0)
    monkeypatch.setattr("local_llm.choosing.SECONDS", 1e9)

    shelf, before = Shelf(), counted.nbytes

    async def visited(look, **options):
        service = LocalLLM(replace(posing(host, counted), store=shelf))
        await service.init(path, **options)
        try:
            return await look(service), (await service.runtime_info())["tuning"]
        finally:
            await service.unload()
            assert counted.nbytes == before

    return visited


async def test_texts_stay_the_same(visit, counted):
    async def look(service):
        greedy = (await service.chat(HELLO, max_tokens=4)).text
        drawn = (await service.chat(HELLO, max_tokens=4, temperature=1.0, seed=7)).text
        if service._loaded.tuning and service._loaded.tuning.seconds:  # the first start
            assert (await service.chat(HELLO, max_tokens=4, speculative="always")).text == greedy
        logits = await service.logits([1, 2, 3])
        return (greedy, drawn), logits, service._loaded.model.shared.choices

    (texts, logits, choices), told = await visit(look)
    assert told["shapes"] >= 4
    assert told["seconds"] > 0
    assert len(choices) == told["faster"] == told["shapes"]
    assert told["gain"] == pytest.approx(0.5)
    gpu = replace(counted.caps, software=False)
    assert all(one != candidates(gpu, shape)[0] for shape, one in choices.items())
    (again, same, others), remembered = await visit(look)
    assert again == texts
    assert others == choices
    assert remembered == {**told, "seconds": 0.0}
    np.testing.assert_array_equal(same, logits)
    (by_rule, close, none), off = await visit(look, tune="off")
    assert by_rule == texts
    assert (dict(none), off) == ({}, None)
    np.testing.assert_allclose(close, logits, rtol=1e-4, atol=1e-4)
