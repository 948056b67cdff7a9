"""Makes tests/model/golden/*.npz: what Hugging Face transformers says of tiny random models. Not run by the tests.

    python3 -m venv t && t/bin/pip install torch==2.13.0 && t/bin/pip install transformers==5.23.0
    t/bin/python -m tests.reference.make_golden [FAMILY …]

Each file holds the config, the shapes of the parameters by name, draw's arguments (all JSON), the ids [48] and the
logits f32 [48, V], computed in float32 throughout; the weights are drawn from their names (draw.py). The last 8 ids
are the greedy continuation.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import transformers  # pyright: ignore[reportMissingImports]

from tests.reference.draw import draw

FOLDER = Path(__file__).parents[1] / "model" / "golden"
PROMPT, STEPS, VOCAB = 40, 8, 286
SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
MINISTRAL = {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0 + 0.1 * i for i in range(6)],
    "long_factor": [1.0 + 1.5 * i for i in range(6)],
    "partial_rotary_factor": 0.75,
}
LONG = {**LONGROPE, "partial_rotary_factor": 1.0}
LONG |= {key: [*LONG[key], 9.0, 11.0] for key in ("short_factor", "long_factor")}
GEMMA = {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 16}
LFM2 = ["conv", "full_attention", "conv", "conv"]
LFM2_FFN = {"block_multiple_of": 32, "tie_word_embeddings": True}
GRANITE = {
    "embedding_multiplier": 6.0,
    "residual_multiplier": 0.4,
    "attention_multiplier": 0.3,
    "logits_scaling": 2.0,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"tie_word_embeddings": False}),
    "llama3-scaling": ("Llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "mistral-window": ("Mistral", {"sliding_window": 12, "head_dim": 20}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2-yarn": ("Qwen2", {"rope_parameters": YARN}),
    "qwen3": ("Qwen3", {"head_dim": 32, "tie_word_embeddings": True}),
    "phi3": ("Phi3", {}),
    "phi3-long": ("Phi3", {"rope_parameters": LONG, "original_max_position_embeddings": 32}),
    "phi4-mini": (
        "Phi3",
        {"rope_parameters": LONGROPE, "original_max_position_embeddings": 128, "tie_word_embeddings": True},
    ),
    "gemma": ("Gemma", {"head_dim": 32}),
    "gemma2": ("Gemma2", {**GEMMA, "num_hidden_layers": 3}),
    "gemma3": ("Gemma3Text", {**GEMMA, "num_hidden_layers": 7}),
    "olmo2": ("Olmo2", {}),
    "ministral3": ("Ministral3", {"head_dim": 32, "rope_parameters": MINISTRAL}),
    "olmo3": ("Olmo3", {"num_hidden_layers": 4, "sliding_window": 16, "rope_parameters": YARN}),
    "ernie4_5": ("Ernie4_5", {"head_dim": 16, "tie_word_embeddings": True}),
    "exaone4": ("Exaone4", {"num_hidden_layers": 4, "sliding_window": 16, "tie_word_embeddings": True}),
    "lfm2": ("Lfm2", {"num_hidden_layers": 4, "intermediate_size": 120, "layer_types": LFM2, **LFM2_FFN}),
    "granite": ("Granite", {**GRANITE, "tie_word_embeddings": True}),
    "smollm3": ("SmolLM3", {"num_hidden_layers": 5, "tie_word_embeddings": True}),
}


DRAWN: dict[str, dict[str, float]] = {  # arguments of draw
    "Gemma": {"norm_center": 0.0, "embedding": 0.2, "final_norm": 5.0},
    "Gemma2": {"norm_center": 0.0, "embedding": 0.2, "final_norm": 5.0},
    "Gemma3Text": {"norm_center": 0.0, "embedding": 0.2, "final_norm": 5.0},
    "Granite": {"embedding": 0.05, "final_norm": 10.0},
}


def make(name: str) -> None:
    kind, changes = FAMILIES[name]
    config = getattr(transformers, f"{kind}Config")(**{**SHAPE, **changes}, attn_implementation="eager")
    model = getattr(transformers, f"{kind.removesuffix('Text')}ForCausalLM")(config).eval().float()
    drawn = DRAWN.get(kind, {})
    shapes = {key: tuple(p.shape) for key, p in model.named_parameters()}  # tied ones once
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(draw(key, shapes[key], **drawn)))
        ids = [(37 * i + 11) % VOCAB for i in range(PROMPT)]
        for _ in range(STEPS):
            ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        logits = model(torch.tensor([ids]), use_cache=False).logits[0].numpy()
    kept = {key: value for key, value in config.to_dict().items() if not key.startswith("_") and value is not None}
    FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(
        FOLDER / f"{name}.npz",
        config=np.array(json.dumps(kept)),
        drawn=np.array(json.dumps(drawn)),
        shapes=np.array(json.dumps(shapes)),
        ids=np.array(ids, np.int32),
        logits=logits.astype(np.float32),
    )
    ordered = np.sort(logits, -1)
    print(f"{name}: logits to {abs(logits).max():.1f}, median margin {np.median(ordered[:, -1] - ordered[:, -2]):.2f}")


def make_encoder() -> None:
    """golden/encoders/bert.npz: config, shapes, ids [40] and the last states f32 [40, 64]."""
    changes = {"num_key_value_heads": None, "max_position_embeddings": 64, "hidden_act": "gelu"}
    config = transformers.BertConfig(**{**SHAPE, **changes}, attn_implementation="eager")
    _make_states("bert", config, transformers.BertModel(config, add_pooling_layer=False).eval().float(), {}, {})


def _make_states(name: str, config: Any, model: Any, drawn: dict[str, float], more: dict[str, tuple[int, int]]) -> None:
    shapes = {key: tuple(p.shape) for key, p in model.named_parameters()}
    ids = [(37 * i + 11) % VOCAB for i in range(PROMPT)]
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(draw(key, shapes[key], **drawn)))
        states = model(torch.tensor([ids])).last_hidden_state[0].numpy()
    kept = {key: value for key, value in config.to_dict().items() if not key.startswith("_") and value is not None}
    (FOLDER / "encoders").mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        FOLDER / "encoders" / f"{name}.npz",
        config=np.array(json.dumps(kept)),
        drawn=np.array(json.dumps(drawn)),
        shapes=np.array(json.dumps(shapes | more)),
        ids=np.array(ids, np.int32),
        logits=states.astype(np.float32),
    )


def make_gemma_embedding() -> None:
    """golden/encoders/gemma_embedding.npz: config, shapes (the two last matrices' too), ids [40], last states."""
    changes = {**GEMMA, "num_hidden_layers": 7, "use_bidirectional_attention": True}
    config = transformers.Gemma3TextConfig(**{**SHAPE, **changes}, attn_implementation="eager")
    model = transformers.Gemma3TextModel(config).eval().float()
    _make_states(
        "gemma_embedding", config, model, DRAWN["Gemma3Text"], {"dense_2.weight": (96, 64), "dense_3.weight": (64, 96)}
    )


TEXTS = [
    "How do I bake bread at home?",
    "What is the way to make your own bread?",
    "The orbit of Jupiter takes almost twelve years.",
    "Übermäßig naïve café-Gäste – 東京は日本の首都です。 x² + y² = 1",
    "word " * 400,
]


def make_minilm() -> None:
    """golden/encoders/minilm.json: texts and the mean of the real model's states, of length 1."""
    folder = FOLDER.parents[2] / ".cache" / "assets" / "test-models" / "all-MiniLM-L6-v2"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, model_max_length=512)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval().float()
    vectors = []
    for text in TEXTS:
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        pooled = states.mean(0)
        vectors.append([round(float(number), 6) for number in pooled / pooled.norm()])
    text = json.dumps({"texts": TEXTS, "vectors": vectors}, ensure_ascii=False)
    (FOLDER / "encoders" / "minilm.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or [*FAMILIES, "bert", "gemma_embedding", "minilm"]:
        if wanted == "bert":
            make_encoder()
        elif wanted == "gemma_embedding":
            make_gemma_embedding()
        elif wanted == "minilm":
            make_minilm()
        else:
            make(wanted)
