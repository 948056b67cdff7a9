"""Jinja2's sandbox with bounds on steps, time and sizes: chat templates come from untrusted files. Knows no chat."""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

_MAX_STEPS = 200_000  # turns of loops and calls of macros, in one rendering
_MAX_SECONDS = 3.0
_MAX_LENGTH = 4 << 20  # characters of an intermediate text
_MAX_ITEMS = 1 << 17  # of an intermediate list
_MAX_WIDTH = 1 << 16  # of a number handed to a function, which may be a width to pad to
_MAX_BITS = 256  # of an intermediate number
_STR_FORBIDDEN = frozenset({"translate", "maketrans", "format_map", "encode"})
_LONG_WIDTH = re.compile(r"\d{5}|\*")


class Refused(TemplateError):
    """The template called raise_exception: these messages do not suit it."""


class GenerationTag(Extension):
    """{% generation %} … {% endgeneration %} marks the assistant's words for training; here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012 (jinja2's own type)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Watched(NodeTransformer):
    """Makes loops and macros count their steps, and `~` go through a function that checks the size."""

    def _counted(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        call = nodes.Call(nodes.EnvironmentAttribute("step"), [], [], None, None)
        node.body.insert(0, nodes.ExprStmt(call).set_lineno(node.lineno))
        return node

    visit_For = visit_Macro = visit_CallBlock = _counted  # noqa: N815 (jinja2 finds them by these names)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        joined = nodes.EnvironmentAttribute("joined")
        return nodes.Call(joined, node.nodes, [], None, None).set_lineno(node.lineno)


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment that Hugging Face's chat templates expect. One rendering at a time."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        extensions = ["jinja2.ext.loopcontrols", GenerationTag]
        super().__init__(trim_blocks=True, lstrip_blocks=True, optimized=False, cache_size=0, extensions=extensions)
        self._left = 0
        self._end = 0.0
        self.filters = {name: _bounded(function) for name, function in self.filters.items()}
        self.filters |= {"tojson": _bounded(_to_json), "replace": _replace, "join": self._join}
        self.globals = {name: self.globals[name] for name in ("range", "dict", "namespace", "joiner", "cycler")}
        self.globals |= {"raise_exception": _refuse, "strftime_now": _strftime_now}

    def run(self, template: Template, values: dict[str, Any], limit: int) -> str:
        """Render. Raises jinja2's errors, SecurityError for output longer than `limit` characters."""
        self._left, self._end = _MAX_STEPS, time.monotonic() + _MAX_SECONDS
        pieces: list[str] = []
        room = limit
        for piece in template.generate(values):
            room -= len(piece)
            if room < 0:
                raise SecurityError(f"it writes more than {limit} characters")
            pieces.append(piece)
        return "".join(pieces)

    def step(self) -> None:
        """Called at the start of every turn of a loop and of every macro."""
        self._left -= 1
        if self._left < 0 or time.monotonic() > self._end:
            raise SecurityError(f"it takes more than {_MAX_STEPS} steps or {_MAX_SECONDS:g} seconds")

    def joined(self, *parts: Any) -> str:
        """What `a ~ b ~ c` means."""
        return _checked("".join(map(str, parts)))

    def _join(self, values: Iterable[Any], separator: str = "", attribute: str | int | None = None) -> str:
        items = [str(value if attribute is None else self.getitem(value, attribute)) for value in values]
        _check_product(len(items), len(separator))
        return _checked(separator.join(items))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return _Watched().visit(super()._parse(source, name, filename))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(one, str | list | tuple) and isinstance(other, int):
                    _check_product(len(one), other)
        elif operator == "**":
            if abs(right) > _MAX_BITS:
                raise SecurityError("it computes a huge power")
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
        return _checked(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str):
            if name in _STR_FORBIDDEN:
                raise SecurityError(f"it calls str.{name}")
            if name == "replace":
                return _replace(owner, *args, **kwargs)
            if name == "join":
                return __self._join(*args, separator=owner)
            _check_widths((*args, *kwargs.values()))
        return _checked(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        def checked(*args: Any, **kwargs: Any) -> str:
            _check_format(value.__self__)
            _check_widths((*args, *kwargs.values()))
            return wrapped(*args, **kwargs)

        return checked


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)  # keeps the marks of jinja2's pass_context and its like
    def checked(*args: Any, **kwargs: Any) -> Any:
        _check_widths((*args[1:], *kwargs.values()))
        return _checked(function(*args, **kwargs))

    return checked


def _checked(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise SecurityError("it computes a huge number")
    if isinstance(value, str) and len(value) > _MAX_LENGTH:
        raise SecurityError(f"it builds more than {_MAX_LENGTH} characters")
    if isinstance(value, list | tuple | dict) and len(value) > _MAX_ITEMS:
        raise SecurityError(f"it builds more than {_MAX_ITEMS} items")
    return value


def _check_product(count: int, length: int) -> None:
    if count * length > _MAX_LENGTH:
        raise SecurityError(f"it builds more than {_MAX_LENGTH} characters")


def _check_widths(values: Iterable[Any]) -> None:
    if any(isinstance(value, int) and abs(value) > _MAX_WIDTH for value in values):
        raise SecurityError(f"it passes a number beyond {_MAX_WIDTH} to a function")


def _check_format(text: str) -> None:
    if _LONG_WIDTH.search(text):
        raise SecurityError("it formats with a huge width")


def _replace(text: Any, old: str, new: str, count: int | None = None) -> str:
    text = str(text)
    _check_product(text.count(old) if old else len(text) + 1, len(new))
    return text.replace(old, new, -1 if count is None else count)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is, not escaped for HTML as jinja2's own filter does."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: object = "") -> NoReturn:
    raise Refused(str(message))


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)
