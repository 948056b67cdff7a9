"""Chat templates: what Hugging Face's environment offers, what is refused, and that none can hang or fill memory."""

import json
import re
import time
import tracemalloc

import pytest

from local_llm.errors import InvalidRequest, UnsupportedModel
from local_llm.text.allowance import Allowance, Excess
from local_llm.text.chat_template import open_template, render
from local_llm.text.messages import check_messages
from tests.model.tiny import CHATML
from tests.unit.golden.make_renders import CHATS, GOLDEN, TEMPLATES, TOKENS

USER = [{"role": "user", "content": "Hi"}]
LLAMA2 = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] | trim + eos_token }}{% endif %}{% endfor %}"
)


def once(template, **extra):
    return render(template, USER, bos_token="<s>", eos_token="</s>", **extra)


# What templates may use


def test_chatml():
    messages = [{"role": "system", "content": "Be brief."}, *USER]
    text = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    assert render(CHATML, messages) == text + "<|im_start|>assistant\n"
    assert render(CHATML, messages, add_generation_prompt=False) == text


def test_bos_eos_and_a_refusal_by_the_template():
    answered = [*USER, {"role": "assistant", "content": " Ho "}]
    assert render(LLAMA2, answered, bos_token="<s>", eos_token="</s>") == "<s>[INST] Hi [/INST] Ho</s>"
    with pytest.raises(InvalidRequest, match="roles must alternate"):
        render(LLAMA2, [*USER, *USER])


def test_blocks_are_trimmed_as_the_authors_expect():
    assert once("{% for m in messages %}\n    {% if true %}\n{{ m.content }}!\n    {% endif %}\n{% endfor %}\nend") == (
        "Hi!\nend"
    )


def test_loop_controls_namespaces_macros_and_the_generation_tag():
    source = (
        "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}{% set ns = namespace(n=0) %}"
        "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i > 4 %}{% break %}{% endif %}"
        "{% set ns.n = ns.n + i %}{{ i }}{% endfor %}={{ ns.n }} {{ twice('ab' ~ 1) }}"
        "{% generation %}{{ messages[0].content }}{% endgeneration %}"
    )
    assert once(source) == "0134=8 ab1ab1Hi"


def test_tojson_does_not_escape_for_html():
    assert once("{{ value | tojson }}", value={"b": "<é>'&", "a": [1, None]}) == '{"b": "<é>\'&", "a": [1, null]}'
    assert once("{{ value | tojson(indent=2) }}", value={"a": 1}) == '{\n  "a": 1\n}'


def test_strings_join_replace_format_and_dates():
    assert once("{{ ['a', 'b'] | join('-') }}{{ '-'.join(['c', 'd']) }}") == "a-bc-d"
    assert once("{{ 'aXb' | replace('X', '+') }}{{ 'aXb'.replace('X', '-') }}") == "a+ba-b"
    assert once("{{ '%s=%d' % ('a', 7) }}{{ '{}!'.format('b') }}{{ '=' * 3 }}") == "a=7b!==="
    assert once("{{ messages | map(attribute='content') | join }}{{ [1, 2] + [3] }}") == "Hi[1, 2, 3]"
    assert len(once("{{ strftime_now('%Y-%m-%d') }}")) == 10


def test_extra_values_reach_the_template():
    assert once("{{ tools[0].name }}", tools=[{"name": "f"}]) == "f"


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_write_what_transformers_writes(template, chat):
    values = dict(CHATS[chat]) | TOKENS
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))[template][chat]
    if "error" in expected:
        with pytest.raises(InvalidRequest, match=re.escape(expected["error"])):
            render(TEMPLATES[template], values.pop("messages"), **values)
    else:
        assert render(TEMPLATES[template], values.pop("messages"), **values) == expected["text"]


# Messages

BAD_MESSAGES = {
    "none": ([], "messages is empty"),
    "a text": ("Hi", "must be a list of .role, content., found str"),
    "a dict": ({"role": "user", "content": "Hi"}, "found dict"),
    "nothing": (None, "found NoneType"),
    "a list of texts": (["Hi"], r"messages\[0\] must be a dict"),
    "an unknown role": ([*USER, {"role": "wizard", "content": ""}], r"messages\[1\] has the role 'wizard'"),
    "no role": ([{"content": "Hi"}], "the role None"),
    "a role that cannot be hashed": ([{"role": [], "content": "Hi"}], r"the role \[\]"),
    "an unknown key": ([{"role": "user", "content": "Hi", "colour": 1}], "unknown key 'colour'"),
    "no content": ([{"role": "user"}], "content must be a text or a list of texts, found NoneType"),
    "a number as content": ([{"role": "user", "content": 5}], "found int"),
    "an image": ([{"role": "user", "content": [{"type": "image_url"}]}], "a part of type 'image_url'"),
    "a text part without text": ([{"role": "user", "content": [{"type": "text"}]}], "a part of type 'text'"),
    "a number as name": ([{"role": "user", "content": "", "name": 1}], "name must be a text"),
}


@pytest.mark.parametrize("case", BAD_MESSAGES)
def test_bad_messages_are_named(case):
    messages, expected = BAD_MESSAGES[case]
    with pytest.raises(InvalidRequest, match=expected):
        render(CHATML, messages)


def test_lists_of_text_parts_become_one_text():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert check_messages([{"role": "user", "content": parts}]) == [{"role": "user", "content": "a\nb"}]


@pytest.mark.parametrize("template", [None, "", " \n", 5])
def test_a_base_model_points_to_complete(template):
    with pytest.raises(InvalidRequest, match=r"no chat template.*complete\(\)"):
        open_template(template)


# Hostile templates

TOO_LONG, TOO_MANY = "it builds more than", "it takes more than"
GROW = "{% set n = namespace(s=START) %}{% for a in range(40) %}{% set n.s = STEP %}{% endfor %}"


def grow(start, step):
    return GROW.replace("START", start).replace("STEP", step)


HOSTILE = {
    "broken syntax": ("{% for %}", "Expected an expression"),
    "deep nesting": ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "recursion"),
    "an undefined call": ("{{ nothing() }}", "'nothing' is undefined"),
    "a huge range": ("{% for a in range(10**9) %}{% endfor %}", "number beyond|Range too big"),
    "nested loops": ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", TOO_MANY),
    "doubling by +": (grow("'ab'", "n.s + n.s"), TOO_LONG),
    "doubling by ~": (grow("'ab'", "n.s ~ n.s"), TOO_LONG),
    "doubling a list": (grow("[1]", "n.s + n.s"), TOO_LONG),
    "squaring by join": (grow("'ab'", "[n.s, n.s, n.s] | join(n.s)"), TOO_LONG),
    "squaring by str.join": (grow("'ab'", "n.s.join([n.s, n.s, n.s])"), TOO_LONG),
    "squaring a number": (grow("10", "n.s * n.s"), "a huge number"),
    "a power": ("{{ 10 ** 9999 }}", "a huge power"),
    "repetition": ("{{ 'a' * 10**10 }}", TOO_LONG),
    "repeating a list": ("{{ 10**10 * [1] }}", TOO_LONG),
    "padding": ("{{ 'a'.ljust(10**7) }}", "a number beyond"),
    "a wide filter": ("{{ 'a' | center(10**7) }}", "a number beyond"),
    "a wide format": ("{{ '{:>10000000}'.format('a') }}", "a huge width"),
    "a width as argument": ("{{ '{:>{}}'.format('a', 10**7) }}", "a huge width"),
    "a width as a text": ("{{ '{:{}}'.format('a', '>99999999') }}", "a huge width"),
    "a wide % format": ("{{ '%10000000s' % 'a' }}", "a huge width"),
    "a width beside %": ("{{ '%*s' % (10**7, 'a') }}", "a huge width"),
    "the format filter": ("{{ '%10000000s' | format('a') }}", "a huge width"),
    "replacing": ("{% set a = 'a' * 9999 %}{{ a.replace('a', a) }}", TOO_LONG),
    "the replace filter": ("{% set a = 'a' * 9999 %}{{ a | replace('a', a) }}", TOO_LONG),
    "translating": ("{% set a = 'a' * 9999 %}{{ a.translate({97: a}) }}", "it calls str.translate"),
    "long output": ("{% for a in range(99) %}{{ 'a' * 9999 }}{% endfor %}", "it writes more than"),
    "recursion": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    "branching recursion": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(90) }}",
        TOO_MANY,
    ),
    "python's insides": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
    "a function's globals": ("{{ raise_exception.__globals__.time }}", "unsafe"),
    "changing the messages": ("{{ messages.append(1) }}", "unsafe"),
    "division by zero": ("{{ 1 / 0 }}", "division by zero"),
    "a wrong type": ("{{ messages + 1 }}", "concatenate list"),
    "a list in a list, many times": (
        "{% set a = ['x'] %}" + "{% set a = [a, a] %}" * 40 + "{{ a | tojson }}",
        TOO_LONG,
    ),
    "a dict in a dict, many times": ("{% set a = 'x' %}" + "{% set a = {1: a, 2: a} %}" * 40 + "{{ a }}", TOO_LONG),
    "a macro's arguments, many times": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1, varargs, varargs) }}{% else %}{{ varargs }}{% endif %}{% endmacro %}"
        "{{ f(40, 1, 1) }}",
        TOO_LONG,
    ),
    "texts in a list": (grow("[]", "n.s + ['a' * 60000 ~ a]"), TOO_LONG),
    "texts in a block": ("{% set t %}{% for a in range(999) %}{{ 'a' * 60000 }}{% endfor %}{% endset %}", TOO_LONG),
    "the template in a block": (
        "{% set t %}{% for a in range(999) %}" + "a" * 50000 + "{% endfor %}{% endset %}",
        TOO_LONG,
    ),
    "texts out of a filter": ("{{ range(99999) | map('center', 60000) | list | length }}", TOO_LONG),
    "many fields of %": ("{{ ('%(a)s' * 10000) % {'a': 'x' * 60000} }}", TOO_LONG),
    "many fields of format": ("{{ ('{0}' * 10000).format('x' * 60000) }}", TOO_LONG),
    "many fields of the filter": ("{{ ('%(a)s' * 10000) | format(a='x' * 60000) }}", TOO_LONG),
    "indenting": ("{{ ('\\n' * 60000) | indent('a' * 60000) }}", TOO_LONG),
    "indenting JSON": ("{{ messages | tojson(indent=60000) }}", "indents JSON"),
    "tabs": ("{{ ('\\t' * 60000).expandtabs(60000) }}", "it calls str.expandtabs"),
    "a number's bytes": ("{{ (1).to_bytes(60000, 'big') }}", "it calls int.to_bytes"),
    "adding up lists": ("{{ ([[1]] * 9999) | sum(start=[]) }}", "adds up something other"),
    "a filter that is none": ("{{ 'a' | urlize(target='x' * 60000) }}", "No filter named 'urlize'"),
    "a long number": ("{{ " + "9" * 5000 + " }}", "limit|huge"),
    "a long template": ("{{ a }}" * 10000, "70000 characters"),
    "a date as wide": ("{{ strftime_now('%99999999Y') }}", "huge width"),
    "another file": ("{% include '/etc/passwd' %}", "no loader"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_template_ends_in_a_typed_error_soon(case, monkeypatch):
    monkeypatch.setattr("local_llm.text.allowance.STEPS", 1000)
    template, reason = HOSTILE[case]
    start = time.thread_time()
    tracemalloc.start()
    try:
        with pytest.raises(UnsupportedModel, match=f"chat template cannot be used: .*{reason}"):
            once(template)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 80 << 20
    assert time.thread_time() - start < 20


def test_the_largest_template_is_compiled_soon():
    start = time.thread_time()
    tracemalloc.start()
    try:
        assert once("{{ 'a' if messages else 'b' | upper }}" * 1500) == "a" * 1500
        assert tracemalloc.get_traced_memory()[1] < 120 << 20
    finally:
        tracemalloc.stop()
    assert time.thread_time() - start < 10


def test_a_namespace_may_hold_itself():
    assert once("{% set a = namespace(n=1) %}{% set a.a = a %}{{ a.a.a.n }}{{ [a] }}") == "1[<namespace>]"


def test_large_conversations_stay_within_the_bounds():
    """As real templates treat them: lists are rebuilt, texts grow by each message."""
    messages = [{"role": "user", "content": f"message {n} " * 20} for n in range(1000)]
    source = (
        "{% set ns = namespace(all=[], text='') %}{% for m in messages %}{% set ns.all = ns.all + [m] %}"
        "{% if loop.index % 9 == 0 %}{% set ns.text = ns.text ~ m.content %}{% endif %}{% endfor %}"
        "{% for m in ns.all %}{{ '%s: %s' % (m.role, m.content | trim) }}{% endfor %}{{ ns.text | length }}"
    )
    assert len(render(source, messages)) > sum(len(message["content"]) for message in messages)
    assert (
        len(render("{{ messages[0].content | upper }}", [{"role": "user", "content": "\u00e9" * 500_000}])) == 500_000
    )


def test_time_is_bounded_too(monkeypatch):
    monkeypatch.setattr("local_llm.text.allowance.SECONDS", 0.05)
    monkeypatch.setattr("local_llm.text.allowance.STEPS", 1_000_000)
    with pytest.raises(UnsupportedModel, match=TOO_MANY):
        once(HOSTILE["nested loops"][0])


def test_a_pause_of_the_machine_is_not_the_templates(monkeypatch):
    monkeypatch.setattr("local_llm.text.allowance.SECONDS", 0.1)
    allowance = Allowance()
    allowance.begin(1 << 20)
    time.sleep(0.2)
    allowance.step()
    end = time.thread_time() + 0.2
    while time.thread_time() < end:
        pass
    with pytest.raises(Excess, match=r"more than 0\.1 seconds"):
        allowance.step()


def test_a_template_cannot_switch_the_bounds_off():
    source = "{% set environment = 1 %}{% set step = 1 %}{% for a in range(2) %}{{ a }}{% endfor %}"
    assert once(source) == "01"


def test_pythons_insides_look_undefined():
    assert once("[{{ '' | attr('__class__') | attr('__mro__') }}]") == "[]"


def test_a_template_does_not_change_the_callers_messages():
    messages = [{"role": "user", "content": "Hi"}]
    render("{{ messages[0].content }}", messages)
    assert messages == [{"role": "user", "content": "Hi"}]
