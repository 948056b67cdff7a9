"""A document is brought in line with a tree by few changes, and untouched nodes stay themselves."""

from __future__ import annotations

from xml.dom.minidom import Document, getDOMImplementation

from hypothesis import given, settings
from hypothesis import strategies as st

from local_llm.widget.tree import SVG, El, find_all, h, mount, patch, svg, text_of


def fresh() -> tuple[Document, object]:
    implementation = getDOMImplementation()
    assert implementation is not None
    document = implementation.createDocument(None, "root", None)
    return document, document.documentElement


def shown(item: El) -> str:
    document, root = fresh()
    return mount(document, root, item).node.toxml()


def test_a_tree_is_built():
    item = h("p", "a", h("b", "<i>&</i>", data_x="<>", hidden=True, title=None, disabled=False), class_="k")
    assert shown(item) == '<p class="k">a<b data-x="&lt;&gt;" hidden="">&lt;i&gt;&amp;&lt;/i&gt;</b></p>'


def test_drawings_have_their_namespace():
    document, root = fresh()
    node = mount(document, root, h("div", svg("svg", svg("polyline", points="0,0")))).node
    assert node.firstChild.namespaceURI == SVG
    assert node.firstChild.firstChild.namespaceURI == SVG


def test_what_stays_is_the_same_node():
    document, root = fresh()
    one = h("div", h("p", "a", key="a"), h("button", "Load", key="b", disabled=True), h("details", "m", key="c"))
    mounted = mount(document, root, one)
    _, button, details = mounted.node.childNodes
    details.setAttribute("open", "")  # what a person opened stays open
    two = h("div", h("button", "Unload", key="b"), h("p", "new", key="n"), h("details", "m", key="c"))
    patch(document, mounted, two)
    assert mounted.node.childNodes[0] is button
    assert mounted.node.childNodes[2] is details
    assert details.hasAttribute("open")
    assert button.toxml() == "<button>Unload</button>"


def test_nothing_is_touched_where_nothing_changed():
    calls = []

    class Watched:
        def __getattr__(self, name):
            calls.append(name)
            raise AttributeError(name)

    document, root = fresh()
    mounted = mount(document, root, h("div", h("p", "a"), "text"))
    mounted.node = Watched()
    mounted.children[0].node = Watched()
    patch(document, mounted, h("div", h("p", "a"), "text"))
    assert calls == []


elements = st.recursive(
    st.text("ab<&", max_size=3),
    lambda children: st.builds(
        lambda tag, key, name, kids: El(tag, {"x": name}, tuple(kids), key),
        st.sampled_from("pqr"),
        st.sampled_from(["", "1", "2", "3"]),
        st.sampled_from("uv"),
        st.lists(children, max_size=5),
    ),
    max_leaves=20,
)
trees = st.lists(elements, max_size=6).map(lambda children: El("div", {}, tuple(children)))


@settings(deadline=None)
@given(st.lists(trees, min_size=2, max_size=4))
def test_patching_gives_what_building_gives(steps):
    document, root = fresh()
    mounted = mount(document, root, steps[0])
    for step in steps[1:]:
        patch(document, mounted, step)
        assert mounted.node.toxml() == shown(step)
        assert [child.node for child in mounted.children] == list(mounted.node.childNodes)


def test_looking_into_a_tree():
    item = h("div", h("p", "a", class_="k"), [h("p", "b", h("i", "c", class_="k"))])
    assert text_of(item) == "a b c"
    assert [text_of(found) for found in find_all(item, class_="k")] == ["a", "c"]
