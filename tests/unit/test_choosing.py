"""What is remembered of variants that were timed, from start to start and from tab to tab."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import replace

import pytest

from local_llm import choosing, notes, soundness
from local_llm.errors import NotReady
from local_llm.ops.variants import Shape
from tests.unit.tuning_rig import GPU, Watched, facts_in, start, wide

__all__ = ["start"]  # a fixture


async def test_what_wins_runs_and_is_remembered(start):
    started, bench = start
    bench.device.takes = wide
    told, choices = await started()
    assert bench.device.timings > 0
    assert told["shapes"] == told["faster"] == len(choices) >= 4
    assert all(each.constants["LANES"] == 32 for each in choices.values())
    assert told["gain"] == pytest.approx(0.5)
    assert told["seconds"] > 0
    bench.device.takes = lambda entry, constants: 100.0  # a noisy day: nobody asks again
    again, same = await started()
    assert bench.device.timings == 0
    assert same == choices
    assert again == {**told, "seconds": 0.0}


async def test_only_new_shapes_are_timed(start):
    started, bench = start
    bench.device.takes = wide
    first, choices = await started()
    told, others = await started("other")
    assert bench.device.timings > 0
    common = choices.keys() & others.keys()
    assert common
    assert {shape: others[shape] for shape in common} == {shape: choices[shape] for shape in common}
    kept = facts_in(bench.shelf)["choices"]
    assert len(kept) == first["shapes"] + told["shapes"] - len(common)
    assert await started("tiny") == ({**first, "seconds": 0.0}, choices)


async def test_another_adapter_is_timed_anew_and_the_first_one_not_forgotten(start):
    started, bench = start
    bench.device.takes = wide
    first = bench.device
    told, choices = await started()
    for driver in ("second", "third"):
        bench.device = Watched(replace(GPU, driver=driver))
        await started()
        assert bench.device.timings > 0
    bench.device = first
    bench.device.takes = lambda entry, constants: 100.0
    assert await started() == ({**told, "seconds": 0.0}, choices)
    assert bench.device.timings == 0
    for driver in ("fourth", "fifth"):
        bench.device = Watched(replace(GPU, driver=driver))
        await started()
    assert len(json.loads(bench.shelf.texts[choosing.KEY])["notes"]) == notes.MOST


async def test_tabs_that_time_at_once_keep_what_either_found(start):
    started, bench = start
    bench.device.takes = wide
    one, other = bench.service(), bench.service()
    await asyncio.gather(one.init("tiny"), other.init("other"))
    kept = {Shape(**each["shape"]) for each in facts_in(bench.shelf)["choices"]}
    ran = [service._require().model.shared.choices for service in (one, other)]
    assert kept == ran[0].keys() | ran[1].keys() > ran[0].keys()
    await one.unload()
    await other.unload()
    assert (await started())[1] == ran[0]
    assert (await started("other"))[1] == ran[1]
    assert bench.device.timings == 0


async def test_what_another_tab_has_kept_meanwhile_goes_before_ones_own(start):
    started, bench = start
    bench.device.takes = wide
    _, choices = await started()
    theirs = bench.shelf.texts.pop(choosing.KEY)
    bench.device.takes = lambda entry, constants: 50.0 if constants.get("LANES") == 16 else 100.0
    timed = bench.device.timed

    async def later(recorded, times):
        bench.shelf.texts[choosing.KEY] = theirs
        return await timed(recorded, times)

    bench.device.timed = later
    told, same = await started()
    assert bench.device.timings > 0
    assert same == choices
    assert told["faster"] == len(choices)


@pytest.mark.parametrize("key", [choosing.KEY, soundness.KEY])
async def test_a_store_that_cannot_be_read_for_once_loses_nothing(start, key):
    started, bench = start
    bench.device.takes = wide
    told, choices = await started()
    before, get, fails = bench.shelf.texts[key], bench.shelf.get, [2]

    async def flaky(name):
        if name == key and fails[0]:
            fails[0] -= 1
            raise OSError("It is busy.")
        return await get(name)

    bench.shelf.get = flaky
    assert await started() == ((None, {}) if key == choosing.KEY else ({**told, "seconds": 0.0}, choices))
    assert bench.device.timings == 0
    assert bench.shelf.texts[key] == before
    fails[0] = 0
    assert await started() == ({**told, "seconds": 0.0}, choices)


async def test_where_a_store_does_not_last_nothing_is_timed(start):
    started, bench = start
    bench.device.takes = wide
    bench.shelf.lasts = False
    told, choices = await started()
    assert (told["shapes"], choices, bench.device.timings) == (0, {}, 0)
    bench.shelf.lasts = True
    _, choices = await started()
    assert choices
    bench.shelf.lasts = False  # full, by now
    told, others = await started("other")
    assert bench.device.timings == 0
    assert others == {shape: one for shape, one in choices.items() if shape in others} != {}


async def test_nor_where_it_turns_out_not_to_last(start, monkeypatch):
    started, bench = start
    bench.device.takes = wide

    async def fall_back(key, text):
        bench.shelf.texts[key], bench.shelf.lasts = text, False

    monkeypatch.setattr(bench.shelf, "set", fall_back)
    assert (await started())[1] == {}
    assert bench.device.timings == 0


DAMAGED = ["{", "[]", '{"adapter": 1}', '{"notes": [1]}', "[" * 100_000, "rubbish"]


@pytest.mark.parametrize("kept", [*DAMAGED, "constants", "before", "nan", "choices"], ids=lambda kept: kept[:14])
async def test_a_damaged_note_means_the_rules_and_another_test_next_time(start, kept):
    started, bench = start
    bench.device.takes = wide
    _, choices = await started()
    note = json.loads(bench.shelf.texts[choosing.KEY])
    facts = note["notes"][0][1]
    if kept == "constants":
        facts["choices"][0]["variant"]["constants"]["LANES"] = 1 << 20
    elif kept == "before":
        del facts["choices"][0]["before"]
    elif kept == "nan":
        facts["choices"][0]["after"] = float("nan")
    elif kept == "choices":
        facts["choices"] = 7
    bench.shelf.texts[choosing.KEY] = kept if kept in DAMAGED else json.dumps(note)
    assert await started() == (None, {})
    assert bench.device.timings == 0
    assert (await started())[1] == choices


async def test_a_store_that_forgets_means_the_rules(start, monkeypatch):
    started, bench = start
    bench.device.takes = wide

    async def forget(key, text):
        pass

    monkeypatch.setattr(bench.shelf, "set", forget)
    told, choices = await started()
    assert (told["shapes"], choices, bench.device.timings) == (0, {}, 0)


async def test_a_remembered_variant_that_turns_out_wrong_is_dropped_too(start):
    started, bench = start
    bench.device.takes = wide
    _, choices = await started()
    bench.shelf.texts.pop(soundness.KEY)
    bench.wrong = lambda names: [name for name in names if name.startswith("matvec_glu") and "LANES=32" in name]
    told, left = await started()
    assert left == {shape: one for shape, one in choices.items() if shape.kernel != "matvec_glu"} != choices
    assert told["faster"] == len(left)
    assert bench.device.timings == 0
    assert "kernels-replaced" not in bench.names()


async def test_what_hangs_the_gpu_is_tried_twice(start):
    started, bench = start
    bench.device.lost_after = 3
    told, choices = await started()
    assert (told["shapes"], choices) == (0, {})
    assert facts_in(bench.shelf)["tries"] == choosing.MOST_TRIES
    await started()
    assert bench.device.timings == 0


async def test_a_stopped_load_is_no_try(start):
    started, bench = start
    service = bench.service()
    loading = asyncio.ensure_future(service.init("tiny"))
    await bench.device.began.wait()
    await service.unload()
    with suppress(NotReady):
        await loading
    assert facts_in(bench.shelf)["tries"] == 0
    assert bench.device.live == []
    bench.device.takes = wide
    assert (await started())[1]
