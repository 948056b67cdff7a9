"""The style sheet's colours can be read: contrast as WCAG 2 counts it, in light and in dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CSS = (Path(__file__).resolve().parents[2] / "py" / "local_llm" / "widget" / "widget.css").read_text(encoding="utf-8")
PAIRS = {name: (light, dark) for name, light, dark in re.findall(r"--llm-([\w-]+): light-dark\((#\w+), (#\w+)\)", CSS)}


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, two: str) -> float:
    dark, light = sorted((luminance(one), luminance(two)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_counted_right():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        ("text", "surface"),
        ("text", "ground"),
        ("text", "mine"),
        ("quiet", "surface"),
        ("quiet", "ground"),
        ("accent", "surface"),
        ("busy", "surface"),
        ("error", "surface"),
        ("error", "ground"),
        ("on-accent", "accent"),
    ],
)
def test_text_can_be_read(text, ground, theme):
    assert contrast(PAIRS[text][theme], PAIRS[ground][theme]) >= 4.5


def test_every_colour_used_is_defined():
    used = set(re.findall(r"var\(--llm-([\w-]+)\)", CSS))
    assert used <= {*PAIRS, "radius", "font"}
