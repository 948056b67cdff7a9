"""The seam between Python and the bridge, from inside Pyodide, with pytest-pyodide's runner and decorator."""

from __future__ import annotations

import pytest
from pytest_pyodide import run_in_pyodide
from pytest_pyodide.runner import PlaywrightChromeRunner
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers


class SiteRunner(PlaywrightChromeRunner):
    """Pyodide as the site starts it: boot.js, wheels, bridge. The browser is ours, so nothing is downloaded."""

    script_timeout = 120

    def prepare_driver(self) -> None:
        self.goto(self.base_url)

    def load_pyodide(self) -> None:
        script = "const { pyodide } = await ModuleLoader.getModule('LocalLLM');"
        self.run_js(script + self.POST_LOAD_PYODIDE_SCRIPT)


@pytest.fixture(scope="module")
def selenium(browser, server):
    """pytest-pyodide's name for the page."""
    runner = SiteRunner(browsers={"chrome": browser}, server_port=server.port)
    yield runner
    runner.quit()


@pytest.fixture(scope="module")
def code():
    return MULTIPLY


MULTIPLY = """
@group(0) @binding(0) var<storage, read_write> y: array<u32>;
override FACTOR: u32 = 1;
override OFFSET: u32 = 0;
@compute @workgroup_size(4) fn multiply(@builtin(global_invocation_id) id: vec3u) {
  y[id.x] = y[id.x] * FACTOR + OFFSET;
}
"""


@run_in_pyodide
async def test_a_plan_is_replayed(selenium, code):
    import struct

    from local_llm.browser.device import open_device
    from local_llm.gpu.ports import Dispatch

    device = await open_device()
    buffer = device.create_buffer(32, "y")
    device.write(buffer, struct.pack("<8I", *range(8)))
    triple = await device.create_pipeline(code, "multiply", ["read_write"], {"FACTOR": 3})
    double = await device.create_pipeline(code, "multiply", ["read_write"], {"FACTOR": 2, "OFFSET": 1})
    steps = [(triple, 1), (triple, 1), (double, 2)]
    plan = device.record([Dispatch(one, device.bind(one, [buffer]), (groups, 1, 1)) for one, groups in steps])
    device.submit(plan, times=2)
    early = device.read(buffer, 16)
    device.submit(plan)
    late = device.read(buffer, 32)
    assert struct.unpack("<4I", await early) == (19, 343, 667, 991)  # x → 18 x + 1, twice
    assert struct.unpack("<8I", await late) == (343, 6175, 12007, 17839, 39, 47, 55, 63)  # x → 2 x + 1, three times
    assert struct.unpack("<1I", await device.read(buffer, 4, 8)) == (12007,)
    await device.idle()
    device.close()


@run_in_pyodide
async def test_a_rejected_command_is_told_once(selenium, code):
    from local_llm.browser.device import open_device
    from local_llm.errors import GPUFault
    from local_llm.gpu.ports import Dispatch

    device = await open_device()
    buffer = device.create_buffer(16, "y")
    pipeline = await device.create_pipeline(code, "multiply", ["read_write"], {"FACTOR": 2})
    plan = device.record([Dispatch(pipeline, device.bind(pipeline, [buffer]), (1 << 20, 1, 1))])
    for wait in (lambda: device.read(buffer, 4), device.idle):
        device.submit(plan)
        said = "nothing"
        try:
            await wait()
        except GPUFault as error:
            said = str(error)
        assert "65535" in said, said
        assert await device.read(buffer, 4) == bytes(4)
    device.close()


@run_in_pyodide
async def test_a_kernel_that_does_not_compile(selenium, code):
    from local_llm.browser.device import open_device
    from local_llm.errors import GPUFault

    device = await open_device()
    for text, entry in ((code.replace("* FACTOR", "* FACTORS"), "multiply"), (code, "divide")):
        said = "nothing"
        try:
            await device.create_pipeline(text, entry, ["read_write"], {})
        except GPUFault as error:
            said = str(error)
        assert f"'{entry}' does not compile" in said, said
    await device.idle()  # the failed compilation is not told twice
    device.close()


@run_in_pyodide
async def test_memory_that_is_refused(selenium):
    from local_llm.browser.device import open_device
    from local_llm.errors import GPUFault, OutOfMemory

    device = await open_device()
    device.create_buffer(device.caps.max_buffer_bytes * 2, "too large")
    said = "nothing"
    try:
        await device.idle()
    except (OutOfMemory, GPUFault) as error:
        said = str(error)
    assert "size" in said, said
    device.close()


@run_in_pyodide
async def test_a_device_that_goes_away(selenium):
    from local_llm.browser.device import open_device
    from local_llm.errors import DeviceLost

    device = await open_device()
    buffer = device.create_buffer(16, "y")
    device.gpu.device.destroy()  # as the browser does it: behind our back
    for call in (lambda: device.read(buffer, 4), device.idle):
        try:
            await call()
            raise AssertionError("a lost device answered")
        except DeviceLost:
            pass
    device.close()
    try:
        device.submit(device.record([]))
        raise AssertionError("a closed device took work")
    except DeviceLost:
        pass
    device.close()


@run_in_pyodide
async def test_reads_overlap_and_reuse_staging(selenium):
    import asyncio

    from local_llm.browser.device import open_device

    device = await open_device()
    buffer = device.create_buffer(4 << 20, "y")
    early = []
    for value in range(10):
        device.write(buffer, bytes([value]) * 8, 4)
        early.append(device.read(buffer, 8, 4))
    assert await asyncio.gather(*early) == [bytes([value]) * 8 for value in range(10)]
    for size in (4, 8, 260, 100_000, 4 << 20):
        data = bytes(range(1, 201)) * (size // 200 + 1)
        device.write(buffer, data[:size])
        assert await device.read(buffer, size) == data[:size], size
    assert await device.read(buffer, 0) == b""
    device.close()


@run_in_pyodide
async def test_features_can_be_left_out(selenium):
    from local_llm.browser.device import open_device

    device = await open_device(features=[])
    assert "subgroups" not in device.caps.features
    assert device.caps.software
    assert device.caps.max_workgroups >= 65535
    device.close()


@run_in_pyodide
async def test_settings_are_kept(selenium):
    import js

    from local_llm.browser.store import BrowserStore

    store = BrowserStore()
    assert await store.get("colour") is None
    await store.set("colour", "grün")
    assert await BrowserStore().get("colour") == "grün"
    assert js.localStorage.getItem("local-llm:colour") == "grün"
    await store.set("colour", "")
    assert await store.get("colour") == ""


TEXT = "naïve 🙂 日本語    four spaces\n\tand 12345 digits <|end|>"


@pytest.fixture(scope="module")
def tokenizer():
    """A byte-level BPE of 300 tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<|end|>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    return tokenizer


@pytest.fixture(scope="module")
def definition(tokenizer):
    return tokenizer.to_str()


@run_in_pyodide
async def encoded_in_the_page(selenium, definition, text):
    from local_llm.browser.boot import host
    from local_llm.errors import CorruptModel

    tokenizer = await host().open_tokenizer(definition.encode())
    ids = tokenizer.encode(text)
    try:
        await host().open_tokenizer(b"{}")
        raise AssertionError("an empty definition was accepted")
    except CorruptModel:
        pass
    return [ids, tokenizer.decode(ids), tokenizer.decode([]), tokenizer.encode("")]


def test_the_tokenizer_library(selenium, tokenizer, definition):
    """The wasm build gives what the wheel of the same library gives natively."""
    ids = tokenizer.encode(TEXT, add_special_tokens=False).ids
    found = encoded_in_the_page(selenium, definition, TEXT)  # pyright: ignore[reportCallIssue]: the decorator adds one
    assert found == [ids, TEXT, "", []]


@run_in_pyodide
async def pauses_outlived(selenium):
    import asyncio
    from itertools import chain, repeat

    from local_llm.browser.waiting import within

    found, loop = [], asyncio.get_running_loop()
    try:
        for wait in (within, asyncio.wait_for):
            seconds = chain([0, 0], repeat(1))  # a pause before the third look at the clock
            loop.time = lambda seconds=seconds: next(seconds)
            try:
                await wait(asyncio.Event().wait(), 0.1)
            except (TimeoutError, ValueError) as error:
                found.append(type(error).__name__)
    finally:
        del loop.time
    return found


def test_a_pause_longer_than_a_wait_ends_the_wait_only(selenium):
    """What asyncio itself makes of it is the reason why we do not use it: this fails when Pyodide has mended that."""
    assert pauses_outlived(selenium) == ["TimeoutError", "ValueError"]
