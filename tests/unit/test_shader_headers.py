"""Every kernel's header says what its code does: bindings, their access, the entry point."""

import re

import pytest

from local_llm.gpu import wgsl

LINE = re.compile(r"^//   (\w+) +(.+?) +(read|read_write|uniform)(?: {2,}.*)?$")
INCLUDES = {"weight": "q4_1", "raw": "raw_q4_1", "target": "quantize_q8_0"}


def header(text: str) -> list[str]:
    lines = text.splitlines()
    return lines[: next(i for i, line in enumerate(lines) if not line.startswith("//"))]


@pytest.mark.parametrize("name", wgsl.kernel_names())
def test_header(name):
    text = (wgsl.shader_folder() / f"{name}.wgsl").read_text()
    lines = header(text)
    assert lines[0].startswith(f"// {name}: "), "the first line says name and mathematics"
    told = [match.group(1, 3) for match in map(LINE.match, lines) if match]
    found = [(binding.name, binding.access) for binding in wgsl.bindings(wgsl.source(name, INCLUDES))]
    assert told == found
    assert any(re.match(r"//   grid +\S", line) for line in lines), "the header says the grid"


@pytest.mark.parametrize("name", wgsl.kernel_names())
def test_override_constants_come_first(name):
    """Naga, Firefox's compiler, panics where one comes after the size of an array that is made of others."""
    lines = wgsl.source(name, INCLUDES).splitlines()
    found = [line for line in lines if re.match(r"\s*(@id\(.*\)\s*)?override\b", line)]
    assert lines[: len(found)] == found
    assert len(set(found)) == len(found)
    assert ("override" in (wgsl.shader_folder() / f"{name}.wgsl").read_text()) <= bool(found)


@pytest.mark.parametrize("name", wgsl.kernel_names())
def test_entry_point_is_the_file_name(name):
    code = wgsl.source(name, INCLUDES)
    assert re.findall(r"@compute\s+@workgroup_size\([^)]*\)\s*fn\s+(\w+)", code) == [name]


@pytest.mark.parametrize("path", sorted(wgsl.shader_folder().rglob("*.wgsl")), ids=lambda path: path.stem)
def test_size(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 200
    assert max(map(len, lines)) <= 120
    assert lines[0].startswith("// ")


@pytest.mark.parametrize("path", sorted(wgsl.shader_folder().rglob("*.wgsl")), ids=lambda path: path.stem)
def test_no_lane_writes_a_component_of_a_shared_vector(path):
    """WGSL lets such a write write the whole vector, and Metal does: lanes must not share one."""
    text = path.read_text()
    for name in re.findall(r"var<workgroup>\s+(\w+)\s*:\s*array<vec", text):
        assert not re.findall(rf"^\s*{name}\[.*\](?:\[.*\]|\.[xyzw])\s*[-+*]?=(?!=)", text, re.MULTILINE)
