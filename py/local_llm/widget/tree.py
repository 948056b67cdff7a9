"""A tree of elements as data, and how to bring a document in line with it by the fewest changes.

Text and attributes go in through the DOM's own methods, never as HTML: nothing needs escaping and a strict
content-security policy is content. What stays the same keeps its focus, its scroll position and its open state.
Knows a DOM's method names, not where it comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SVG = "http://www.w3.org/2000/svg"


@dataclass(frozen=True, eq=False)
class El:
    """An element. key: tells siblings of the same tag apart. A str among the children is text."""

    tag: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    children: Sequence[El | str] = ()
    key: str = ""
    namespace: str | None = None


def h(tag: str, *children: El | str | Iterable[El] | None, key: str = "", **attributes: Any) -> El:
    """An element. Attribute names: `_` stands for `-`, a trailing one is dropped (class_). True: present and empty;
    None and False: absent. Children that are None are left out, lists are laid flat.
    """
    flat: list[El | str] = []
    for child in children:
        if isinstance(child, El | str):
            flat.append(child)
        elif child is not None:
            flat.extend(child)
    named = {
        name.rstrip("_").replace("_", "-"): "" if value is True else str(value)
        for name, value in attributes.items()
        if value is not None and value is not False
    }
    return El(tag, named, tuple(flat), key)


def svg(tag: str, *children: El, **attributes: str) -> El:
    """An element of an inline drawing; attribute names are SVG's own."""
    return El(tag, attributes, children, "", SVG)


@dataclass
class Mounted:
    """A node of the document and what it shows."""

    item: El | str
    node: Any
    children: list[Mounted]


def mount(document: Any, parent: Any, item: El | str) -> Mounted:
    """Build `item` and append it to `parent`."""
    made = _make(document, item)
    parent.appendChild(made.node)
    return made


def patch(document: Any, mounted: Mounted, item: El) -> Mounted:
    """Change what is mounted into `item`, an element of the same tag."""
    assert isinstance(mounted.item, El)
    if mounted.item is item:  # a tree does not change once it is made
        return mounted
    _patch_attributes(mounted.node, mounted.item.attributes, item.attributes)
    mounted.children = _patch_children(document, mounted, item.children)
    mounted.item = item
    return mounted


def text_of(item: El | str) -> str:
    """All text in it, in order."""
    return item if isinstance(item, str) else " ".join(filter(None, (text_of(child) for child in item.children)))


def find_all(item: El | str, **attributes: str) -> list[El]:
    """Elements in it whose attributes have these values, in order; names as in h()."""
    if isinstance(item, str):
        return []
    wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    here = [item] if all(item.attributes.get(name) == value for name, value in wanted.items()) else []
    return here + [found for child in item.children for found in find_all(child, **attributes)]


def _make(document: Any, item: El | str) -> Mounted:
    if isinstance(item, str):
        return Mounted(item, document.createTextNode(item), [])
    made = document.createElementNS(item.namespace, item.tag) if item.namespace else document.createElement(item.tag)
    for name, value in item.attributes.items():
        made.setAttribute(name, value)
    return Mounted(item, made, [mount(document, made, child) for child in item.children])


def _patch_attributes(node: Any, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    for name in old:
        if name not in new:
            node.removeAttribute(name)
    for name, value in new.items():
        if old.get(name) != value:
            node.setAttribute(name, value)


def _identity(item: El | str) -> tuple[str, str, str | None]:
    return ("#text", "", None) if isinstance(item, str) else (item.tag, item.key, item.namespace)


def _patch_children(document: Any, mounted: Mounted, items: Sequence[El | str]) -> list[Mounted]:
    if [_identity(child.item) for child in mounted.children] == [_identity(item) for item in items]:
        return [_update(document, child, item) for child, item in zip(mounted.children, items, strict=True)]
    kept: dict[tuple[str, str, str | None], list[Mounted]] = {}
    for child in mounted.children:
        kept.setdefault(_identity(child.item), []).append(child)
    chosen = [queue.pop(0) if (queue := kept.get(_identity(item))) else None for item in items]
    for leftover in (child for queue in kept.values() for child in queue):
        mounted.node.removeChild(leftover.node)
    order = [child for child in mounted.children if any(child is one for one in chosen)]
    result: list[Mounted] = []
    for item, old in zip(items, chosen, strict=True):
        if old is None:
            fresh = _make(document, item)
            mounted.node.insertBefore(fresh.node, order[0].node if order else None)
            result.append(fresh)
            continue
        if order[0] is not old:  # it moved among its siblings
            mounted.node.insertBefore(old.node, order[0].node)
        order = [child for child in order if child is not old]
        result.append(_update(document, old, item))
    return result


def _update(document: Any, mounted: Mounted, item: El | str) -> Mounted:
    if isinstance(item, El):
        return patch(document, mounted, item)
    if mounted.item != item:
        mounted.node.data = item
        mounted.item = item
    return mounted
