"""After a slide the text is that of a fresh request with the prompt that was kept."""

from tests.model.tiny import write_tiny_gguf

OPTIONS = {"ignore_eos": True}


async def test_an_answer_past_the_end_is_made_of_fresh_requests(llm, tmp_path):
    await llm.init(str(write_tiny_gguf(tmp_path / "tiny.gguf", 1, context=64).path))
    ids = [(37 * i + 11) % 286 for i in range(20)]
    whole = (await llm.complete(ids, max_tokens=120, when_full="slide", **OPTIONS)).token_ids
    answer: list[int] = []
    prompt = ids
    while len(answer) < 120:
        reply = await llm.complete(prompt, max_tokens=120 - len(answer), **OPTIONS)
        answer += reply.token_ids
        prompt = (prompt + list(reply.token_ids))[-32:]
        await llm.logits([1])  # forgets the cache
    assert list(whole) == answer
    assert len(whole) == 120
