"""The list of forbidden operations against the operations that TensorFlow has."""

import re

from shardline.artifacts.graph_scan import FORBIDDEN_OPS, forbidden_ops

# How operations call what leads out of the process.
WAY_OUT = re.compile(
    r"(file\w*|\w*_file|\w*path|path_prefix|directory|logdir|\w+_dir|\w*urls?|\w*address|db_uri|"
    r"patterns?)"
)
ALLOWED = {
    # a regular expression
    "RegexFullMatch", "RegexReplace", "StaticRegexFullMatch", "StaticRegexReplace",
    # a vocabulary
    "InitializeTableFromTextFile", "InitializeTableFromTextFileV2",
}  # fmt: skip


def test_forbidden_ops_hold_every_operation_that_names_a_file_or_a_server():
    from tensorflow.core.framework.op_def_pb2 import OpList
    from tensorflow.python.client import pywrap_tf_session

    known = OpList.FromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    leading_out = {
        op.name
        for op in known.op
        if any(WAY_OUT.fullmatch(part.name) for part in (*op.attr, *op.input_arg))
    }
    assert leading_out > ALLOWED
    assert leading_out - ALLOWED - FORBIDDEN_OPS == set()


def test_forbidden_ops_are_found_in_graph_and_functions():
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    model = SavedModel()
    graph = model.meta_graphs.add().graph_def
    for op in ("MatMul", "ExperimentalCSVDataset"):
        graph.node.add(op=op)
    for op in ("RestoreV2", "DistributedSave"):
        graph.library.function.add().node_def.add(op=op)
    assert forbidden_ops(model.SerializeToString()) == ["DistributedSave", "ExperimentalCSVDataset"]
