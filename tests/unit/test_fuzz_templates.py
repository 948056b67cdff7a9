"""Chat templates of any pieces: a text, or a typed error, soon, and in little memory, whatever they ask for."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import strategies as st

from local_llm.text.chat_template import render
from tests.model.tiny import CHATML
from tests.unit.fuzzing import bounded, explore, fuzzing
from tests.unit.golden.make_renders import TEMPLATES
from tests.unit.test_chat_template import HOSTILE, LLAMA2

HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
MOST = 80 << 20  # bytes: some texts of the largest size, in characters of four bytes
SOUND = (CHATML, LLAMA2, *TEMPLATES.values(), *(template for template, _ in HOSTILE.values()))
MARKS = ("{{ ", " }}", "{% ", " %}", "{%- ", " -%}", "{#", "#}", "(", ")", "[", "]", "{", "}", "|", ".", ",", ":", "\n")
WORDS = (
    *("for m in messages", "for i in range(9999)", "for i in range(10**9)", "endfor", "if m.role == 'user'", "else"),
    *(
        "endif",
        "elif x",
        "set x = ",
        "set x",
        "endset",
        "set n.x = ",
        "macro f()",
        "macro f(x)",
        "endmacro",
        "call f()",
    ),
    *("endcall", "filter upper", "endfilter", "generation", "endgeneration", "break", "continue", "raw", "endraw"),
    *(
        "include 'a'",
        "import 'a' as b",
        "extends 'a'",
        "block a",
        "endblock",
        "with x = x",
        "endwith",
        "autoescape true",
    ),
)
VALUES = (
    *(
        "m",
        "m.content",
        "messages",
        "messages[0]",
        "messages[::-1]",
        "x",
        "n",
        "i",
        "loop",
        "loop.index",
        "none",
        "true",
    ),
    *(
        "'a'",
        "'\\n'",
        "'\\t'",
        "'a' * 60000",
        "'%s'",
        "'{0}'",
        "'%9999999d'",
        "'{:{}}'",
        "9999",
        "10**9",
        "0",
        "-1",
        "2.5",
    ),
    *("'\\ud800'", "'\U0001f600' * 60000", "[]", "[x, x]", "(x, x)", "{1: x, 2: x}", "range(99999)", "namespace(x=1)"),
    *(
        "cycler(x, x)",
        "joiner(x)",
        "dict(x=x)",
        "varargs",
        "kwargs",
        "caller()",
        "f()",
        "f(x)",
        "loop(x)",
        "self",
        "lipsum",
    ),
    *("raise_exception('no')", "strftime_now('%Y')", "bos_token", "''.__class__", "().__class__.__bases__", "g.x"),
)
JOINTS = (*(" ~ ", " + ", " * ", " ** ", " % ", " // ", " - ", " / ", " and ", " or ", " in ", " == ", " < ", " if "),)
FILTERS = (
    *(
        "tojson",
        "tojson(indent=9)",
        "length",
        "join(x)",
        "join",
        "list",
        "replace('a', 'aa')",
        "replace('', x)",
        "title",
    ),
    *("center(60000)", "center(99999)", "batch(2)", "batch(3, x)", "slice(3)", "map('upper')", "map('center', 60000)"),
    *(
        "map(attribute='content')",
        "selectattr('role')",
        "select('odd')",
        "reject('string')",
        "items",
        "dictsort",
        "sort",
    ),
    *(
        "unique",
        "groupby('role')",
        "first",
        "last",
        "reverse",
        "string",
        "int",
        "float",
        "abs",
        "round(2)",
        "max",
        "sum",
    ),
    *("indent(60000)", "indent(x)", "format(x)", "escape", "safe", "default(x)", "trim", "truncate(9)", "wordcount"),
    *("attr('x')", "upper", "capitalize", "filesizeformat", "random", "urlize", "pprint", "striptags", "count", "min"),
)
METHODS = (
    *(".split()", ".split('a')", ".strip()", ".upper()", ".replace('a', x)", ".join(x)", ".format(x)", ".ljust(60000)"),
    *(".startswith('a')", ".items()", ".keys()", ".get('x')", ".append(x)", ".encode()", ".expandtabs(60000)", ".x"),
    *(".count(x)", ".index(x)", ".to_bytes(60000, 'big')", ".fromkeys(x, x)", ".format_map(x)", ".splitlines()", "[0]"),
)


def expression(dice: Random) -> str:
    """A value that a few things are done to."""
    text = dice.choice(VALUES)
    for _ in range(dice.randrange(5)):
        kind = dice.randrange(4)
        if kind == 0:
            text = f"({text} | {dice.choice(FILTERS)})"
        elif kind == 1:
            text = f"{text}{dice.choice(METHODS)}"
        elif kind == 2:
            text = f"({text}{dice.choice(JOINTS)}{dice.choice(VALUES)})"
        else:
            text = f"[{text}, {text}]"
    return text


def block(dice: Random, depth: int = 0) -> str:
    """A few statements that are well nested."""
    made = []
    for _ in range(dice.randint(1, 4)):
        kind = dice.randrange(7 if depth < 4 else 3)
        value = expression(dice)
        inner = block(dice, depth + 1) if kind > 2 else ""
        made.append(
            (
                f"{{{{ {value} }}}}",
                f"{{% set x = {value} %}}",
                f"{{% set n.x = {value} %}}",
                f"{{% for i in {value} %}}{inner}{{% endfor %}}",
                f"{{% if {value} %}}{inner}{{% endif %}}",
                f"{{% set x %}}{inner}{{% endset %}}",
                f"{{% macro f(m) %}}{inner}{{{{ f({value}) }}}}{{% endmacro %}}{{{{ f(x) }}}}",
            )[kind]
        )
    return "".join(made)


def pieces(dice: Random) -> str:
    """Anything after anything, or a template that is known with something in it."""
    if dice.random() < 0.5:
        kinds = (MARKS, MARKS, WORDS, VALUES, JOINTS, FILTERS, METHODS)
        return "".join(dice.choice(dice.choice(kinds)) for _ in range(dice.randint(1, 30)))
    text = dice.choice(SOUND)
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(text) + 1)
        text = text[:at] + dice.choice(dice.choice((MARKS, VALUES, JOINTS, METHODS))) + text[at + dice.randrange(4) :]
    return text


@fuzzing
@pytest.mark.parametrize("make", [block, pieces])
def test_any_template_is_bounded(request, make, monkeypatch):
    monkeypatch.setattr("local_llm.text.allowance.SECONDS", 0.3)  # what then takes longer is one operation

    def one(seed) -> None:
        text = "{% set x = 'a' %}{% set n = namespace(x=1) %}" * (make is block) + make(Random(seed))
        with bounded(MOST):
            assert len(render(text, HELLO)) < 1 << 20

    explore(request, 20 if make is block else 150, st.integers(0, (1 << 64) - 1), one)


@pytest.mark.parametrize("text", ["{{ messages }}", "{% for m in messages %}{{ m.content }}{% endfor %}"])
def test_a_template_can_be_sound(text):
    assert "Hello" in render(text, HELLO)
