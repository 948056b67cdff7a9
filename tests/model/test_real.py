"""SmolLM2-135M-Instruct (Q4_1) against an f32 numpy forward pass over its dequantised weights."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.model.conftest import MODEL
from tests.reference import llama

TEXT = Path(__file__).with_name("english.txt").read_text(encoding="utf-8")
MARGIN = 0.1  # logits: below this the reference itself has no clear favourite
PROMPTS = [
    "The capital of France is",
    "The days of the week are Monday, Tuesday,",
    "import numpy as np\nimport matplotlib.pyplot as",
]


@cache
def reference():
    return llama.load(MODEL)


def perplexity(logits, ids):
    scores = logits[:-1].astype(np.float64)
    top = scores.max(-1)
    log_sum = top + np.log(np.exp(scores - top[:, None]).sum(-1))
    return np.exp(np.mean(log_sum - scores[np.arange(len(ids) - 1), ids[1:]]))


async def test_logits_and_perplexity_of_512_tokens_of_english(real):
    ids = real.encode(TEXT)[:512]
    assert len(ids) == 512
    got, wanted = await real.logits(ids), llama.forward(*reference(), ids)
    best = np.sort(wanted, -1)
    clear = best[:, -1] - best[:, -2] > MARGIN
    np.testing.assert_array_equal(got.argmax(-1)[clear], wanted.argmax(-1)[clear])
    assert abs(perplexity(got, ids) / perplexity(wanted, ids) - 1) < 0.001


async def test_a_cache_of_bytes_costs_little(real, llm):
    ids = real.encode(TEXT)[:96]
    await llm.init(str(MODEL), context_size=256, cache_bits=8)
    got, wanted = await llm.logits(ids), await real.logits(ids)
    difference = np.abs(got - wanted).max()
    assert 0.01 < difference < 1.5  # of logits of a spread of 6.5; more is no rounding
    assert abs(perplexity(got, ids) / perplexity(wanted, ids) - 1) < 0.01


@pytest.mark.parametrize("prompt", PROMPTS)
async def test_greedy_continuation_equals_the_reference_while_its_margin_is_clear(real, prompt):
    ids = real.encode(prompt)
    reply = await real.complete(prompt, max_tokens=32, ignore_eos=True)
    wanted, margins = llama.generate_greedy(*reference(), ids, 32)
    sure = next((i for i, margin in enumerate(margins) if margin < MARGIN), 32)
    assert sure >= 4
    assert list(reply.token_ids[:sure]) == wanted[:sure]


async def test_gpu_bytes_stay_near_the_file(real):
    info = await real.runtime_info()
    cache_bytes = info["gpu_bytes_by_use"]["kv cache"]
    assert cache_bytes == 30 * 2 * 3 * 64 * 1024 * 2
    assert info["gpu_bytes"] - cache_bytes <= 1.15 * MODEL.stat().st_size


async def test_a_chat_ends_by_itself_and_counts_its_tokens(real):
    messages = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    reply = await real.chat(messages, max_tokens=24)
    assert "Paris" in reply.text
    assert reply.finish_reason == "stop"
    assert reply.usage.completion_tokens == len(reply.token_ids)
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


async def test_a_stop_string_ends_the_answer(real):
    whole = await real.complete("One, two, three, four,", max_tokens=12)
    cut = await real.complete("One, two, three, four,", max_tokens=12, stop=" six")
    assert " six" in whole.text
    assert cut.text == whole.text.split(" six")[0]
    assert cut.finish_reason == "stop"
