"""Steps of drafts leave the text as it is: several families, greedy and drawn, up to every kind of end."""

from contextlib import aclosing

import pytest

from local_llm.generate import decoding
from local_llm.generate.decoding import Decoding
from local_llm.generate.engine import Outcome, Request
from local_llm.generate.speculation import Speculation
from local_llm.generate.stats import Timing
from local_llm.gpu import wgsl
from tests.conftest import wait
from tests.model.golden import load_golden
from tests.model.tiny import write_tiny_gguf
from tests.reference.convert import write_converted

FAMILIES = ["qwen2", "gemma2", "gemma3"]
PATTERN = [5, 9, 17, 33, 4, 21, 8, 60] * 4
ODD = {"temperature": 3.0, "top_k": 4, "seed": 5}  # no text says what comes next


@pytest.fixture(autouse=True)
def short_batches(monkeypatch):
    monkeypatch.setattr(decoding, "BATCH_SECONDS", 0.2)  # some steps of SwiftShader's


@pytest.fixture
def tiny(gpu_llm, tmp_path):
    wait(gpu_llm.init(str(write_tiny_gguf(tmp_path / "tiny.gguf", 5, types="Q8_0", context=96).path)))
    return gpu_llm


@pytest.fixture
def steady(tiny, monkeypatch):
    """Batches of two steps, however fast this machine is and whatever else it does."""
    monkeypatch.setattr(Decoding, "_measured", lambda self, batch, seconds: None)
    tiny._require().engine._pace.seconds = decoding.BATCH_SECONDS / 2
    return tiny


async def reply_of(service, ids, speculative, **options):
    """From an empty cache."""
    service._require().engine._held = b""
    return await service.complete(ids, speculative=speculative, **{"ignore_eos": True, **options})


async def both(service, ids, **options):
    """The reply with drafts, which must be the one without."""
    plain = await reply_of(service, ids, "off", **options)
    drafted = await reply_of(service, ids, "always", **options)
    assert drafted.token_ids == plain.token_ids
    assert (drafted.finish_reason, drafted.usage) == (plain.finish_reason, plain.usage)
    assert plain.tokens_per_step == 1
    return drafted


@pytest.mark.parametrize("name", FAMILIES)
async def test_families(gpu_llm, tmp_path, name):
    golden = load_golden(name)
    await gpu_llm.init(str(write_converted(tmp_path / "m.gguf", golden.config, golden.weights, "F32")))
    await both(gpu_llm, golden.ids[:9] * 3, max_tokens=12)


async def test_a_cache_of_bytes(tiny, tmp_path):
    await tiny.init(str(tmp_path / "tiny.gguf"), cache_bits=8)
    reply = await both(tiny, PATTERN, max_tokens=12)
    assert reply.tokens_per_step > 1


async def test_a_text_that_repeats_takes_fewer_steps_greedy_or_drawn(tiny):
    reply = await both(tiny, PATTERN, max_tokens=30)
    assert reply.tokens_per_step > 1.4
    await both(tiny, PATTERN, max_tokens=12, **ODD)


async def test_drafts_that_are_always_wrong(tiny, monkeypatch):
    """Every draft is 7, which is never chosen."""
    source = wgsl.source

    def misleading(name, includes):
        code = source(name, includes)
        if name != "draft":
            return code
        wrong = code.replace("history[place + 1 + i % (newest - place)]", "7u").replace("place > 0", "true")
        assert wrong.count("7u;") == 1
        return wrong

    monkeypatch.setattr(wgsl, "source", misleading)
    reply = await both(tiny, PATTERN, max_tokens=10)
    assert 7 not in reply.token_ids
    assert reply.tokens_per_step == 1


async def test_every_end(tiny):
    """So many ids, a stop id wherever drafts may be, the end of the cache."""
    reply = await both(tiny, PATTERN, max_tokens=17)
    assert len(reply.token_ids) == 17
    await both(tiny, PATTERN, max_tokens=1)
    await both(tiny, PATTERN, max_tokens=2)
    engine, ids = tiny._require().engine, list(reply.token_ids)
    for token in (ids[0], ids[6]):
        outcome = Outcome(Timing(lambda: 0.0))
        async for _ in engine.generate(Request((*PATTERN,), 17, frozenset({token}), speculative="always"), outcome):
            pass
        assert (outcome.finish_reason, outcome.token_ids) == ("stop", ids[: ids.index(token)])
    full = await both(tiny, (PATTERN * 8)[:90], max_tokens=100)
    assert (full.finish_reason, len(full.token_ids)) == ("context", 7)
    slid = await both(tiny, (PATTERN * 8)[:90], max_tokens=16, when_full="slide")
    assert len(slid.token_ids) == 16


async def test_what_the_cache_holds_afterwards_is_the_text(tiny):
    engine, ids = tiny._require().engine, PATTERN
    first = await reply_of(tiny, ids, "always", max_tokens=10)
    again = [*ids, *first.token_ids, 3]
    go_on = await tiny.complete(again, max_tokens=5, ignore_eos=True, speculative="always")
    assert go_on.usage.cached_tokens == len(again) - 2
    assert (await reply_of(tiny, again, "off", max_tokens=5)).token_ids == go_on.token_ids
    assert not engine._stop


async def test_interrupting_and_closing(steady):
    plain = await reply_of(steady, PATTERN, "off", max_tokens=60)
    steady._require().engine._held = b""
    stream = await steady.complete(PATTERN, max_tokens=60, ignore_eos=True, speculative="always", stream=True)
    ids = []
    async with aclosing(stream) as chunks:
        async for chunk in chunks:
            steady.interrupt()
            if chunk.done:
                ids = chunk.reply.token_ids
                assert chunk.reply.finish_reason == "interrupted"
    assert ids == plain.token_ids[: len(ids)]
    assert len(ids) < 60
    await both(steady, PATTERN, max_tokens=6)


async def test_changing_over_and_back_in_one_answer(steady, monkeypatch):
    """Whatever kind of steps an answer is made by."""
    kinds = []

    def now_and_then(self, expected, plain_seconds, drafting):
        kinds.append(len(kinds) // 4 % 2 == 0)
        return kinds[-1]

    engine = steady._require().engine
    monkeypatch.setattr(Speculation, "pays", now_and_then)
    monkeypatch.setattr(Decoding, "_expected", lambda self: 2.0)
    await engine._speculation.prepare((False, False))
    plain = await reply_of(steady, PATTERN, "off", max_tokens=60)
    changing = await reply_of(steady, PATTERN, "auto", max_tokens=60)
    assert changing.token_ids == plain.token_ids
    assert {True, False} == set(kinds[4:])
    assert changing.tokens_per_step > 1


async def test_penalties_whose_counts_go_on_token_by_token(tiny):
    penalised = await reply_of(tiny, PATTERN, "always", max_tokens=12, frequency_penalty=0.1)
    assert penalised.tokens_per_step == 1


async def test_software_adapters_have_no_steps_of_drafts(llm, tmp_path):
    await llm.init(str(write_tiny_gguf(tmp_path / "tiny.gguf", 5, types="Q8_0", context=96).path))
    assert llm._require().engine._speculation is None
    assert (await llm.complete([1, 2], max_tokens=3, speculative="always")).tokens_per_step == 1


@pytest.mark.parametrize(
    ("kernel", "right", "wrong"),
    [
        ("attention_few", "turned(head * WIDTH, i * 4, step.position + token)", "turned(head * WIDTH, i * 4, 0)"),
        ("matvec_few_glu", "let sum = v[0] + v[1] +", "let sum = v[1] +"),
    ],
)
async def test_an_adapter_that_computes_steps_of_drafts_wrong_gets_none(tiny, monkeypatch, kernel, right, wrong):
    source = wgsl.source

    def miscompiled(name, includes):
        code = source(name, includes)
        assert name != kernel or code.count(right) == 1
        return code.replace(right, wrong) if name == kernel else code

    monkeypatch.setattr(wgsl, "source", miscompiled)
    reply = await both(tiny, PATTERN, max_tokens=10)
    assert reply.tokens_per_step == 1
    assert tiny._require().engine._speculation.agrees is False
