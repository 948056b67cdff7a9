"""The table of tensor types, against the `gguf` package's."""

import gguf
import pytest

from local_llm.errors import UnsupportedModel
from local_llm.formats.quant import BY_CODE, BY_NAME, SUPPORTED_FORMATS, TENSOR_TYPES, require_format


def test_every_type_that_ggml_knows_is_listed_with_its_block():
    theirs = {kind.name: (int(kind), *gguf.GGML_QUANT_SIZES[kind]) for kind in gguf.GGMLQuantizationType}
    assert {kind.name: (kind.code, kind.block, kind.nbytes) for kind in TENSOR_TYPES} == theirs


def test_lookups_hold_every_type_once():
    assert len(BY_CODE) == len(BY_NAME) == len(TENSOR_TYPES)


def test_formats_are_the_lower_case_names_of_the_types_the_gpu_decodes():
    kinds = "F32 F16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS BF16 MXFP4"
    assert kinds.split() == list(SUPPORTED_FORMATS)
    assert all(kind.format in (None, kind.name.lower()) for kind in TENSOR_TYPES)


def test_a_type_without_a_format_is_named_with_what_is_supported():
    assert require_format(BY_NAME["Q4_1"], "w") == "q4_1"
    with pytest.raises(UnsupportedModel, match=r"'blk\.0\.ffn_up\.weight' is stored as IQ2_XS.*Q4_1"):
        require_format(BY_NAME["IQ2_XS"], "blk.0.ffn_up.weight")
