"""Where the operations that may open a file get its name from.

A SavedModel needs three kinds: functions that restore and save its variables, which run when the
saver's own nodes are asked to, and tables filled from vocabulary files that lie in its `assets/`.
Any other file name, such as a constant, would let the model read what this process may read.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from shardline.artifacts.safety.allowed_ops import RESTORES, SAVES, TABLES_FROM_FILES
from shardline.artifacts.safety.graph import MAIN, Graph, data_inputs, spot
from shardline.artifacts.safety.refusal import refuse
from shardline.artifacts.safety.saver import node_of

DIRECT_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
"""Their inputs are the function's arguments, one for one."""
# What a variable that holds a file name may be used for.
NAME_VARIABLE_OPS = frozenset({"AssignVariableOp", "ReadVariableOp", "VarIsInitializedOp"})

FILE_NAME_INPUTS = {
    "RestoreV2": (0,),
    "InitializeTableFromTextFileV2": (1,),
    "SaveV2": (0,),
    "MergeV2Checkpoints": (0, 1),
    "ShardedFilename": (0,),
}

# Inputs that what they give is made of; a name to save to is put together of parts.
PASSED_ON = {"Identity": slice(1)}
PASSED_ON_WHEN_SAVING = PASSED_ON | {
    "ShardedFilename": slice(1),
    "StringJoin": slice(None),
    "Select": slice(1, 3),
    "SelectV2": slice(1, 3),
    "Pack": slice(None),
}
NAME_PART = re.compile(rb"\.part|_temp(_[0-9a-f]+)?/part")
"""What TensorFlow's saver adds to its argument, for files that it merges in the end."""

ASSET = "a file in assets/"
SAVER = "the saver's argument"


@dataclass(frozen=True)
class _Value:
    """An output of a node, or an argument of a function."""

    place: str
    name: str
    is_saved_to: bool = False
    is_added: bool = False
    """Whether it only follows another text."""


class FileNames:
    """What the operations of one graph open."""

    def __init__(self, graph: Graph, model: str) -> None:
        self._graph = graph
        self._model = model
        meta = graph.meta_graph
        self._objects = meta.object_graph_def
        self._asset_nodes = {node_of(asset.tensor_info.name) for asset in meta.asset_file_def}
        saver = meta.saver_def
        self._saver_input = node_of(saver.filename_tensor_name)
        self._restore_node = node_of(saver.restore_op_name)
        self._save_node = node_of(saver.save_tensor_name)

    def check(self) -> None:
        """Refuse file names that come from anywhere else.

        Raises:
            UnsafeModelError: An operation opens a file that is not the model's own.
        """
        for place, node in self._graph.nodes():
            if node.op in TABLES_FROM_FILES:
                self._require_names(place, node, ASSET)
            elif node.op in RESTORES:
                self._require_names(place, node, SAVER)
                self._require(place, node, self._roots(place), {self._restore_node})
            elif node.op in SAVES:
                self._require_names(place, node, SAVER)
                self._require(place, node, self._roots(place), {self._save_node})

    def _require_names(self, place: str, node: Any, allowed: str) -> None:
        inputs = data_inputs(node)
        for index in FILE_NAME_INPUTS[node.op]:
            name = inputs[index] if index < len(inputs) else ""
            value = _Value(place, name, is_saved_to=node.op in SAVES)
            self._require(place, node, self._origins(value), {allowed})

    def _require(self, place: str, node: Any, found: Iterator[str], allowed: set[str]) -> None:
        origins = list(found)
        # A function that nothing is seen to call may still be called, in a way not thought of.
        other = next(
            (origin for origin in origins if origin not in allowed),
            None if origins else "nothing is known to call its function",
        )
        if other is not None:
            refuse(
                self._model,
                f"contains {node.op} ({spot(place, node)}) for a file that is not its own: {other}",
                "keep vocabularies in the model, and variables in variables/",
            )

    def _origins(self, value: _Value) -> Iterator[str]:
        """Where a text comes from, at all of the places that may have made it."""
        seen, waiting = set(), [value]
        while waiting:
            value = waiting.pop()
            if value in seen:
                continue
            seen.add(value)
            found, before = self._step(value)
            yield from found
            waiting += before

    def _step(self, value: _Value) -> tuple[list[str], list[_Value]]:
        if value.place != MAIN and value.name in self._graph.arguments(value.place):
            return self._arguments_given(value)
        node = self._graph.node(value.place, value.name)
        if node is None:
            return [f"no node gives {value.name!r}"], []
        passed_on = _passed_on(value, node)
        if passed_on:
            return [], passed_on
        if value.is_added and _is_name_part(node):
            return [], []
        inputs = data_inputs(node)
        if value.place == MAIN and node.op == "Placeholder":
            return [self._placeholder(node)], []
        if value.place == MAIN and node.op == "ReadVariableOp" and inputs:
            return self._assigned(inputs[0])
        return [f"its name comes from {spot(value.place, node)}, {node.op}"], []

    def _placeholder(self, node: Any) -> str:
        if node.name in self._asset_nodes:
            return ASSET
        if node.name == self._saver_input:
            return SAVER
        return f"its name comes from {spot(MAIN, node)}, {node.op}"

    def _arguments_given(self, argument: _Value) -> tuple[list[str], list[_Value]]:
        """What the callers of a function give for one of its arguments."""
        names = self._graph.arguments(argument.place)
        index = names.index(argument.name)
        found, before = self._stand_ins(argument.place), []
        for call in self._graph.calls.get(argument.place, []):
            inputs = data_inputs(call.node)
            if _is_direct(call.node, argument.place) and len(inputs) == len(names):
                before.append(replace(argument, place=call.place, name=inputs[index]))
            else:
                found.append(f"its name is given by {spot(call.place, call.node)}, {call.node.op}")
        if argument.place in self._objects.concrete_functions:
            bound = self._objects.concrete_functions[argument.place].bound_inputs
            number = index - (len(names) - len(bound))
            captured = 0 <= number <= index
            found.append(self._bound(bound[number]) if captured else "its name is an argument")
        return found, before

    def _stand_ins(self, function: str) -> list[str]:
        """TensorFlow's optimizer calls any function of the same interface in another's place."""
        if "api_implements" in self._graph.functions[function].attr:
            return [f"function {function!r} may stand in for another"]
        return []

    def _bound(self, node_id: int) -> str:
        """What a function captured: the loader in Python gives it the object."""
        kind = (
            self._objects.nodes[node_id].WhichOneof("kind")
            if 0 <= node_id < len(self._objects.nodes)
            else None
        )
        return ASSET if kind == "asset" else f"its name is a {kind} that the function captured"

    def _assigned(self, handle: str) -> tuple[list[str], list[_Value]]:
        """What the main graph puts in a variable."""
        node = self._graph.node(MAIN, handle)
        if node is None or node.op != "VarHandleOp":
            return [f"its name is read from {handle!r}"], []
        shared = _shared_name(node)
        found, before = [], []
        for place, other in self._graph.nodes():
            if other.op == "VarHandleOp" and place != MAIN and _shared_name(other) == shared:
                found.append(f"its name is a variable of {spot(place, other)}, too")
        handles = {
            other.name
            for other in self._graph.meta_graph.graph_def.node
            if other.op == "VarHandleOp" and _shared_name(other) == shared
        }
        for user in self._graph.meta_graph.graph_def.node:
            inputs = data_inputs(user)
            if not handles & set(inputs):
                continue
            if user.op not in NAME_VARIABLE_OPS:
                found.append(f"its name is a variable that {spot(MAIN, user)} has, {user.op}")
            elif user.op == "AssignVariableOp" and len(inputs) > 1:
                before.append(_Value(MAIN, inputs[1]))
        return found, before

    def _roots(self, place: str) -> Iterator[str]:
        """What runs a function, at the end of all chains of calls: nodes of the main graph."""
        seen, waiting = set(), [place]
        while waiting:
            place = waiting.pop()
            if place in seen:
                continue
            seen.add(place)
            if place == MAIN:
                yield "it is outside all functions"
                continue
            yield from self._stand_ins(place)
            if place in self._objects.concrete_functions:
                yield f"function {place!r} can be called"
            for call in self._graph.calls.get(place, []):
                if call.place == MAIN:
                    yield call.node.name
                else:
                    waiting.append(call.place)


def _is_direct(node: Any, function: str) -> bool:
    return node.op in DIRECT_CALLS and node.attr["f"].func.name == function


def _passed_on(value: _Value, node: Any) -> list[_Value]:
    """Texts that the one of this node is made of."""
    rule = (PASSED_ON_WHEN_SAVING if value.is_saved_to else PASSED_ON).get(node.op)
    if rule is None:
        return []
    joins = node.op == "StringJoin"
    return [
        replace(value, name=name, is_added=value.is_added or (joins and number > 0))
        for number, name in enumerate(data_inputs(node)[rule])
    ]


def _is_name_part(node: Any) -> bool:
    texts = node.attr["value"].tensor.string_val if node.op == "Const" else ()
    return bool(texts) and all(NAME_PART.fullmatch(text) for text in texts)


def _shared_name(node: Any) -> bytes:
    name: bytes = node.attr["shared_name"].s if "shared_name" in node.attr else b""
    return name or str(node.name).encode()
