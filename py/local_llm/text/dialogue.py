"""Messages to ids and ids to text for one loaded model: what the service needs of this folder. Knows no GPU."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from copy import copy
from typing import Any, Protocol, TypeVar

from local_llm.errors import CorruptModel, InvalidRequest
from local_llm.gpu.ports import Tokenizer
from local_llm.text.chat_template import Templates, open_template, templates_of_config, templates_of_gguf
from local_llm.text.conversation import Conversation
from local_llm.text.definition import tokenizer_parts
from local_llm.text.fallback import fallback_template
from local_llm.text.folder import TokenizerFiles, folder_parts
from local_llm.text.gguf_vocabulary import read_vocabulary
from local_llm.text.messages import check_messages, check_options, check_tools
from local_llm.text.remembering import RememberingTokenizer
from local_llm.text.shield import Shield, all_texts, choose_mark, escape_of
from local_llm.text.stops import StopMatcher
from local_llm.text.stream_decoder import StreamDecoder
from local_llm.text.tokenizer import TextCodec

_Result = TypeVar("_Result")
_TURN = 0.008  # seconds; half of what a page has for a frame
_NAMES = ("general.name", "general.basename", "general.finetune")


class Template(Protocol):
    """What renders checked messages: see chat_template.ChatTemplate and conversation.Conversation."""

    def render(self, messages: Sequence[Mapping[str, Any]], **extra: Any) -> str: ...


async def open_dialogue(
    name: str, source: Mapping[str, Any] | TokenizerFiles, open_tokenizer: Callable[[bytes], Awaitable[Tokenizer]]
) -> Dialogue:
    """The dialogue of the model `name`. source: a GGUF's metadata, or the files of a folder.

    Raises UnsupportedModel or CorruptModel.
    """
    conversation = None
    file = name.split("?")[0].replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]  # a folder above it tells nothing
    if isinstance(source, TokenizerFiles):
        vocabulary, definition = await _in_turns(folder_parts(name, source))
        templates, names = templates_of_config(source.config, source.chat_template), file
        told = source.conversation  # older files have the name of a template here, which only MLC knows
        conversation = Conversation(told) if isinstance(told, Mapping) and told else None
    else:
        vocabulary = read_vocabulary(name, source)
        _, definition = await _in_turns(tokenizer_parts(source, name, vocabulary))
        templates, names = templates_of_gguf(source), " ".join([file, *(str(source.get(key, "")) for key in _NAMES)])
    if not templates.sources and conversation is None:
        fallback = fallback_template(names, vocabulary.control)
        templates = Templates({"default": fallback} if fallback else {})
    tokenizer = RememberingTokenizer(await open_tokenizer(definition))
    return Dialogue(TextCodec(vocabulary, tokenizer), templates, conversation)


async def _in_turns(parts: Generator[bytes, None, _Result]) -> tuple[_Result, bytes]:
    """What the parts return, and all of them in one. A page stands still while its Python runs: others get turns."""
    made = []
    began = time.monotonic()
    while True:
        try:
            made.append(next(parts))
        except StopIteration as ended:
            return ended.value, b"".join(made)
        if time.monotonic() - began > _TURN:
            await asyncio.sleep(0)
            began = time.monotonic()


class Dialogue:
    """One model's words: prompts in, answers out. conversation: what renders where there is no Jinja template."""

    def __init__(self, codec: TextCodec, templates: Templates, conversation: Conversation | None = None) -> None:
        self.codec = codec
        stops = conversation.stop_ids if conversation else ()
        self.stop_ids: frozenset[int] = codec.vocabulary.ends.union(stops)
        self._stop_texts = conversation.stop_texts if conversation else ()
        self._templates = templates
        self._conversation = conversation
        self._opened: dict[str, Template] = {}
        self._shield = Shield(codec.control)
        for token in conversation.prefix_ids if conversation else ():
            if not 0 <= token < len(codec.vocabulary.tokens):
                raise CorruptModel(f"mlc-chat-config.json: prompts begin with the id {token}, which is no token's.")

    @property
    def can_chat(self) -> bool:
        """Whether the model has a chat template, its own or one that is known to fit."""
        return bool(self._templates.sources) or self._conversation is not None

    def chat_ids(self, messages: Any, *, tools: Any = None, options: Any = None) -> list[int]:
        """Ids of a conversation, ready for the assistant's answer. tools, and options by name, go to the template.

        What a message says stays text: control tokens come from the template only. Raises InvalidRequest,
        UnsupportedModel.
        """
        checked = check_messages(messages)
        values = check_options(options)
        offered = check_tools(tools)
        if offered is not None:
            values["tools"] = offered
        vocabulary = self.codec.vocabulary
        source, template = self._template(offered is not None)
        mark = choose_mark(source, *vocabulary.control, *all_texts(checked), *all_texts(values))
        guarded = [
            {key: value if key == "role" else self._shield.guard(value, mark) for key, value in message.items()}
            for message in checked
        ]
        rendered = template.render(
            guarded,
            bos_token=vocabulary.text(vocabulary.bos),
            eos_token=vocabulary.text(vocabulary.eos),
            **self._shield.guard(values, mark),
        )
        text = rendered.replace(escape_of(mark), mark)  # of tojson(ensure_ascii=true)
        if isinstance(template, Conversation) and template.prefix_ids:
            return [*template.prefix_ids, *self.codec.encode(text, special=True, mark=mark)]
        return self.codec.encode_prompt(text, mark=mark)

    def _template(self, tools: bool) -> tuple[str, Template]:
        """The template's source and the template, compiled once."""
        source = self._templates.choose(tools)
        if source is None and self._conversation is not None:
            return "", self._conversation
        key = source or ""
        if key not in self._opened:
            self._opened[key] = open_template(source)
        return key, self._opened[key]

    def completion_ids(self, prompt: Any) -> list[int]:
        """Ids of a text to continue. Its author is the developer: control tokens in it count as such."""
        if not isinstance(prompt, str):
            raise InvalidRequest(f"The prompt must be a text, found {type(prompt).__name__}.")
        return self.codec.encode_prompt(prompt)

    def embedding_ids(self, text: Any) -> list[int]:
        """Ids of a text to embed, with what the model was trained to see around it. Its control tokens stay text."""
        if not isinstance(text, str):
            raise InvalidRequest(f"A text to embed must be a text, found {type(text).__name__}.")
        return self.codec.encode_whole(text)

    def reader(self, stop: Sequence[str] = (), prompt: Sequence[int] = ()) -> Reader:
        """A fresh reader for the answer to prompt's ids.

        After a control token the vocabulary's own space does not count, as it is none of the answer's.
        """
        vocabulary = self.codec.vocabulary
        begins = not prompt or prompt[-1] in vocabulary.control.values()
        return Reader(self.codec, (*stop, *self._stop_texts), drop_space=vocabulary.prefixed and begins)


class Reader:
    """Generated ids to text as they come: whole characters only, nothing of a stop string."""

    def __init__(self, codec: TextCodec, stop: Sequence[str], *, drop_space: bool = False) -> None:
        self._codec = codec
        self._drop_space = drop_space
        self._decoder = StreamDecoder()
        self._matcher = StopMatcher(stop)
        self.text = ""
        self.stopped = False

    def feed(self, ids: Sequence[int]) -> str:
        """The text that ids add; `stopped` tells whether a stop string ended it."""
        return self._emit(self._decoder.feed(b"".join(map(self._codec.token_bytes, ids))))

    def take(self, ids: Sequence[int]) -> tuple[Sequence[int], str]:
        """(those of ids that belong to the answer, the text they add): what comes behind a stop string does not."""
        if not self._matcher.stops or len(ids) == 1:
            return ids, self.feed(ids)
        before, text = copy(self), self.feed(ids)
        if not self.stopped:
            return ids, text
        for number, token in enumerate(ids, 1):  # by which one? Only now they are read one by one
            before.feed([token])
            if before.stopped:
                return ids[:number], text
        return ids, text

    def __copy__(self) -> Reader:
        """As far as it has read, to read on by itself."""
        twin = Reader(self._codec, (), drop_space=self._drop_space)
        twin._decoder, twin._matcher = copy(self._decoder), copy(self._matcher)
        return twin

    def finish(self) -> str:
        """What was held back, now that no more ids come."""
        rest = self._emit(self._decoder.flush())
        if not self.stopped:
            held = self._matcher.flush()
            self.text += held
            rest += held
        return rest

    def _emit(self, characters: str) -> str:
        if self._drop_space and characters:
            characters, self._drop_space = characters.removeprefix(" "), False
        delta, self.stopped = self._matcher.feed(characters)
        self.text += delta
        return delta
