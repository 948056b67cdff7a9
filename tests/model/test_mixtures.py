"""One file in which every matrix has another of GGUF's types: each is decoded, stacked and multiplied as its own."""

import numpy as np

from local_llm.formats.quant import SUPPORTED_FORMATS
from tests.model.tiny import write_tiny_gguf
from tests.reference import llama, quant, tolerance
from tests.reference.gguf_writer import Stored, store, write_gguf

IDS = [5, 60, 7, 120, 33, 200, 9]


async def test_every_type_in_one_file(llm, tmp_path):
    tiny = write_tiny_gguf(tmp_path / "tiny.gguf", width=256, heads=4, head_width=64, ffn=512, tied=False)
    rng = np.random.default_rng(0)
    kinds = [kind for kind in SUPPORTED_FORMATS if kind.lower() in quant.BLOCK_BYTES]
    stored, values, dealt = {}, dict(tiny.tensors), iter(kinds)
    for name, plain in tiny.tensors.items():
        kind = next(dealt, None) if plain.ndim > 1 else None
        if kind is None:
            stored[name] = store(plain, "F32")
            continue
        format = kind.lower()
        data = quant.random_weights(rng, format, *plain.shape)
        data = quant.shrink(format, data, 0 if name == "token_embd.weight" else 4)
        values[name] = quant.decode(format, data)
        stored[name] = Stored(plain.shape, kind, data.tobytes())
    assert next(dealt, None) is None, "every type has its matrix"
    write_gguf(tmp_path / "mixed.gguf", tiny.metadata, stored)
    await llm.init(str(tmp_path / "mixed.gguf"))
    wanted = llama.forward(dict(tiny.metadata), values, IDS)
    np.testing.assert_allclose(await llm.logits(IDS), wanted, **tolerance.MODEL)
    kinds_found = {row["type"] for row in (await llm.runtime_info())["quantization"]["tensor_types"]}
    assert kinds_found >= set(kinds)
