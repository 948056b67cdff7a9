"""Messages to ids and ids to text for one loaded model: what the service needs of this folder. Knows no GPU."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from local_llm.errors import InvalidRequest
from local_llm.gpu.ports import Tokenizer
from local_llm.text.chat_template import ChatTemplate, check_messages, open_template
from local_llm.text.definition import tokenizer_json
from local_llm.text.gguf_vocabulary import read_vocabulary
from local_llm.text.shield import Shield, all_texts, choose_mark
from local_llm.text.stops import StopMatcher
from local_llm.text.stream_decoder import StreamDecoder
from local_llm.text.tokenizer import TextCodec


async def open_dialogue(
    name: str, metadata: Mapping[str, Any], open_tokenizer: Callable[[bytes], Awaitable[Tokenizer]]
) -> Dialogue:
    """The dialogue of the GGUF file `name`. Raises UnsupportedModel or CorruptModel."""
    vocabulary = read_vocabulary(name, metadata)
    tokenizer = await open_tokenizer(tokenizer_json(metadata, name))
    return Dialogue(TextCodec(vocabulary, tokenizer), metadata.get("tokenizer.chat_template"))


class Dialogue:
    """One model's words: prompts in, answers out. template: Jinja, or anything else where the file has none."""

    def __init__(self, codec: TextCodec, template: object) -> None:
        self.codec = codec
        self.stop_ids: frozenset[int] = codec.vocabulary.ends
        self._source = template
        self._template: ChatTemplate | None = None
        self._shield = Shield(codec.vocabulary.control)

    def chat_ids(self, messages: Any, **extra: Any) -> list[int]:
        """Ids of a conversation, ready for the assistant's answer; extra goes to the template (tools, …).

        What a message says stays text: control tokens come from the template only. Raises InvalidRequest,
        UnsupportedModel.
        """
        checked = check_messages(messages)
        vocabulary = self.codec.vocabulary
        if self._template is None:
            self._template = open_template(self._source)
        mark = choose_mark(str(self._source), *vocabulary.control, *all_texts(checked), *all_texts(extra))
        guarded = [
            {key: value if key == "role" else self._shield.guard(value, mark) for key, value in message.items()}
            for message in checked
        ]
        rendered = self._template.render(
            guarded,
            bos_token=vocabulary.text(vocabulary.bos),
            eos_token=vocabulary.text(vocabulary.eos),
            **self._shield.guard(extra, mark),
        )
        return self.codec.encode_prompt(rendered, mark=mark)

    def completion_ids(self, prompt: Any) -> list[int]:
        """Ids of a text to continue. Its author is the developer: control tokens in it count as such."""
        if not isinstance(prompt, str):
            raise InvalidRequest(f"The prompt must be a text, found {type(prompt).__name__}.")
        return self.codec.encode_prompt(prompt)

    def reader(self, stop: Sequence[str] = ()) -> Reader:
        """A fresh reader for one answer."""
        return Reader(self.codec, stop)


class Reader:
    """Generated ids to text as they come: whole characters only, nothing of a stop string."""

    def __init__(self, codec: TextCodec, stop: Sequence[str]) -> None:
        self._codec = codec
        self._decoder = StreamDecoder()
        self._matcher = StopMatcher(stop)
        self.text = ""
        self.stopped = False

    def feed(self, ids: Sequence[int]) -> str:
        """The text that ids add; `stopped` tells whether a stop string ended it."""
        return self._emit(self._decoder.feed(b"".join(map(self._codec.token_bytes, ids))))

    def finish(self) -> str:
        """What was held back, now that no more ids come."""
        rest = self._emit(self._decoder.flush())
        if not self.stopped:
            held = self._matcher.flush()
            self.text += held
            rest += held
        return rest

    def _emit(self, characters: str) -> str:
        delta, self.stopped = self._matcher.feed(characters)
        self.text += delta
        return delta
