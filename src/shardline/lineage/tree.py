"""Lineage on a terminal: what an artifact was made from, and what came of it, line by line."""

from collections.abc import Callable, Iterator

from shardline.lineage.graph import Edge, Graph, Node
from shardline.report import one_line

MAX_FILES = 5


def tree_lines(graph: Graph, root: str) -> list[str]:
    """The artifact, above it nothing, below it both directions.

    A part that was shown before is named and not shown again.
    """
    seen = {root}
    lines = [_title(graph.nodes[root])]
    made_from, used_by = graph.made_from(root), graph.used_by(root)
    if made_from:
        lines.append("├─ made from" if used_by else "└─ made from")
        indent = "│  " if used_by else "   "
        lines += _branches(graph, root, graph.made_from, lambda edge: edge.used, indent, seen)
    if used_by:
        lines.append("└─ used for")
        lines += _branches(graph, root, graph.used_by, lambda edge: edge.made, "   ", seen)
    return lines


def _branches(
    graph: Graph,
    node: str,
    edges_of: Callable[[str], list[Edge]],
    end_of: Callable[[Edge], str],
    indent: str,
    seen: set[str],
) -> Iterator[str]:
    edges = edges_of(node)
    for place, edge in enumerate(edges):
        end, is_last = end_of(edge), place == len(edges) - 1
        again = end in seen and edges_of(end)
        seen.add(end)
        said = (
            f"{_title(graph.nodes[end])}, {edge.how}" if _tells(edge) else _title(graph.nodes[end])
        )
        yield f"{indent}{'└' if is_last else '├'}─ {said}{' (see above)' if again else ''}"
        below = f"{indent}{'   ' if is_last else '│  '}"
        if not again:
            yield from _branches(graph, end, edges_of, end_of, below, seen)
            yield from (f"{below}{line}" for line in _file_lines(graph.nodes[end]))


def _tells(edge: Edge) -> bool:
    """Whether the kinds of both ends leave open how one came of the other."""
    return edge.how.startswith("exported at")


def _title(node: Node) -> str:
    parts = [f"{node.kind} {one_line(node.label)}"]
    if node.kind == "source":
        parts.append(f"({node.facts['num_files']} files, sha256 {node.facts['fingerprint'][:12]})")
    if "rows" in node.facts:
        parts.append(f"({node.facts['rows']} rows)")
    if node.facts.get("metrics"):
        metrics = node.facts["metrics"].items()
        parts.append("(" + " ".join(f"{name}={value:.4g}" for name, value in metrics) + ")")
    if "deleted by" in node.facts:
        parts.append(f"(deleted by {node.facts['deleted by']})")
    elif not node.stored:
        parts.append("(known by its digest)" if node.kind in ("spec", "code") else "(not kept)")
    return " ".join(parts)


def _file_lines(node: Node) -> Iterator[str]:
    files = node.facts.get("files") or {}
    named = files.items() if isinstance(files, dict) else [(name, "") for name in files]
    for name, digest in list(named)[:MAX_FILES]:
        yield f"· {one_line(name)} {digest[:12]}".rstrip()
    if len(files) > MAX_FILES:
        yield f"· and {len(files) - MAX_FILES} more; --json has all"
