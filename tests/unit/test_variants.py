"""What may run for a product: the rule first, the rest within every adapter's limits; a choice goes before the rule."""

from dataclasses import replace

import pytest

from local_llm.gpu.memory import Memory
from local_llm.ops.shared import Shared
from local_llm.ops.variants import Shape, candidates, matvec_variant
from local_llm.ops.weight import Weight
from tests.reference.recording_device import CAPS, RecordingDevice

GPU = replace(CAPS, software=False)
SHAPES = [
    Shape(kernel, "q4_0", rows, cols)
    for kernel in ("matvec", "matvec_glu")
    for rows in (2, 576, 2048, 4096, 8192, 16384, 151936)
    for cols in (32, 257, 576, 896, 1536, 2048, 4096, 14336)
]


@pytest.fixture
def shared():
    memory = Memory(RecordingDevice(GPU))
    return Shared(GPU, memory.create(16, "step"), memory.create(16, "dummy"))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_candidates_begin_with_the_rule_and_fit_small_adapters(shared, shape):
    found = candidates(GPU, shape)
    weight = Weight(shape.format, shape.rows, shape.cols, ())
    assert found[0] == matvec_variant(shared, weight, shape.kernel == "matvec_glu")
    assert 3 <= len(found) == len({str(each) for each in found}) <= 12
    for each in found:
        lanes, teams, rows = (each.constants[name] for name in ("LANES", "TEAMS", "ROWS"))
        assert each.rows == teams * rows
        assert lanes % 4 == 0 < lanes * teams <= 256
        assert rows in ((2, 4) if shape.kernel == "matvec_glu" else (1, 2, 4))
        assert 16 * 8 * (lanes + 1) + 4 * teams * rows * (lanes + 1) + 4 * lanes * teams <= GPU.workgroup_bytes


def test_software_adapters_have_one(shared):
    assert [each.suffix for each in candidates(CAPS, SHAPES[0])] == ["_serial"]


def test_a_choice_holds_for_its_shape_alone(shared):
    shape = Shape("matvec", "q4_0", 576, 576)
    other = candidates(GPU, shape)[1]
    tuned = replace(shared, choices={shape: other})
    weight = Weight("q4_0", 576, 576, ())
    assert matvec_variant(tuned, weight) == other != matvec_variant(shared, weight)
    for rest, pairs in ((weight, True), (replace(weight, format="q8_0"), False), (replace(weight, rows=64), False)):
        assert matvec_variant(tuned, rest, pairs) == matvec_variant(shared, rest, pairs)
