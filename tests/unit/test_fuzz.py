"""Files with any bytes or values changed: a sound reading or a typed error, soon, and in little memory.

`--soak` goes on for half an hour in all, LOCAL_LLM_FUZZ_SECONDS for as long as it says.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest
from hypothesis import strategies as st

from local_llm.formats.gguf import read_gguf
from local_llm.formats.opening import open_checkpoint
from local_llm.models.families import FAMILIES, family_of
from local_llm.models.weights import check
from local_llm.native.blobs import open_blobs
from local_llm.native.tokenizer import open_tokenizer
from local_llm.text.dialogue import open_dialogue
from local_llm.text.folder import TokenizerFiles
from tests.conftest import wait
from tests.model.tiny import CHATML, write_tiny_gguf
from tests.reference.folders import write_huggingface, write_mlc
from tests.reference.gguf_writer import Typed, split_gguf, store
from tests.unit.fuzzing import allowed, bounded, explore, fuzzing
from tests.unit.golden_tokenizers import metadata_of
from tests.unit.mutations import mutate_gguf, mutate_json, mutate_safetensors, mutate_tree
from tests.unit.test_folder import BUILDERS, CONFIG, original

HEAD = 6000  # bytes of a file that say most
HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
TELLING = (
    b"\xff" * 8,
    b"\x7f\xff\xff\xff",
    bytes(8),
    b"\x01",
    b"9" * 18,
    b"-1",
    b'"',
    b"{",
    b"[",
    b"null",
    b"1e999",
    b"]}",
)
EDIT = st.tuples(
    st.integers(0, 1 << 20),  # which file
    st.one_of(st.integers(0, HEAD), st.integers(0, 1 << 20)),  # where in it
    st.integers(0, 12),  # bytes that go
    st.one_of(st.sampled_from(TELLING), st.binary(max_size=9)),  # bytes that come
    st.integers(0, 40),  # 0: the file ends here
)
SEED = st.integers(0, (1 << 64) - 1)
ARCHITECTURES = (*FAMILIES, "mamba", "")


def read_all(place) -> None:
    """All that init() makes of a file's head and its texts."""
    opened = wait(open_checkpoint(place, open_blobs))
    checkpoint = opened.checkpoint
    family = family_of(checkpoint.name, checkpoint.metadata.get("general.architecture"))
    check(checkpoint, family.stacks(checkpoint, family.read_config(checkpoint)))
    words = TokenizerFiles(**vars(opened.texts)) if opened.texts else checkpoint.metadata
    dialogue = wait(open_dialogue(checkpoint.name, words, open_tokenizer))
    dialogue.completion_ids("a b")
    dialogue.chat_ids(HELLO)


@pytest.fixture(params=["gguf", "split", "safetensors", "mlc"])
def sound(request, tmp_path):
    """A folder with a sound model, and what is opened of it."""
    tiny = write_tiny_gguf(tmp_path / "tiny.gguf", 1, width=32, layers=1, ffn=32, types="Q8_0")
    folder = tmp_path / "sound"
    if request.param == "safetensors":
        return write_huggingface(folder, tiny.metadata, tiny.tensors, "F16", files=2), ""
    if request.param == "mlc":
        write_mlc(folder, tiny.metadata, tiny.tensors, "q4f16_1")
        return folder, ""
    if request.param == "split":
        paths = split_gguf(tiny.path, folder, 2)
        return folder, paths[0].name
    folder.mkdir()
    shutil.copy(tiny.path, folder)
    return folder, "tiny.gguf"


@fuzzing
def test_any_edit_of_any_file_ends_well(request, sound, tmp_path):
    folder, name = sound
    texts = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    limit = allowed(sum(map(len, texts.values())))
    broken = tmp_path / "broken"
    broken.mkdir()

    def one(edits) -> None:
        changed = dict(texts)
        for which, at, gone, come, end in edits:
            file = sorted(changed)[which % len(changed)]
            data = changed[file]
            at %= len(data) + 1
            changed[file] = data[:at] if end == 0 else data[:at] + come + data[at + gone :]
        write(broken, changed)
        with bounded(limit):
            read_all(str(broken / name))

    read_all(str(folder / name))  # raises nothing
    explore(request, 60, st.lists(EDIT, min_size=1, max_size=3), one)


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """What is there already stays."""
    for file, data in files.items():
        if not (folder / file).exists() or (folder / file).read_bytes() != data:
            (folder / file).write_bytes(data)


@fuzzing
@pytest.mark.parametrize("sound", ["safetensors", "mlc"], indirect=True)
def test_any_other_value_in_a_folder_ends_well(request, sound, tmp_path):
    folder, _ = sound
    texts = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    broken = tmp_path / "broken"
    broken.mkdir()

    def one(seed) -> None:
        dice = Random(seed)
        changed = dict(texts)
        for _ in range(dice.randint(1, 2)):
            file = dice.choice(sorted(changed))
            if not file.endswith(".bin"):
                change = mutate_safetensors if file.endswith(".safetensors") else mutate_json
                changed[file] = change(dice, texts[file], dice.randint(1, 3))
        write(broken, changed)
        with bounded(allowed(sum(map(len, changed.values())))):
            read_all(str(broken))

    explore(request, 60, SEED, one)


@fuzzing
def test_any_other_value_in_a_gguf_ends_well(request, tmp_path):
    tiny = write_tiny_gguf(tmp_path / "tiny.gguf", 1, width=32, layers=1, ffn=32, types="Q8_0")
    stored = {name: store(values, "Q8_0" if values.ndim > 1 else "F32") for name, values in tiny.tensors.items()}

    def one(seed) -> None:
        dice = Random(seed)
        data = mutate_gguf(dice, tiny.metadata, stored, dice.randint(1, 4), ARCHITECTURES)
        with bounded(allowed(len(data))):
            read_all(data)

    read_all(mutate_gguf(Random(0), tiny.metadata, stored, 0, ()))
    explore(request, 80, SEED, one)


def use(dialogue) -> None:
    """All that is done with a vocabulary."""
    for text in ("a b", "The <|im_end|>\n" * 20, "\u2581\0\U0010ffff \ue000", "a" * 300):
        dialogue.codec.decode(dialogue.completion_ids(text))
        dialogue.embedding_ids(text)
    reader = dialogue.reader(("stop",), [0])
    reader.feed(range(-1, len(dialogue.codec.vocabulary.tokens) + 1))
    reader.finish()
    if dialogue.can_chat:
        dialogue.chat_ids(HELLO)


@fuzzing
@pytest.mark.parametrize("kind", ["llama", "t5", "bert", "gpt-2"])
def test_any_other_value_of_a_vocabulary_ends_well(request, kind):
    metadata = {key: getattr(value, "tolist", lambda value=value: value)() for key, value in metadata_of(kind).items()}
    metadata |= {"general.architecture": "llama", "tokenizer.chat_template": CHATML}
    if (table := "tokenizer.ggml.precompiled_charsmap") in metadata:
        metadata[table] = Typed(9, metadata[table], 0)

    async def opened(data):
        head = await read_gguf(await open_blobs(data))
        use(await open_dialogue(head.name, head.metadata, open_tokenizer))

    def one(seed) -> None:
        dice = Random(seed)
        data = mutate_gguf(dice, metadata, {}, dice.randint(1, 3), ARCHITECTURES)
        with bounded(allowed(len(data))):
            wait(opened(data))

    wait(opened(mutate_gguf(Random(0), metadata, {}, 0, ())))
    explore(request, 12, SEED, one)


@fuzzing
@pytest.mark.parametrize("kind", BUILDERS)
def test_any_other_value_of_a_tokenizer_ends_well(request, kind):
    sound = original(kind).to_str().encode()

    async def opened(data, config):
        use(await open_dialogue("folder", TokenizerFiles(data, config), open_tokenizer))

    def one(seed) -> None:
        dice = Random(seed)
        data = mutate_json(dice, sound, dice.randint(1, 3))
        config = mutate_tree(dice, copy.deepcopy(CONFIG)) if dice.random() < 0.3 else CONFIG
        with bounded(allowed(len(data))):
            wait(opened(data, config if isinstance(config, dict) else {}))

    wait(opened(sound, CONFIG))
    explore(request, 12, SEED, one)
