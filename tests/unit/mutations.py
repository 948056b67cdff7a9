"""Sound files made unsound where it hurts: a value of another kind, size or place, in GGUF heads and JSON trees.

The same dice, the same change.
"""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from tests.reference.gguf_writer import Stored, Typed, encode_gguf

NUMBERS = (0, 1, -1, 2, 7, 255, 65535, 1 << 31, (1 << 32) - 1, 1 << 53, (1 << 63) - 1, (1 << 64) - 1, -(1 << 63))
TEXTS = (
    *("", " ", "a", "\0", "\u2581", "\ud800", "\ufffd", "a" * 5000, "../../x", "C:\\x", "<script>", "%s", "{0}"),
    *(
        "(a+)+$",
        "[",
        "NaN",
        "-1",
        "null",
        "\U0010ffff",
        "<|im_end|>",
        "BPE",
        "Unigram",
        "WordPiece",
        "F8_E4M3",
        "Split",
    ),
)
STRANGE = (
    *NUMBERS,
    *TEXTS,
    None,
    True,
    False,
    0.5,
    -0.0,
    1e308,
    float("inf"),
    float("nan"),
    [],
    {},
    [[]],
    [{}],
    [None],
)
_KEYS = (
    "type",
    "id",
    "content",
    "vocab",
    "merges",
    "model",
    "dtype",
    "shape",
    "data_offsets",
    "normalizers",
    "pattern",
)


def strange(dice: Random) -> Any:
    """A value that few expect, now and then a deep or a long one."""
    kind = dice.randrange(12)
    if kind == 0:
        value: Any = dice.choice(STRANGE)
        for _ in range(dice.choice((3, 50, 3000))):
            value = [value] if dice.random() < 0.5 else {dice.choice(_KEYS): value}
        return value
    if kind == 1:
        return [dice.choice(STRANGE)] * dice.choice((2, 17, 3000))
    if kind == 2:
        return dice.randrange(-(1 << 40), 1 << 40)
    return _copied(dice.choice(STRANGE))


def mutate_tree(dice: Random, tree: Any) -> Any:
    """One change somewhere in JSON values; the tree itself may be changed."""
    if not isinstance(tree, dict | list) or not tree or dice.random() < 0.02:
        return strange(dice)
    node, places = tree, [tree]
    while True:
        keys: Sequence[Any] = list(node) if isinstance(node, dict) else range(len(node))
        key = dice.choice(keys)
        inner = node[key]
        if not isinstance(inner, dict | list) or not inner or dice.random() < 0.2:
            break
        node = inner
        places.append(node)
    kind = dice.randrange(7)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[dice.choice((*_KEYS, "", "\0", "__proto__"))] = node.pop(key)
    elif kind == 1 and isinstance(node, list):
        node.insert(key, _copied(inner))
    elif kind == 2:
        other = dice.choice(places)
        node[key] = _copied(other[dice.choice(list(other) if isinstance(other, dict) else range(len(other)))])
    elif kind == 3 and isinstance(inner, int | float):
        node[key] = inner + dice.choice((-1, 1, 32, 1 << 31)) if dice.random() < 0.7 else -inner
    elif kind == 4 and isinstance(inner, str) and inner:
        at = dice.randrange(len(inner))
        node[key] = inner[:at] + dice.choice(TEXTS) + inner[at + dice.randrange(3) :]
    else:
        node[key] = strange(dice)
    return tree


def _copied(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except RecursionError:  # made too deep before
        return None


def mutate_json(dice: Random, data: bytes, times: int) -> bytes:
    """JSON with `times` changes."""
    tree = json.loads(data)
    for _ in range(times):
        tree = mutate_tree(dice, tree)
    return dumped(tree)


def mutate_safetensors(dice: Random, data: bytes, times: int) -> bytes:
    """A changed head, with its true length, before the same weights."""
    (length,) = struct.unpack_from("<Q", data)
    head = mutate_json(dice, data[8 : 8 + length], times)
    return struct.pack("<Q", len(head)) + head + data[8 + length :]


def dumped(tree: Any) -> bytes:
    try:
        return json.dumps(tree).encode("utf-8", "surrogatepass")
    except RecursionError:  # deeper than Python writes
        return b"[" * 5000 + b"]" * 5000


def mutate_gguf(
    dice: Random, metadata: Mapping[str, Any], tensors: Mapping[str, Stored], times: int, architectures: Sequence[str]
) -> bytes:
    """A GGUF file of these entries and tensors with `times` changes."""
    entries, stored = dict(metadata), dict(tensors)
    codes: dict[str, int] = {}
    dims: dict[str, list[int]] = {}
    offsets: dict[str, int] = {}
    for _ in range(times):
        kind = dice.randrange(12)
        if kind < 7 or not stored:
            entries = _other_entries(dice, entries, architectures)
            continue
        name = dice.choice(list(stored))
        if kind == 7:
            del stored[name]
        elif kind == 8:
            codes[name] = dice.choice((*range(40), 0xFFFFFFFF))
        elif kind == 9:
            shape = list(stored[name].shape[::-1])
            shape[dice.randrange(len(shape))] = dice.choice(NUMBERS) % (1 << 64)
            dims[name] = dice.choice((shape, shape[:1], [*shape, 1], [*shape, 1, 1, 1], []))
        elif kind == 10:
            offsets[name] = dice.choice(NUMBERS) % (1 << 64) if dice.random() < 0.5 else 32 * dice.randrange(4000)
        else:
            stored[dice.choice(("output.weight", "", "rope_freqs.weight", "blk.0.attn_q.bias"))] = stored.pop(name)
    known = {name: code for name, code in codes.items() if name in stored}
    alignment = dice.choice((32, 32, 8, 64)) if times > 1 else 32
    return encode_gguf(entries, stored, alignment=alignment, offsets=offsets, dims=dims, codes=known)


def _other_entries(dice: Random, entries: dict[str, Any], architectures: Sequence[str]) -> dict[str, Any]:
    key = dice.choice(list(entries) or ["general.name"])
    value = entries.get(key)
    kind = dice.randrange(8)
    if kind == 0:
        entries.pop(key, None)
    elif kind == 1:
        architecture = dice.choice(architectures)
        old = entries.get("general.architecture")
        entries = {k.replace(f"{old}.", f"{architecture}.", 1): v for k, v in entries.items()}
        entries["general.architecture"] = architecture
    elif kind == 2:
        entries[key] = entries[dice.choice(list(entries))] if entries else 1
    elif kind == 3 and isinstance(value, list) and value:
        entries[key] = _other_list(dice, value)
    elif kind == 4 and isinstance(value, str):
        at = dice.randrange(len(value) + 1)
        entries[key] = (value[:at] + dice.choice(TEXTS) + value[at:]).encode("utf-8", "surrogatepass")
    else:
        entries[key] = _any_value(dice)
    return entries


def _other_list(dice: Random, value: list[Any]) -> list[Any] | Typed:
    kind, at = dice.randrange(6), dice.randrange(len(value))
    if kind == 0:
        return value[:at] or Typed(9, [], 8)
    if kind == 1:
        return value + value[at:]
    if kind == 2:
        return [value[at]] * len(value)
    if kind == 3:
        return dice.choice((Typed(9, [0] * len(value), 0), Typed(9, [0.5] * len(value), 6), Typed(9, [True], 7)))
    other = dice.choice([text for text in TEXTS if "\ud800" not in text]) if isinstance(value[0], str) else 1 << 20
    if isinstance(value[0], float):
        other = float("nan")
    return [*value[:at], other, *value[at + 1 :]]


def _any_value(dice: Random) -> Any:
    kind = dice.randrange(8)
    if kind < 3:
        return dice.choice([number for number in NUMBERS if number >= -(1 << 31)])
    if kind < 5:
        return dice.choice(TEXTS).encode("utf-8", "surrogatepass")
    arrays = (Typed(9, [], 8), Typed(9, [], 4), Typed(9, [], 9), [[[1]]], [[[[[1]]]]], [1, 2, 3], ["a"])
    return dice.choice((True, 0.5, float("nan"), float("inf"), *arrays))
