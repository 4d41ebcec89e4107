"""A MetaGraph as this scan reads it: nodes by place, and who calls which function."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from shardline.artifacts.safety.refusal import quoted

MAIN = ""
"""Place of the nodes outside all functions."""


@dataclass(frozen=True)
class Call:
    """A node that runs a function of the library."""

    place: str
    node: Any


class Graph:
    """The graph and the functions of one MetaGraphDef; a function's place is its name."""

    def __init__(self, meta_graph: Any) -> None:
        self.meta_graph = meta_graph
        self.functions = {f.signature.name: f for f in meta_graph.graph_def.library.function}

    def nodes(self) -> Iterator[tuple[str, Any]]:
        """Every node with its place, whether anything reaches it or not."""
        for node in self.meta_graph.graph_def.node:
            yield MAIN, node
        # Not `functions`: of two with one name both are looked at.
        for function in self.meta_graph.graph_def.library.function:
            for node in function.node_def:
                yield function.signature.name, node

    def has_doubles(self) -> bool:
        """Whether a name could stand for either of two things."""
        library = self.meta_graph.graph_def.library.function
        names = [(place, node.name) for place, node in self.nodes()]
        for function in library:
            names += [(function.signature.name, a.name) for a in function.signature.input_arg]
        return len(set(names)) < len(names) or len(self.functions) < len(library)

    def node(self, place: str, name: str) -> Any | None:
        """The node of that name."""
        return self._by_name.get((place, name))

    def arguments(self, function: str) -> list[str]:
        """Names of a function's arguments."""
        return [argument.name for argument in self.functions[function].signature.input_arg]

    @cached_property
    def calls(self) -> dict[str, list[Call]]:
        """Call sites by function name."""
        found: dict[str, list[Call]] = defaultdict(list)
        for place, node in self.nodes():
            for name in called_functions(node):
                found[name].append(Call(place, node))
        return found

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], Any]:
        return {(place, node.name): node for place, node in self.nodes()}


def called_functions(node: Any) -> set[str]:
    """Functions that a node names, also those that it hands on to the one that it calls."""
    names, waiting = set(), [node]
    while waiting:
        for value in waiting.pop().attr.values():
            functions = [value.func] if value.HasField("func") else []
            for function in (*functions, *value.list.func):
                names.add(function.name)
                waiting.append(function)
    return names


def data_inputs(node: Any) -> list[str]:
    """Names of the nodes or arguments that feed a node, in order."""
    return [name.partition(":")[0] for name in node.input if not name.startswith("^")]


def spot(place: str, node: Any) -> str:
    """A node for people."""
    if place == MAIN:
        return f"node {quoted(node.name)}"
    return f"node {quoted(node.name)} of function {quoted(place)}"
