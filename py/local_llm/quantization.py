"""How a model's weights are stored: bytes by tensor type, bits per weight. Read from the file's head alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from local_llm.formats.checkpoint import Checkpoint


@dataclass(frozen=True)
class Storage:
    """bytes_by_type, tensors_by_type: per GGUF type name, the largest first. bits_per_weight: over all tensors."""

    weights: int
    nbytes: int
    bits_per_weight: float
    bytes_by_type: dict[str, int]
    tensors_by_type: dict[str, int]

    def describe(self) -> dict[str, Any]:
        """JSON-able; types as a list, because the names of types are data and not to be renamed."""
        kinds = self.bytes_by_type
        return {
            "weights": self.weights,
            "nbytes": self.nbytes,
            "bits_per_weight": self.bits_per_weight,
            "tensor_types": [
                {"type": kind, "bytes": kinds[kind], "tensors": self.tensors_by_type[kind]} for kind in kinds
            ],
        }


def storage_of(checkpoint: Checkpoint) -> Storage:
    """Statistics of a file's tensors."""
    nbytes: dict[str, int] = {}
    tensors: dict[str, int] = {}
    weights = 0
    for tensor in checkpoint.tensors.values():
        kind = tensor.type.name
        nbytes[kind] = nbytes.get(kind, 0) + tensor.nbytes + (tensor.scales.nbytes if tensor.scales else 0)
        tensors[kind] = tensors.get(kind, 0) + 1
        weights += tensor.count
    total = sum(nbytes.values())
    order = sorted(nbytes, key=lambda kind: -nbytes[kind])
    return Storage(
        weights=weights,
        nbytes=total,
        bits_per_weight=8 * total / weights if weights else 0.0,
        bytes_by_type={kind: nbytes[kind] for kind in order},
        tensors_by_type={kind: tensors[kind] for kind in order},
    )
