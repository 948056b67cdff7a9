"""Jinja2's sandbox with bounds on what a rendering may use: chat templates come from untrusted files. Knows no chat."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from local_llm.text.allowance import Allowance, Excess

_MAX_SOURCE = 1 << 16  # characters of a template; real ones stay under 30,000
_SMALLEST = 1 << 16  # characters of the largest text, however small the messages are
_MAX_INDENT = 64
_FORBIDDEN = {
    str: frozenset({"translate", "maketrans", "format_map", "encode", "expandtabs"}),
    **dict.fromkeys((int, bool, float, complex, bytes), None),  # all of them
}
# Filters that no chat template uses and whose work grows faster than what they are given.
_DROPPED = ("urlize", "xmlattr", "wordwrap", "pprint", "striptags")
_LONG_WIDTH = re.compile(r"\d{5}|\*")
_NESTED_FIELD = re.compile(r"\{[^{}]*\{")


class Refused(TemplateError):
    """The template called raise_exception: these messages do not suit it."""


class GenerationTag(Extension):
    """{% generation %} … {% endgeneration %} marks the assistant's words for training; here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012 (jinja2's own type)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Space(Namespace):
    """A namespace that writes nothing of what it holds: it may hold itself."""

    def __repr__(self) -> str:
        return "<namespace>"


class _Watched(NodeTransformer):
    """Lets loops and macros count their turns, and sends `~` and containers through functions that check sizes."""

    def _counted(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        written = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        written += sum(len(const.value) for const in node.find_all(nodes.Const) if isinstance(const.value, str))
        node.body.insert(0, nodes.ExprStmt(_call("step", [nodes.Const(written)])).set_lineno(node.lineno))
        return node

    visit_For = visit_Macro = visit_CallBlock = _counted  # noqa: N815 (jinja2 finds them by these names)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _call("joined", node.nodes).set_lineno(node.lineno)

    def _container(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        stored = getattr(node, "ctx", "load") != "load"
        plain = not any(node.find_all((nodes.Name, nodes.Call, nodes.Getattr, nodes.Getitem)))
        return node if stored or plain else _call("contained", [node]).set_lineno(node.lineno)

    visit_List = visit_Tuple = visit_Dict = _container  # noqa: N815


def _call(name: str, arguments: list[Any]) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), arguments, [], None, None)


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment that Hugging Face's chat templates expect. One rendering at a time.

    Whatever uses too much ends in Excess.
    """

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        extensions = ["jinja2.ext.loopcontrols", GenerationTag]
        self._allowance = allowance = Allowance()
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            cache_size=0,
            extensions=extensions,
            finalize=allowance.printed,
        )
        self._own = {"step": allowance.step, "joined": self._joined, "contained": allowance.made}
        known = {name: function for name, function in self.filters.items() if name not in _DROPPED}
        own = {"tojson": _to_json, "replace": self._replace, "join": self._join, "indent": self._indent, "sum": _sum}
        self.filters = {name: self._bounded(function) for name, function in (known | own).items()}
        self.filters["format"] = self._format
        self.globals = {name: self.globals[name] for name in ("range", "dict", "joiner", "cycler")}
        self.globals |= {"namespace": _Space, "raise_exception": _refuse, "strftime_now": _strftime_now}

    def compiled(self, source: str) -> Template:
        """The template. Raises jinja2's errors, Excess for a source that is too long."""
        if len(source) > _MAX_SOURCE:
            raise Excess(f"it has {len(source)} characters; {_MAX_SOURCE} are the most")
        self._allowance.begin(len(source) + _SMALLEST)
        return self.from_string(source)

    def run(self, template: Template, values: dict[str, Any], given: int) -> str:
        """Render. given: characters in values; the answer may have some times as many. Raises jinja2's errors."""
        limit = _SMALLEST + 4 * given
        self._allowance.begin(limit)
        pieces: list[str] = []
        room = limit
        for piece in template.generate(values):
            room -= len(piece)
            if room < 0:
                raise Excess(f"it writes more than {limit} characters")
            pieces.append(piece)
        return "".join(pieces)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return _Watched().visit(super()._parse(source, name, filename))

    def __getattr__(self, name: str) -> Any:
        """What _Watched calls."""
        if name in ("step", "joined", "contained"):
            return self._own[name]
        raise AttributeError(name)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(one, str | list | tuple) and isinstance(other, int):
                    self._allowance.room_for(self._allowance.weight(one) * other)
        elif operator == "**":
            self._allowance.power(right)
        elif operator == "%" and isinstance(left, str):
            self._check_format(left, right)
        elif operator == "+":
            return self._allowance.added(left, right)
        return self._allowance.made(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        if __obj in __self._own.values():
            return __obj(*args)
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        forbidden = next((names for kind, names in _FORBIDDEN.items() if isinstance(owner, kind)), frozenset())
        if forbidden is None or name in forbidden:
            raise SecurityError(f"it calls {type(owner).__name__}.{name}")
        __self._allowance.weight(*args, *kwargs.values())
        if isinstance(owner, str):
            if name == "replace":
                return __self._allowance.made(__self._replace(owner, *args, **kwargs))
            if name == "join":
                return __self._allowance.made(__self._join(*args, separator=owner))
            __self._allowance.widths((*args, *kwargs.values()))
        return __self._allowance.made(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        def checked(*args: Any, **kwargs: Any) -> str:
            self._check_format(value.__self__, (args, kwargs))
            self._allowance.widths((*args, *kwargs.values()))
            return wrapped(*args, **kwargs)

        return checked

    def _bounded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)  # keeps the marks of jinja2's pass_context and its like
        def checked(*args: Any, **kwargs: Any) -> Any:
            self._allowance.widths((*args[1:], *kwargs.values()))
            return self._allowance.made(function(*args, **kwargs))

        return checked

    def _check_format(self, text: str, values: Any) -> None:
        if _LONG_WIDTH.search(text) or _NESTED_FIELD.search(text.replace("{{", "")):
            raise SecurityError("it formats with a huge width, or one that is not plain to see")
        widest = max(map(int, re.findall(r"\d+", text)), default=0)
        fields = text.count("%") + text.count("{")
        self._allowance.room_for_many(fields, widest + self._allowance.weight(values))

    def _format(self, text: Any, *args: Any, **kwargs: Any) -> str:
        text = str(text)
        self._check_format(text, kwargs or args)
        return self._allowance.made(text % (kwargs or args))

    def _joined(self, *parts: Any) -> str:
        """What `a ~ b ~ c` means."""
        self._allowance.room_for(self._allowance.weight(*parts))
        return self._allowance.made("".join(map(str, parts)))

    def _join(self, values: Iterable[Any], separator: str = "", attribute: str | int | None = None) -> str:
        items = [str(value if attribute is None else self.getitem(value, attribute)) for value in values]
        self._allowance.room_for(len(items) * len(separator) + sum(map(len, items)))
        return separator.join(items)

    def _replace(self, text: Any, old: str, new: str, count: int | None = None) -> str:
        text = str(text)
        found = text.count(old) if old else len(text) + 1
        self._allowance.room_for(found * len(new) + len(text) - found * len(old))
        return text.replace(old, new, -1 if count is None else count)

    def _indent(self, text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
        text, margin = str(text), " " * width if isinstance(width, int) else str(width)
        self._allowance.room_for(len(text) + len(margin) * (text.count("\n") + 1))
        lines = text.split("\n")
        rest = [margin + line if line or blank else line for line in lines[1:]]
        return "\n".join([margin + lines[0] if first else lines[0], *rest])


def _sum(values: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:
    """Of numbers: adding up lists takes the square of their number."""
    if attribute is not None or not isinstance(start, int | float):
        raise SecurityError("it adds up something other than numbers")
    return sum(values, start)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is, not escaped for HTML as jinja2's own filter does."""
    extra = [indent if isinstance(indent, int) else len(indent or ""), *map(len, separators or ())]
    if max(extra) > _MAX_INDENT:
        raise SecurityError("it indents JSON by more than a line holds")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: object = "") -> NoReturn:
    raise Refused(str(message)[:1000])


def _strftime_now(form: str) -> str:
    if len(form) > 200 or _LONG_WIDTH.search(form):
        raise SecurityError("it writes the date at a huge width")
    return datetime.now().strftime(form)
