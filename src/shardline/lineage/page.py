"""Lineage as one self-contained HTML page: a drawn graph, and what is known of each node."""

from collections.abc import Mapping, Sequence

from shardline.data.page.elements import Element, document, el, name_of
from shardline.data.page.style import STYLE
from shardline.lineage.graph import Edge, Graph, Kind, Node
from shardline.report import one_line

COLUMN: Mapping[Kind, int] = {
    "source": 0, "dataset": 1, "spec": 1, "code": 1, "run": 2, "model": 3, "alias": 4, "scores": 4,
}  # fmt: skip
BOX = (190, 46)
GAP = (60, 18)
MARGIN = 12
MAX_LABEL = 24
OWN_STYLE = """
svg.lineage { fill: none; min-width: 900px; }
svg.lineage rect { fill: var(--page); stroke: var(--line); }
svg.lineage .root rect { stroke: var(--blue); stroke-width: 2.5; }
svg.lineage .lost rect { stroke-dasharray: 5 4; }
svg.lineage path { stroke: var(--quiet); stroke-width: 1.2; opacity: 0.7; }
svg.lineage text { fill: var(--ink); font-size: 13px; }
svg.lineage text.kind { fill: var(--quiet); font-size: 11px; }
"""


def lineage_page(graph: Graph, roots: Sequence[str]) -> str:
    """HTML that needs nothing else: no script, no font, no request.

    Args:
        graph: What to draw.
        roots: The nodes that were asked for; they are marked.
    """
    title = f"Lineage of {', '.join(roots)}"
    parts = [
        el("header", el("h1", name_of(title)), el("p", _summary(graph), class_="quiet")),
        el("section", el("h2", "What was made from what"), _drawing(graph, roots)),
        el("section", el("h2", "What is known"), _table(graph)),
    ]
    return document(title, STYLE + OWN_STYLE, parts)


def positions(nodes: Sequence[Node]) -> dict[str, tuple[int, int]]:
    """Upper left corners in pixels, a column for every stage of the line."""
    width, height = (size + gap for size, gap in zip(BOX, GAP, strict=True))
    used: dict[int, int] = {}
    places = {}
    for node in nodes:
        column = COLUMN[node.kind]
        row = used.get(column, 0)
        used[column] = row + 1
        places[node.id] = (MARGIN + column * width, MARGIN + row * height)
    return places


def _drawing(graph: Graph, roots: Sequence[str]) -> Element:
    places = positions(list(graph.nodes.values()))
    right = max(x for x, _ in places.values()) + BOX[0] + MARGIN
    bottom = max(y for _, y in places.values()) + BOX[1] + MARGIN
    return el(
        "svg",
        (_curve(edge, places) for edge in graph.edges),
        (_box(node, places[node.id], node.id in roots) for node in graph.nodes.values()),
        class_="lineage",
        viewBox=f"0 0 {right} {bottom}",
        width=right,
        height=bottom,
        role="img",
        aria_label="graph of what was made from what",
    )


def _curve(edge: Edge, places: Mapping[str, tuple[int, int]]) -> Element:
    (left, top), (right, low) = places[edge.used], places[edge.made]
    x, y, end = left + BOX[0], top + BOX[1] / 2, low + BOX[1] / 2
    middle = (x + right) / 2
    path = f"M {x} {y:g} C {middle:g} {y:g}, {middle:g} {end:g}, {right} {end:g}"
    return el("path", el("title", edge.how), d=path)


def _box(node: Node, place: tuple[int, int], is_root: bool) -> Element:
    x, y = place
    label = one_line(node.label)
    short = label if len(label) <= MAX_LABEL else f"…{label[-MAX_LABEL + 1 :]}"
    classes = [name for name, is_so in (("root", is_root), ("lost", not node.stored)) if is_so]
    return el(
        "g",
        el("title", label),
        el("rect", x=x, y=y, width=BOX[0], height=BOX[1], rx=8),
        el("text", node.kind, x=x + 10, y=y + 17, class_="kind"),
        el("text", short, x=x + 10, y=y + 35),
        class_=" ".join(classes),
    )


def _table(graph: Graph) -> Element:
    rows = [
        el(
            "tr",
            el("th", name_of(node.label), el("small", node.kind)),
            el("td", _whereabouts(node)),
            el("td", *(_fact(name, value) for name, value in node.facts.items())),
        )
        for node in graph.nodes.values()
    ]
    head = el("tr", el("th", "what"), el("th", "in the store"), el("th", "facts"))
    return el("table", el("thead", head), el("tbody", rows))


def _whereabouts(node: Node) -> str:
    if node.kind == "source":
        return "outside, known by digests"
    return "yes" if node.stored else "no, others tell of it"


def _fact(name: str, value: object) -> Element:
    if isinstance(value, Mapping):
        said = ", ".join(f"{key} {_short(each)}" for key, each in value.items())
    elif isinstance(value, list | tuple):
        said = ", ".join(map(str, value))
    else:
        said = _short(value)
    return el("small", f"{name}: ", name_of(said))


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _summary(graph: Graph) -> str:
    return f"{len(graph.nodes)} artifacts, {len(graph.edges)} steps between them"
