"""What make_golden.py left: configs, ids and logits of Hugging Face's tiny models; their weights are drawn again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.reference.draw import draw

FOLDER = Path(__file__).with_name("golden")
NAMES = sorted(path.stem for path in FOLDER.glob("*.npz"))


@dataclass(frozen=True)
class Golden:
    """weights: by Hugging Face's names, as its modules hold them. The first 40 ids are a prompt."""

    config: dict[str, Any]
    ids: list[int]
    logits: np.ndarray = field(repr=False)
    weights: dict[str, np.ndarray] = field(repr=False)


def load_golden(name: str) -> Golden:
    with np.load(FOLDER / f"{name}.npz") as stored:
        shapes, drawn = json.loads(str(stored["shapes"])), json.loads(str(stored["drawn"]))
        weights = {key: draw(key, tuple(shape), **drawn) for key, shape in shapes.items()}
        return Golden(json.loads(str(stored["config"])), stored["ids"].tolist(), stored["logits"], weights)
