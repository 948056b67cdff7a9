"""Real vocabularies on a thousand texts: Gemma 3's 262,144 pieces against SentencePiece, MiniLM's against its file.

golden/gemma3_ids.txt has digests of what SentencePiece itself makes of Gemma's pieces and scores;
`golden/make_tokenizers.py` (tests/unit) wrote it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import tokenizers

from local_llm.formats.gguf import read_gguf
from local_llm.native.tokenizer import open_tokenizer
from local_llm.text.definition import tokenizer_json
from local_llm.text.dialogue import Dialogue, open_dialogue
from local_llm.text.folder import TokenizerFiles
from tests.conftest import wait
from tests.model.conftest import EXTRA
from tests.model.test_vocabulary import wasm_ids
from tests.unit.texts import digest, texts

GOLDEN = Path(__file__).with_name("golden") / "gemma3_ids.txt"


class Head:
    """The first part of Gemma's file, which holds all of its header."""

    name = "gemma-3-270m-q4_k_m.gguf"
    size = 253_113_024

    async def read(self, start: int, stop: int) -> bytes:
        with (EXTRA / f"{self.name}.part00").open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    async def stream_into(self, device: Any, buffer: Any, start: int, stop: int, progress: Any) -> None:
        raise AssertionError("nobody wants the weights here")


@cache
def gemma() -> Dialogue:
    return wait(open_dialogue(Head.name, wait(read_gguf(Head())).metadata, open_tokenizer))


def test_gemma_3s_ids_are_sentence_pieces():
    golden = GOLDEN.read_text(encoding="utf-8").strip()
    found = [digest(gemma().codec.encode(text, special=False)) for text in texts()]
    differ = [text for n, text in enumerate(texts()) if found[n] != golden[6 * n : 6 * n + 6]]
    assert not differ


def test_gemma_3_reads_back_and_knows_its_ends():
    codec = gemma().codec
    strings = [text for text in texts() if "\u2581" not in text]  # it stands for a space
    assert [text for text in strings if codec.decode(codec.encode(text, special=False)) != text] == []
    ends = {codec.vocabulary.control[text] for text in ("<eos>", "<end_of_turn>")}
    assert gemma().stop_ids == ends
    assert gemma().completion_ids("a")[0] == codec.vocabulary.control["<bos>"]
    assert not gemma().can_chat, "the base model: its tokens alone make no chat model"


def test_gemma_3_in_the_wasm_library(tmp_path):
    strings = [text for text in texts(150) if text]
    definition = tokenizer_json(wait(read_gguf(Head())).metadata)
    found = wasm_ids(tmp_path, {"gemma": definition}, strings)["gemma"]
    assert found == [gemma().codec.encode(text, special=False) for text in strings]


def test_minilms_ids_are_those_of_its_file():
    folder = EXTRA / "all-MiniLM-L6-v2"
    made = (folder / "tokenizer.json").read_bytes()
    reference = tokenizers.Tokenizer.from_buffer(made)
    reference.no_truncation()
    reference.no_padding()
    found = wait(open_dialogue("MiniLM", TokenizerFiles(made), open_tokenizer))
    strings = [text for text in texts() if "[" not in text]  # what a person types is no control token here
    assert len(strings) > 900
    assert [text for text in strings if found.embedding_ids(text) != reference.encode(text).ids] == []
