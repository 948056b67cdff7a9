"""Every family, source and format in the page, through its own face: logits of tiny models equal the references."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.browser.harness import boot, python
from tests.model.golden import NAMES, load_golden
from tests.model.tiny import write_tiny_gguf
from tests.reference import llama, quant, tolerance
from tests.reference.convert import tokenizer_metadata, write_converted
from tests.reference.folders import (
    encode_safetensors,
    from_mlc,
    rounded,
    write_huggingface,
    write_json,
    write_mlc,
    write_tokenizer,
)
from tests.reference.gguf_writer import Stored, split_gguf, store, write_gguf
from tests.unit.golden_tokenizers import golden, metadata_of
from tests.unit.texts import digest, texts

IDS = [5, 60, 7, 120, 33, 200, 9, 4]
SETUP = """() => {
    globalThis.packed = ({ shape, data }) => {
        const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
        return [shape, btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""))];
    };
    globalThis.fetched = async (url) => new Uint8Array(await (await fetch(url)).arrayBuffer());
    globalThis.answered = async (source, ids, options) => {
        await llm.init(source, options);
        return packed(await llm.logits(ids));
    };
    globalThis.told = (promise) => promise.then(() => null, ({ name, message }) => ({ name, message }));
}"""
FROM_DISK = '<input id="one" type="file"><input id="folder" type="file" webkitdirectory>'


@pytest.fixture(scope="module")
def page(browser, server):
    """One page for all; huggingface.co is the test server's /hub/."""
    page = browser.new_page()
    page.set_default_timeout(120_000)

    def hub(route):
        path = "/hub/" + route.request.url.split("//huggingface.co/")[1]
        kind, data = server.files.get(path, ("text/plain", None))
        start, stop, status = 0, len(data or b""), 200 if data is not None else 404
        wanted = route.request.headers.get("range")
        if wanted and data is not None:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop, status = int(first), min(int(last) + 1, stop) if last else stop, 206
        shown = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Content-Range"}
        if status == 206 and data is not None:
            shown["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        route.fulfill(status=status, content_type=kind, headers=shown, body=(data or b"")[start:stop])

    page.route("https://huggingface.co/**", hub)
    boot(page, server.url)
    page.evaluate(SETUP)
    page.evaluate("(html) => document.body.insertAdjacentHTML('beforeend', html)", FROM_DISK)
    yield page
    assert page.evaluate("async () => { await llm.unload(); return llm.getStatus().gpuBytes; }") == 0
    page.close()


def serve(server, prefix: str, place: Path) -> None:
    """A file, or all files of a folder, below /prefix."""
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    root = place.parent if place.is_file() else place
    for path in files:
        kind = "application/json" if path.suffix == ".json" else "application/octet-stream"
        server.files[f"/{prefix}{path.relative_to(root)}"] = (kind, path.read_bytes())


def array(packed) -> np.ndarray:
    shape, text = packed
    return np.frombuffer(base64.b64decode(text), np.float32).reshape(shape)


@pytest.mark.parametrize("name", NAMES)
def test_a_family_equals_transformers(page, server, tmp_path, name):
    """The prompt's logits, then eight greedy steps."""
    wanted = load_golden(name)
    serve(server, "families/", write_converted(tmp_path / f"{name}.gguf", wanted.config, wanted.weights, "F32"))
    got, ids = page.evaluate(
        """async ([url, ids, options]) => {
            const got = await answered(url, ids, options);
            const greedy = { maxTokens: 8, temperature: 0, ignoreEos: true };
            const { tokenIds } = await llm.complete(ids.slice(0, 40), greedy);
            return [got, tokenIds];
        }""",
        [f"families/{name}.gguf", wanted.ids, {"contextSize": 128} if name == "phi4-mini" else {}],
    )
    np.testing.assert_allclose(array(got), wanted.logits, **tolerance.GOLDEN)
    assert ids == wanted.ids[40:]


def test_an_encoder_embeds(page, server, tmp_path):
    """A BERT in a folder, whose 1_Pooling/config.json says how it pools; embed() in both faces."""
    wanted, folder = load_golden("encoders/bert"), tmp_path / "encoder"
    (folder / "1_Pooling").mkdir(parents=True)
    write_json(folder / "config.json", wanted.config)
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode_cls_token": True})
    write_tokenizer(folder, tokenizer_metadata())
    (folder / "model.safetensors").write_bytes(encode_safetensors(wanted.weights, "F32"))
    page.locator("#folder").set_input_files(folder)
    vectors, mean = page.evaluate(
        """async () => {
            await llm.init(document.querySelector("#folder").files);
            const all = packed(await llm.embed(["the cat", "on the mat"]));
            return [all, packed(await llm.embed("the cat", { pooling: "mean" }))];
        }"""
    )
    code = f"""
from local_llm import LocalLLM
llm = LocalLLM()
await llm.init({server.url + "encoder/"!r})
found = [(await llm.embed(["the cat", "on the mat"])).ravel().tolist()]
found.append((await llm._require().engine.embed([{wanted.ids}]))[0].tolist())
await llm.unload()
found
"""
    serve(server, "encoder/", folder)
    same, first = python(page, code)
    assert array(vectors).shape == (2, 64)
    np.testing.assert_allclose(array(vectors).ravel(), same, rtol=1e-5, atol=1e-6)
    assert not np.allclose(array(mean)[0], array(vectors)[0], atol=0.01)
    cls = wanted.logits[0] / np.linalg.norm(wanted.logits[0])
    np.testing.assert_allclose(first, cls, **tolerance.MODEL)


@pytest.fixture(scope="module")
def tiny(server, tmp_path_factory):
    """One model in every format; what each must answer, by the name of its folder."""
    root = tmp_path_factory.mktemp("formats")
    tiny = write_tiny_gguf(root / "tiny.gguf", tied=False)
    split_gguf(tiny.path, root / "parts", 3)
    write_huggingface(root / "st", tiny.metadata, tiny.tensors, "BF16", files=2)
    kept = write_mlc(root / "mlc", tiny.metadata, tiny.tensors, "q4f16_1")
    for name in ("tiny.gguf", "parts", "st", "mlc"):
        serve(server, "formats/" if name == "tiny.gguf" else f"formats/{name}/", root / name)
    serve(server, "hub/us/tiny/resolve/main/", root / "st")
    serve(server, "hub/us/ggufs/resolve/main/", tiny.path)
    half = {name: rounded(values, "BF16") for name, values in tiny.tensors.items()}
    answers = {"gguf": tiny.tensors, "st": half, "mlc": from_mlc(tiny.metadata, kept)}
    return root, {name: llama.forward(dict(tiny.metadata), values, IDS) for name, values in answers.items()}


def of_parts(name: str) -> str:
    return f"(async () => new File([await fetched('formats/{name}')], '{name.rsplit('/', 1)[-1]}'))()"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("'formats/tiny.gguf'", "gguf"),
        ("'formats/parts/tiny-00001-of-00003.gguf'", "gguf"),
        ("'formats/parts/tiny-00003-of-00003.gguf'", "gguf"),
        ("'formats/mlc/'", "mlc"),
        ("'formats/mlc/mlc-chat-config.json'", "mlc"),
        ("'formats/st/'", "st"),
        ("'us/tiny'", "st"),
        ("'us/ggufs:tiny.gguf'", "gguf"),
        ("fetched('formats/tiny.gguf')", "gguf"),
        ("(async () => (await fetched('formats/tiny.gguf')).buffer)()", "gguf"),
        ("(async () => new Blob([await fetched('formats/tiny.gguf')]))()", "gguf"),
        ("Promise.all([3, 1, 2].map(async (n) => new File([await fetched(`formats/parts/tiny-0000${n}-of-00003.gguf`)],"
         " `tiny-0000${n}-of-00003.gguf`)))", "gguf"),
        ("['formats/st/config.json', 'formats/st/tokenizer.json', 'formats/st/model.safetensors.index.json',"
         " ...[1, 2].map((n) => `formats/st/model-0000${n}-of-00002.safetensors`)]", "st"),
        ("(async () => { const all = await fetched('formats/tiny.gguf');"
         " return { size: all.length, read: (start, stop) => all.slice(start, stop) }; })()", "gguf"),
        ("(async () => { const all = await fetched('formats/tiny.gguf'); return { name: 'mine', size: all.length,"
         " async read(start, stop) { return all.buffer.slice(start, stop); } }; })()", "gguf"),
    ],
)  # fmt: skip
def test_a_source(page, tiny, source, kind):
    got = page.evaluate(f"async (ids) => answered(await ({source}), ids)", IDS)
    np.testing.assert_allclose(array(got), tiny[1][kind], **tolerance.MODEL)


@pytest.mark.parametrize(
    ("chosen", "source", "kind"),
    [
        ("tiny.gguf", "document.querySelector('#one').files[0]", "gguf"),
        ("tiny.gguf", "document.querySelector('#one').files", "gguf"),
        ("mlc", "document.querySelector('#folder').files", "mlc"),
        ("st", "[...document.querySelector('#folder').files].reverse()", "st"),
        ("parts", "document.querySelector('#folder').files", "gguf"),
    ],
)
def test_files_from_disk(page, tiny, chosen, source, kind):
    root, wanted = tiny
    page.locator("#folder" if (root / chosen).is_dir() else "#one").set_input_files(root / chosen)
    got = page.evaluate(f"(ids) => answered({source}, ids)", IDS)
    np.testing.assert_allclose(array(got), wanted[kind], **tolerance.MODEL)


def test_the_page_takes_folders(page, tiny):
    """All its files by the button, and dropped: a folder with a folder in it."""
    root, wanted = tiny
    page.evaluate("() => llm.unload()")
    page.locator("[data-part=file]").set_input_files(sorted((root / "mlc").iterdir()))
    page.wait_for_function("() => llm.isReady()")
    got = page.evaluate("async (ids) => packed(await llm.logits(ids))", IDS)
    np.testing.assert_allclose(array(got), wanted["mlc"], **tolerance.MODEL)
    shutil.copytree(root / "st", root / "dropped")
    (root / "dropped" / "0").mkdir()
    write_json(root / "dropped" / "0" / "config.json", {"model_type": "another"})
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(root / "dropped")], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 300, "data": data})
    page.wait_for_function("() => llm.isReady() && llm.getCurrentModel() === 'dropped'")
    got = page.evaluate("async (ids) => packed(await llm.logits(ids))", IDS)
    np.testing.assert_allclose(array(got), wanted["st"], **tolerance.MODEL)


@pytest.mark.parametrize(("bits", "least"), [(8, 0.999), (4, 0.9)])
def test_floats_are_quantized_while_loading(page, tiny, bits, least):
    code = """async ([ids, quantize]) => {
        const got = await answered("formats/st/", ids, { quantize });
        const { text } = await llm.chat([{ role: "user", content: "the cat" }], { maxTokens: 3 });
        return [got, llm.getStatus().gpuBytes, text];
    }"""
    got, held, _ = page.evaluate(code, [IDS, bits])
    plain = "await llm.init('formats/st/', { quantize: 0 }); return llm.getStatus().gpuBytes;"
    whole = page.evaluate(f"async () => {{ {plain} }}")
    assert held < whole
    assert least < np.corrcoef(array(got).ravel(), tiny[1]["st"].ravel())[0, 1] < 0.99999


def test_many_types_in_one_file(page, server, tmp_path):
    made = write_tiny_gguf(tmp_path / "plain.gguf", width=256, heads=4, head_width=64, ffn=512, tied=False)
    kinds = iter(["Q4_K", "Q6_K", "Q3_K", "IQ4_XS", "Q5_1"])
    rng, stored, values = np.random.default_rng(0), {}, dict(made.tensors)
    for name, plain in made.tensors.items():
        kind = next(kinds, None) if plain.ndim > 1 else None
        stored[name] = store(plain, "F32")
        if kind:
            data = quant.random_weights(rng, kind.lower(), *plain.shape)
            data = quant.shrink(kind.lower(), data, 0 if name == "token_embd.weight" else 4)
            values[name] = quant.decode(kind.lower(), data)
            stored[name] = Stored(plain.shape, kind, data.tobytes())
    serve(server, "formats/", write_gguf(tmp_path / "mixed.gguf", made.metadata, stored))
    got = page.evaluate("(ids) => answered('formats/mixed.gguf', ids)", IDS)
    np.testing.assert_allclose(array(got), llama.forward(dict(made.metadata), values, IDS), **tolerance.MODEL)


@pytest.mark.parametrize("kind", ["qwen2", "llama-bpe", "llama", "gemma", "t5", "bert"])
def test_words_have_the_ids_of_their_makers(page, kind):
    """Every tenth of the thousand texts, through the page's own tokenizer."""
    entries = {key: getattr(value, "tolist", lambda value=value: value)() for key, value in metadata_of(kind).items()}
    code = f"""
import json
import numpy as np
from local_llm.browser.boot import host
from local_llm.text.definition import tokenizer_json
from local_llm.text.gguf_vocabulary import read_vocabulary
from local_llm.text.tokenizer import TextCodec
metadata = json.loads({json.dumps(entries)!r})
for key, dtype in (("scores", np.float32), ("token_type", np.int32), ("precompiled_charsmap", np.uint8)):
    if f"tokenizer.ggml.{{key}}" in metadata:
        metadata[f"tokenizer.ggml.{{key}}"] = np.array(metadata[f"tokenizer.ggml.{{key}}"], dtype)
codec = TextCodec(read_vocabulary("x", metadata), await host().open_tokenizer(tokenizer_json(metadata, "x")))
[codec.encode(text, special=False) for text in json.loads({json.dumps(texts()[::10])!r})]
"""
    ids = golden()[kind]["ids"]
    wanted = [ids[6 * n : 6 * n + 6] for n in range(0, 1000, 10)]
    assert [digest(found) for found in python(page, code)] == wanted


@pytest.mark.parametrize(
    ("source", "name", "said"),
    [
        ("'odd/mamba.gguf'", "UnsupportedModel", ["'mamba'", "llama", "qwen3"]),
        ("'odd/mlc/'", "DownloadFailed", ["params_shard_1.bin"]),
        ("'odd/st/'", "DownloadFailed", ["model-00002-of-00002.safetensors"]),
        ("'odd/parts/tiny-00001-of-00003.gguf'", "DownloadFailed", ["tiny-00002-of-00003.gguf"]),
        ("['formats/parts/tiny-00001-of-00003.gguf']", "CorruptModel", ["3"]),
        ("'us/nothing'", "UnsupportedModel", ["us/nothing", "config.json"]),
        ("[]", "UnsupportedModel", ["list of 0 files"]),
        ("{ size: 3000, read: () => new Uint8Array(5) }", "CorruptModel", ["given object"]),
        (
            "{ size: 3000, read: () => { throw new Error('it is gone'); } }",
            "DownloadFailed",
            ["given object", "is gone"],
        ),
        ("{ size: 3000, read: async () => 'text', name: 'odd' }", "DownloadFailed", ["Reading odd failed"]),
        ("{ size: 'many', read: () => null }", "InvalidRequest", ["size must be a number of bytes", "many"]),
    ],
)
def test_what_cannot_be_loaded_is_named_and_nothing_stays(page, server, tiny, tmp_path, source, name, said):
    odd = tmp_path / "odd"
    shutil.copytree(tiny[0], odd)
    write_tiny_gguf(odd / "mamba.gguf", metadata={"general.architecture": "mamba"})
    missing = ["mlc/params_shard_1.bin", "st/model-00002-of-00002.safetensors", "parts/tiny-00002-of-00003.gguf"]
    for file in missing:
        (odd / file).unlink()
    serve(server, "odd/", odd)
    error = page.evaluate(f"() => told(llm.init({source}))")
    assert all(word in error["message"] for word in said), error
    assert error["name"] == name
    assert page.evaluate("() => [llm.getStatus().gpuBytes, llm.isReady()]") == [0, False]
    got = page.evaluate("(ids) => answered('formats/tiny.gguf', ids)", IDS)
    np.testing.assert_allclose(array(got), tiny[1]["gguf"], **tolerance.MODEL)
