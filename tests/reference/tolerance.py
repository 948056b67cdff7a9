"""How far a kernel may be from the reference: one constant per storage type of what it reads or writes.

Weights are decoded exactly and sums are f32 on the GPU, so a dot product's error is that of f32 summation,
relative to the size of its terms; `atol` covers sums that cancel, for inputs of order 1.
"""

from typing import TypedDict


class Tolerance(TypedDict):
    """Arguments of numpy's assert_allclose."""

    rtol: float
    atol: float


F32: Tolerance = {"rtol": 2e-5, "atol": 2e-5}
DOT: Tolerance = {"rtol": 1e-4, "atol": 2e-4}  # dot products of up to 4,096 terms of order 1
F16: Tolerance = {"rtol": 2e-3, "atol": 1e-3}  # values that were stored as f16 (the key-value cache)
MODEL: Tolerance = {"rtol": 2e-3, "atol": 1e-2}  # logits of order 10, keys and values stored as f16
GOLDEN: Tolerance = {"rtol": 1e-2, "atol": 5e-2}  # the same against a reference that keeps keys and values as f32
# The same, kept as bytes: what lies between two steps, each 1/127 of a peak, becomes one or the other.
BYTES: Tolerance = {"rtol": 2e-3, "atol": 1e-1}
