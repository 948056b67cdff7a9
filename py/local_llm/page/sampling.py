"""The fields of the settings form: what was typed to options of a generation, and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local_llm.errors import InvalidRequest
from local_llm.generate.sampler import read_options

FIELDS = {"temperature": float, "top_p": float, "top_k": int, "max_tokens": int, "seed": int}


def read_fields(typed: Mapping[str, str]) -> dict[str, Any]:
    """Options of the fields that are not empty. Raises InvalidRequest that names the field."""
    options: dict[str, Any] = {}
    for name, sort in FIELDS.items():
        text = typed.get(name, "").strip()
        if not text:
            continue
        try:
            options[name] = sort(text)
        except ValueError:
            found = "a whole number" if sort is int else "a number"
            raise InvalidRequest(f"Option '{name}' must be {found}, found {text!r:.40}.") from None
    read_options(options)
    return options


def show_fields(options: Mapping[str, Any]) -> dict[str, str]:
    """What the fields show of the options; empty where the default holds."""
    return {
        name: "" if options.get(name) is None else f"{options[name]:g}" if sort is float else str(options[name])
        for name, sort in FIELDS.items()
    }
