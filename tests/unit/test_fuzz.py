"""Files with any bytes changed, templates of any pieces: a sound reading or a typed error, soon, and in little memory.

`--soak` tries some hundred times as many.
"""

from __future__ import annotations

import shutil
import time
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local_llm.errors import LocalLLMError
from local_llm.formats.opening import open_checkpoint
from local_llm.models.families import family_of
from local_llm.models.weights import check
from local_llm.native.blobs import open_blobs
from local_llm.native.tokenizer import open_tokenizer
from local_llm.text.chat_template import render
from local_llm.text.dialogue import open_dialogue
from local_llm.text.folder import TokenizerFiles
from tests.conftest import wait
from tests.model.tiny import write_tiny_gguf
from tests.reference.folders import write_huggingface, write_mlc
from tests.reference.gguf_writer import split_gguf

CONSTANT = 12 << 20  # bytes beside those of the files: the tokenizer's tables, jinja2's compiler
SLOW = 5.0  # seconds for one of them; some hundredths are usual
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
PIECES = (
    *("{{ ", " }}", "{% ", " %}", "for m in messages", "for i in range(9999)", "endfor", "if m.role == 'user'", "else"),
    *(
        "endif",
        "m.content",
        "messages",
        "messages[0]",
        "m",
        "set x = ",
        "x",
        " ~ ",
        " * ",
        " + ",
        " ** ",
        "9999",
        "'a'",
        "|",
    ),
    *(
        "tojson",
        "length",
        "join(x)",
        "list",
        "replace('a', 'aa')",
        "center(99999)",
        "batch(2)",
        "map('upper')",
        "macro f()",
    ),
    *(
        "endmacro",
        "f()",
        "f(x)",
        "namespace(x=1)",
        "raise_exception('no')",
        "loop.index",
        "loop(x)",
        "recursive",
        "in",
        "(",
        ")",
    ),
    *(
        "[",
        "]",
        ".__class__",
        ".format(x)",
        "'%9999999d' % 1",
        "strftime_now('%Y')",
        "generation",
        "endgeneration",
        "{#",
        "\n",
    ),
)


def explore(request, examples: int, strategy, one) -> None:
    """Run one(example) for many examples, in a bounded time and memory each."""
    soak = request.config.getoption("--soak")

    @settings(
        max_examples=examples * (300 if soak else 1),
        deadline=None,
        database=None,
        derandomize=not soak,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(strategy)
    def run(example):
        begun = time.perf_counter()
        one(example)
        assert time.perf_counter() - begun < SLOW

    run()


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


def test_any_edit_of_any_file_ends_well(request, sound, tmp_path):
    folder, name = sound
    texts = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    limit = CONSTANT + sum(map(len, texts.values()))
    broken = tmp_path / "broken"
    broken.mkdir()

    def one(edits) -> None:
        changed = dict(texts)
        for which, at, gone, come, end in edits:
            file = sorted(changed)[which % len(changed)]
            data = changed[file]
            at %= len(data) + 1
            changed[file] = data[:at] if end == 0 else data[:at] + come + data[at + gone :]
        for file, data in changed.items():
            if not (broken / file).exists() or (broken / file).read_bytes() != data:
                (broken / file).write_bytes(data)
        tracemalloc.start()
        try:
            with suppress(LocalLLMError):
                read_all(str(broken / name))
            assert tracemalloc.get_traced_memory()[1] < limit
        finally:
            tracemalloc.stop()

    read_all(str(folder / name))  # raises nothing
    explore(request, 60, st.lists(EDIT, min_size=1, max_size=3), one)


def test_templates_of_any_pieces_are_bounded(request):
    def one(pieces) -> None:
        with suppress(LocalLLMError):
            assert len(render("".join(pieces), HELLO)) < 1 << 20

    explore(request, 300, st.lists(st.sampled_from(PIECES), min_size=1, max_size=14), one)


@pytest.mark.parametrize("text", ["{{ messages }}", "{% for m in messages %}{{ m.content }}{% endfor %}"])
def test_the_pieces_can_make_a_template(text):
    assert "Hello" in render(text, HELLO)
