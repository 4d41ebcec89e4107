"""HTML as a tree: text is escaped when it is written, so no name or value can become markup."""

from collections.abc import Iterable
from xml.etree import ElementTree

from shardline.report import one_line

MAX_SHOWN = 120

Element = ElementTree.Element
Child = Element | str | None
Children = Child | Iterable["Children"]


def el(tag: str, *children: Children, **attributes: object) -> Element:
    """An element; `class_` becomes `class`, other underscores become dashes."""
    named = {name.rstrip("_").replace("_", "-"): str(v) for name, v in attributes.items()}
    element = ElementTree.Element(tag, named)
    for child in _flat(children):
        if isinstance(child, str):
            _append_text(element, child)
        else:
            element.append(child)
    return element


def name_of(text: object) -> Element:
    """A name or value of the data: on one line, cut, and unable to turn its surroundings around."""
    whole = one_line(str(text)) or "(empty)"
    if len(whole) <= MAX_SHOWN:
        return el("bdi", whole)
    return el("bdi", f"{whole[:MAX_SHOWN]}…", title=whole[: 10 * MAX_SHOWN])


def document(title: str, style: str, body: Iterable[Element]) -> str:
    """A whole page.

    Args:
        title: Of the window.
        style: CSS of our own; the only text that is not escaped.
        body: What it shows.
    """
    # Even if markup came through, no script would run and nothing would be fetched.
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    page = el(
        "html",
        el(
            "head",
            el("meta", charset="utf-8"),
            el("meta", http_equiv="Content-Security-Policy", content=policy),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("meta", name="color-scheme", content="light dark"),
            el("title", one_line(title)),
            el("style", style),
        ),
        el("body", el("main", *body)),
        lang="en",
    )
    return "<!doctype html>\n" + ElementTree.tostring(page, encoding="unicode", method="html")


def _flat(children: Children) -> Iterable[Element | str]:
    if children is None:
        return
    if isinstance(children, str | ElementTree.Element):
        yield children
        return
    for child in children:
        yield from _flat(child)


def _append_text(element: Element, text: str) -> None:
    if len(element):
        element[-1].tail = (element[-1].tail or "") + text
    else:
        element.text = (element.text or "") + text
