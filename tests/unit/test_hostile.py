"""Names and texts of a file stay data: no shader, no path and no key of the store is made of them."""

from __future__ import annotations

from typing import Any

import pytest

from local_llm.errors import UnsupportedModel
from tests.model.tiny import write_tiny_gguf
from tests.reference.recording_device import CAPS, RecordingDevice
from tests.unit.service_rig import Bench

EVIL = '<img src=x onerror="alert(1)">*/ fn matvec() {} //#include ../../secret\n../../etc/passwd\0${x}`'
HELLO = [{"role": "user", "content": EVIL}]


class Keeping(RecordingDevice):
    """Keeps the source of every shader."""

    def __init__(self) -> None:
        super().__init__(CAPS)
        self.sources: list[tuple[str, str, dict[str, float]]] = []

    async def create_pipeline(self, code, entry, bindings, constants):
        self.sources.append((code, entry, dict(constants)))
        return await super().create_pipeline(code, entry, bindings, constants)


async def used(folder, metadata: dict[str, Any]) -> tuple[list[Any], set[str], set[str]]:
    """The shaders, buffers' labels and keys of the store that a model with such metadata takes."""
    folder.mkdir()
    write_tiny_gguf(folder / "tiny.gguf", 1, metadata=metadata)
    bench, labels = Bench(folder), set[str]()
    bench.device = Keeping()
    create = bench.device.create_buffer

    def create_buffer(nbytes, label):
        labels.add(label)
        return create(nbytes, label)

    bench.device.create_buffer = create_buffer
    service = bench.service()
    await service.init("tiny")
    reply = await service.chat(HELLO, max_tokens=5)
    assert reply.usage.completion_tokens == 5
    return sorted(bench.device.sources, key=str), labels, set(bench.shelf.texts)


async def test_what_a_file_says_reaches_no_shader_and_no_key(tmp_path):
    template = "{% for m in messages %}{{ m.content }}{% endfor %}" + EVIL.replace("{", "(").replace("}", ")")
    hostile = {
        "general.name": EVIL,
        "general.description": EVIL,
        EVIL: EVIL,
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.chat_template": template,
        f"tokenizer.chat_template.{EVIL}": EVIL,
        "general.tags": [EVIL, EVIL],
    }
    plain, evil = await used(tmp_path / "plain", {}), await used(tmp_path / "evil", hostile)
    assert plain == evil
    assert not any("alert" in str(part) or "passwd" in str(part) for part in evil)


@pytest.mark.parametrize("key", ["general.architecture", "tokenizer.ggml.model"])
async def test_a_kind_that_nobody_knows_is_told_in_a_few_words(tmp_path, key):
    with pytest.raises(UnsupportedModel) as raised:
        await used(tmp_path / "odd", {key: EVIL * 1000})
    assert len(str(raised.value)) < 600
