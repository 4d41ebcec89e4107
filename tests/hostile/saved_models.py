"""Hostile SavedModels: graphs that do more than compute, and folders that are not what they seem.

Most are what `tf.saved_model.save` writes of a function that does it, so they would run; the others
are edits of an honest model.
"""

import os
import pickle

import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tests.hostile.canary import SECRET
from tests.hostile.keras_files import Hostile, Payload

NUMBERS = tf.TensorSpec((None, 2), tf.float32, name="x")


def save(folder, serve, *, prepare=None, options=None):
    """Write a model whose signature is `serve`, a function of rows of two numbers."""
    model = tf.Module()
    model.weight = tf.Variable(tf.ones((2, 1)))
    if prepare:
        prepare(model)
    function = tf.function(lambda x: {"y": serve(model, x)}, input_signature=[NUMBERS])
    tf.saved_model.save(
        model, str(folder), signatures={"serving_default": function}, options=options
    )
    return folder


def honest(folder, canary=None):
    return save(folder, lambda model, x: x @ model.weight)


def with_vocabulary(folder, canary=None):
    """An honest model with a vocabulary file."""
    words = folder.parent / "words.txt"
    words.write_text("a\nb\n")
    return save(folder, _look_up, prepare=lambda model: _add_table(model, _from_file(str(words))))


def of(serve):
    """A model whose answer is made by a function of its rows and the canary."""
    return lambda folder, canary: save(folder, lambda model, x: serve(x, canary))


def edited(change, start=honest):
    """A model whose protocol buffer a function changes."""

    def build(folder, canary):
        file = start(folder) / "saved_model.pb"
        proto = SavedModel.FromString(file.read_bytes())
        change(proto, canary)
        file.write_bytes(proto.SerializeToString())
        return folder

    return build


def changed(change, start=honest):
    """A model whose folder a function changes."""

    def build(folder, canary):
        change(start(folder), canary)
        return folder

    return build


# Operations


def text(tensor):
    """A scalar text as the answer of every row."""
    return tf.reshape(tf.strings.as_string(tensor) if tensor.dtype != tf.string else tensor, [-1])


def reads(x, canary):
    return text(tf.io.read_file(str(canary.secret)))


def writes(x, canary):
    tf.io.write_file(str(canary.ran), "x")
    return x


def lists_files(x, canary):
    return text(tf.io.matching_files(f"{canary.folder}/*"))


def calls_python(x, canary):
    return tf.numpy_function(lambda a: a, [x], tf.float32)


def calls_python_eagerly(x, canary):
    return tf.py_function(lambda a: a, [x], tf.float32)


def writes_deep_inside(x, canary):
    def body(i, y):
        return i + 1, tf.cond(y[0, 0] > 1e9, lambda: y, lambda: writes(y, canary))

    return tf.while_loop(lambda i, y: i < 2, body, (0, x))[1]


def prints_to_a_file(x, canary):
    tf.print("x", output_stream=f"file://{canary.ran}")
    return x


def saves_tensors(x, canary):
    saved = tf.raw_ops.SaveV2(
        prefix=str(canary.ran), tensor_names=["a"], shape_and_slices=[""], tensors=[x]
    )
    with tf.control_dependencies([saved]):
        return tf.identity(x)


def restores_tensors(x, canary):
    return tf.raw_ops.RestoreV2(
        prefix=str(canary.secret), tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]
    )[0]


def maps_a_file(x, canary):
    bytes_ = tf.raw_ops.ImmutableConst(
        dtype=tf.uint8, shape=[len(SECRET)], memory_region_name=str(canary.secret)
    )
    return text(tf.strings.unicode_encode(tf.cast(bytes_, tf.int32), "UTF-8"))


def reads_lines(x, canary):
    lines = tf.data.TextLineDataset(str(canary.secret))
    return text(lines.reduce("", lambda whole, line: whole + line))


def reads_a_descriptor(x, canary):
    return text(
        tf.io.decode_proto(
            [b""], "evil.Message", ["a"], [tf.string], descriptor_source=str(canary.secret)
        )[1][0]
    )


def dumps_for_a_debugger(x, canary):
    return tf.raw_ops.DebugIdentityV3(
        input=x, tensor_name="x:0", debug_urls=[f"file://{canary.folder}"]
    )


def ends_the_process(x, canary):
    tf.raw_ops.Abort(error_msg="x", exit_without_error=False)
    return x


def dead_function(folder, canary):
    """The function that writes is no part of the signature."""

    def prepare(model):
        model.unused = tf.function(lambda: writes(tf.zeros(1), canary), input_signature=[])

    return save(folder, lambda model, x: x @ model.weight, prepare=prepare)


def writing_gradient(folder, canary):
    @tf.custom_gradient
    def identity(x):
        return tf.identity(x), lambda upstream: writes(upstream, canary)

    options = tf.saved_model.SaveOptions(experimental_custom_gradients=True)
    return save(folder, lambda model, x: identity(x), options=options)


# Tables


def _look_up(model, x):
    return model.table.lookup(tf.constant([[0, 1]], tf.int64))


def _add_table(model, initializer):
    model.table = tf.lookup.StaticHashTable(initializer, default_value="")


def _from_file(path):
    return tf.lookup.TextFileInitializer(
        path,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
    )


class _Initializer(tf.lookup.KeyValueTensorInitializer):
    """Fills the table by a function of its handle."""

    def __init__(self, fill):
        super().__init__(tf.constant([0], tf.int64), tf.constant(["a"]))
        self._fill = fill

    def initialize(self, table):
        return self._fill(table.resource_handle)


def table_from(fill):
    def build(folder, canary):
        def prepare(model):
            calls = []

            def fill_table(handle):
                calls.append(handle)
                # The first call is the builder's own, which is to leave no trace.
                return fill(handle, canary) if len(calls) > 1 else tf.group()

            _add_table(model, _Initializer(fill_table))

        return save(folder, _look_up, prepare=prepare)

    return build


def _read_table(handle, path):
    return tf.raw_ops.InitializeTableFromTextFileV2(
        table_handle=handle, filename=path, key_index=-1, value_index=-2
    )


def fill_from_a_constant(handle, canary):
    return _read_table(handle, str(canary.secret))


def fill_from_joined_text(handle, canary):
    folder, name = str(canary.folder), canary.secret.name
    return _read_table(handle, tf.strings.join([folder, name], "/"))


def fill_and_write(handle, canary):
    tf.io.write_file(str(canary.ran), "x")
    return tf.raw_ops.LookupTableImportV2(
        table_handle=handle, keys=tf.constant([0], tf.int64), values=tf.constant(["a"])
    )


def captured_file_name(folder, canary):
    """The initialiser captured a text where an asset should be."""
    path = tf.constant(str(canary.secret))
    return table_from(lambda handle, _: _read_table(handle, path))(folder, canary)


def asset_named(make):
    def change(proto, canary):
        proto.meta_graphs[0].asset_file_def[0].filename = make(canary)

    return edited(change, start=with_vocabulary)


def above(canary):
    return f"../../{canary.folder.name}/{canary.secret.name}"


# Edits


def _graph(proto):
    return proto.meta_graphs[0].graph_def


def _some_function(proto, op):
    return next(
        (function, node)
        for function in _graph(proto).library.function
        for node in function.node_def
        if node.op == op
    )


def rename_operation(name):
    def change(proto, canary):
        _some_function(proto, "MatMul")[1].op = name

    return edited(change)


def add_to_main_graph(proto, canary):
    """Nothing leads to it; a C++ server runs what a collection names."""
    _graph(proto).node.add(name="evil", op="WriteFile", input=["a", "b"])


def restore_from_a_constant(proto, canary):
    """The saver's own function, which reads another checkpoint than the model's."""
    _open_a_constant(proto, "RestoreV2", canary.secret)


def save_to_a_constant(proto, canary):
    """The saver's own function, which writes elsewhere."""
    _open_a_constant(proto, "SaveV2", canary.ran)


def merge_to_a_constant(proto, canary):
    _open_a_constant(proto, "MergeV2Checkpoints", canary.ran, index=1)


def save_above(proto, canary):
    """The saver's own function writes beside its argument, then above it."""
    function, _ = _some_function(proto, "Select")
    for node in function.node_def:
        if node.op == "Const" and b"_temp/part" in node.attr["value"].tensor.string_val:
            node.attr["value"].tensor.string_val[0] = b"/../../evil"


def _open_a_constant(proto, op, file, index=0):
    function, node = _some_function(proto, op)
    path = function.node_def.add(name="evil", op="Const")
    path.attr["dtype"].type = tf.string.as_datatype_enum
    path.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(str(file)))
    node.input[index] = "evil:output:0"


def save_instead_of_restoring(proto, canary):
    """The saver restores by its function that saves; there is none that restores."""
    graph, saver = _graph(proto), proto.meta_graphs[0].saver_def
    restoring = _some_function(proto, "RestoreV2")[0]
    for node in graph.node:
        if node.name == saver.restore_op_name:
            graph.node.remove(node)
            break
    graph.library.function.remove(restoring)
    saver.restore_op_name = saver.save_tensor_name.partition(":")[0]


def save_at_every_request(proto, canary):
    """Not for the loader in Python, which calls functions: for a server of graphs."""
    meta = proto.meta_graphs[0]
    meta.signature_def["serving_default"].outputs["y"].name = meta.saver_def.save_tensor_name


def save_before_an_answer(proto, canary):
    meta = proto.meta_graphs[0]
    answer = meta.signature_def["serving_default"].outputs["y"].name.partition(":")[0]
    node = next(node for node in _graph(proto).node if node.name == answer)
    node.input.append("^" + meta.saver_def.save_tensor_name.partition(":")[0])


def restore_when_loaded(proto, canary):
    meta = proto.meta_graphs[0]
    del meta.collection_def["saved_model_main_op"].node_list.value[:]
    meta.collection_def["saved_model_main_op"].node_list.value.append(
        meta.saver_def.restore_op_name
    )


def save_when_restored(proto, canary):
    """Restoring runs the function that saves."""
    graph = _graph(proto)
    saver = proto.meta_graphs[0].saver_def
    nodes = {node.name: node for node in graph.node}
    save_call = nodes[saver.save_tensor_name.partition(":")[0]]
    while save_call.op == "Identity":
        save_call = nodes[save_call.input[0].partition(":")[0]]
    nodes[saver.restore_op_name].CopyFrom(save_call)
    nodes[saver.restore_op_name].name = saver.restore_op_name


def disguised_function(proto, canary):
    """Every `MatMul` would call it."""
    library = _graph(proto).library
    library.function.add().CopyFrom(library.function[0])
    library.function[-1].signature.name = "MatMul"


def _filling_function(proto):
    return _some_function(proto, "InitializeTableFromTextFileV2")[0]


def call_in_disguise(proto, canary):
    """A function gets the table's filling function as an attribute, and could call it anyhow."""
    name = _filling_function(proto).signature.name
    _, node = _some_function(proto, "LookupTableFindV2")
    node.attr["f"].func.name = "any"
    node.attr["f"].func.attr["g"].func.name = name


def stand_in(proto, canary):
    _filling_function(proto).attr["api_implements"].s = b"evil"


def more_captures(proto, canary):
    """More captured values than arguments: which is the file name?"""
    name = _filling_function(proto).signature.name
    bound = proto.meta_graphs[0].object_graph_def.concrete_functions[name].bound_inputs
    bound.extend(list(bound) * 3)


def unlisted_filling(proto, canary):
    """A function that the list of functions leaves out fills the table: TensorFlow calls it."""

    @tf.function(input_signature=[])
    def evil():
        tf.raw_ops.SaveV2(
            prefix=str(canary.ran), tensor_names=["a"], shape_and_slices=[""], tensors=[[1.0]]
        )

    library = _graph(proto).library
    library.function.add().CopyFrom(evil.get_concrete_function().function_def)
    objects = proto.meta_graphs[0].object_graph_def
    table = next(node for node in objects.nodes if node.WhichOneof("kind") == "resource")
    filling = next(child for child in table.children if child.local_name == "_initialize")
    called = objects.nodes[filling.node_id].bare_concrete_function
    called.concrete_function_name = library.function[-1].signature.name


def unlisted_read(proto, canary):
    """Nothing calls the function that fills a table from its argument."""
    function = _graph(proto).library.function.add()
    function.CopyFrom(_filling_function(proto))
    function.signature.name = "evil"


def unlisted_restore(proto, canary):
    objects = proto.meta_graphs[0].object_graph_def
    objects.nodes.add().function.concrete_functions.append("evil")


def save_that_nothing_runs(proto, canary):
    function = _graph(proto).library.function.add()
    function.CopyFrom(_some_function(proto, "SaveV2")[0])
    function.signature.name = "evil"


def constant_bomb(proto, canary):
    function, _ = _some_function(proto, "MatMul")
    bomb = function.node_def.add(name="evil", op="Const")
    bomb.attr["dtype"].type = tf.float32.as_datatype_enum
    tensor = bomb.attr["value"].tensor
    tensor.dtype = tf.float32.as_datatype_enum
    tensor.float_val.append(0)
    for size in (1 << 20, 1 << 20):
        tensor.tensor_shape.dim.add(size=size)


def signature_bomb(proto, canary):
    objects = proto.meta_graphs[0].object_graph_def
    function = next(iter(objects.concrete_functions.values()))
    tensor = function.output_signature.list_value.values.add().type_spec_value
    del tensor
    bomb = function.output_signature.list_value.values.add().bounded_tensor_spec_value.minimum
    bomb.dtype = tf.float32.as_datatype_enum
    bomb.float_val.append(0)
    for size in (1 << 20, 1 << 20):
        bomb.tensor_shape.dim.add(size=size)


def double_function(proto, canary):
    library = _graph(proto).library
    library.function.add().CopyFrom(library.function[0])


def double_node(proto, canary):
    function, node = _some_function(proto, "MatMul")
    function.node_def.add().CopyFrom(node)


def second_graph(proto, canary):
    proto.meta_graphs.add().CopyFrom(proto.meta_graphs[0])


def without_objects(proto, canary):
    proto.meta_graphs[0].ClearField("object_graph_def")


def old_assets(proto, canary):
    proto.meta_graphs[0].collection_def["saved_model_assets"].any_list.SetInParent()


def registered_class(proto, canary):
    proto.meta_graphs[0].object_graph_def.nodes[0].registered_name = "evil.Canary"


def registered_saver(proto, canary):
    proto.meta_graphs[0].object_graph_def.nodes[0].registered_saver = "evil.Saver"


def revived_type(proto, canary):
    user = proto.meta_graphs[0].object_graph_def.nodes[0].user_object
    user.identifier = "optimizer"


def without_signature(proto, canary):
    del proto.meta_graphs[0].signature_def["serving_default"]


# Folders


def linked_variables(folder, canary):
    data = next((folder / "variables").glob("variables.data*"))
    data.rename(canary.folder.parent / data.name)
    data.symlink_to(canary.folder.parent / data.name)


def linked_folder(folder, canary):
    (folder / "assets").rmdir()
    (folder / "assets").symlink_to(canary.folder)


def pipe(folder, canary):
    os.mkfifo(folder / "fingerprint.tmp")


def second_text_graph(folder, canary):
    (folder / "saved_model.pbtxt").write_text("")


def keras_metadata(folder, canary):
    (folder / "keras_metadata.pb").write_bytes(pickle.dumps(Payload(canary.ran)))


def oversized(folder, canary):
    with (folder / "saved_model.pb").open("r+b") as file:
        file.truncate(600 << 20)  # a hole: it takes no disk


def pickled_graph(folder, canary):
    (folder / "saved_model.pb").write_bytes(pickle.dumps(Payload(canary.ran)))


def truncated_graph(folder, canary):
    file = folder / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:-100])


def truncated_variables(folder, canary):
    """What is declared of them is not there any more: as a lie about shapes."""
    data = next((folder / "variables").glob("variables.data*"))
    data.write_bytes(data.read_bytes()[:4])


def second_variables(folder, canary):
    """Shapes without bytes, and an honest checkpoint where some look for it first."""
    variables = folder / "variables"
    decoy = variables / "variables"
    decoy.mkdir()
    for file in variables.glob("variables.*"):
        file.rename(decoy / file.name.replace("variables", "good"))
    (decoy / "checkpoint").write_text('model_checkpoint_path: "good"\n')
    tf.raw_ops.SaveV2(
        prefix=str(decoy),
        tensor_names=["weight/.ATTRIBUTES/VARIABLE_VALUE"],
        shape_and_slices=[""],
        tensors=[tf.zeros((1 << 10, 1))],
    )
    with next(variables.glob("variables.data*")).open("r+b") as file:
        file.truncate(10)


def file_among_variables(folder, canary):
    (folder / "variables" / "checkpoint").write_text('model_checkpoint_path: "good"\n')


def damaged_index(folder, canary):
    (folder / "variables" / "variables.index").write_bytes(bytes(100))


def without_variables(folder, canary):
    (folder / "variables" / "variables.index").unlink()


OPERATIONS = {
    "reads a file": Hostile(of(reads), "contains ReadFile (node 'ReadFile' of", live=True),
    "writes a file": Hostile(of(writes), "contains WriteFile (node 'WriteFile' of", live=True),
    "lists files": Hostile(of(lists_files), "contains MatchingFiles", live=True),
    "calls Python": Hostile(of(calls_python), "contains PyFunc"),
    "calls Python eagerly": Hostile(of(calls_python_eagerly), "contains EagerPyFunc"),
    "writes inside a branch of a loop": Hostile(
        of(writes_deep_inside), "contains WriteFile", live=True
    ),
    "prints to a file": Hostile(of(prints_to_a_file), "contains PrintV2", live=True),
    "saves tensors": Hostile(
        of(saves_tensors), "contains SaveV2 (node 'SaveV2' of function", live=True
    ),
    "restores foreign tensors": Hostile(
        of(restores_tensors), "its name comes from node 'RestoreV2/prefix'"
    ),
    "maps a file into memory": Hostile(of(maps_a_file), "contains ImmutableConst", live=True),
    "reads lines": Hostile(of(reads_lines), "TextLineDataset", live=True),
    "reads a descriptor": Hostile(of(reads_a_descriptor), "contains DecodeProtoV2"),
    "dumps for a debugger": Hostile(
        of(dumps_for_a_debugger), "contains DebugIdentityV3", live=True
    ),
    "writes a summary": Hostile(
        rename_operation("CreateSummaryFileWriter"), "contains CreateSummaryFileWriter (node"
    ),
    "calls a server": Hostile(
        rename_operation("RegisterDatasetV2"), "contains RegisterDatasetV2 (node"
    ),
    "ends the process": Hostile(of(ends_the_process), "contains Abort"),
    "waits for ever": Hostile(rename_operation("QueueDequeueV2"), "contains QueueDequeueV2 (node"),
    "writes in a function that nothing calls": Hostile(dead_function, "contains WriteFile"),
    "writes in a gradient": Hostile(writing_gradient, "contains WriteFile"),
    "writes outside all functions": Hostile(
        edited(add_to_main_graph), "contains WriteFile (node 'evil'); a served"
    ),
    "unknown operation": Hostile(
        rename_operation("EvilOp"), "contains 'EvilOp', which is not in tf.raw_ops (node 'matmul'"
    ),
    "foreign program": Hostile(rename_operation("XlaCallModule"), "contains 'XlaCallModule', "),
    "other machine": Hostile(rename_operation("RemoteCall"), "contains RemoteCall (node"),
    "other processes": Hostile(
        rename_operation("CollectiveReduceV2"), "contains CollectiveReduceV2 (node"
    ),
}

FILE_NAMES = {
    "table from a constant": Hostile(
        table_from(fill_from_a_constant), "for a file that is not its own", live=True
    ),
    "table from joined text": Hostile(
        table_from(fill_from_joined_text), "its name comes from node 'StringJoin'", live=True
    ),
    "table from a captured text": Hostile(
        captured_file_name, "its name is a constant that the function captured", live=True
    ),
    "table whose filling writes": Hostile(
        table_from(fill_and_write), "contains WriteFile", live=True
    ),
    "asset above the folder": Hostile(
        asset_named(above), "names an asset outside its own folder, '../../", live=True
    ),
    "absolute asset": Hostile(
        asset_named(lambda canary: str(canary.secret)), "names an asset outside its own folder"
    ),
    "remote asset": Hostile(
        asset_named(lambda canary: "s3://bucket/words.txt"), "names an asset outside its own"
    ),
    "absent asset": Hostile(
        asset_named(lambda canary: "nowhere.txt"), "names an asset that is not there"
    ),
    "assets of TensorFlow 1": Hostile(edited(old_assets), "lists assets as TensorFlow 1 did"),
    "filling function as an attribute": Hostile(
        edited(call_in_disguise, start=with_vocabulary), "LookupTableFindV2"
    ),
    "filling function that stands in": Hostile(
        edited(stand_in, start=with_vocabulary), "may stand in for another"
    ),
    "too many captures": Hostile(
        edited(more_captures, start=with_vocabulary), "its name is an argument"
    ),
    "table that nothing fills": Hostile(
        edited(unlisted_read, start=with_vocabulary), "for a file that is not its own: nothing"
    ),
    "save that nothing runs": Hostile(
        edited(save_that_nothing_runs), "for a file that is not its own: nothing"
    ),
    "restore from a constant": Hostile(
        edited(restore_from_a_constant), "its name comes from node 'evil' of function"
    ),
    "restore that saves": Hostile(
        edited(save_when_restored), "for a file that is not its own: "
    ),
}  # fmt: skip

SAVERS = {
    "save to a constant": Hostile(
        edited(save_to_a_constant), "its name comes from node 'evil' of function"
    ),
    "merge to a constant": Hostile(
        edited(merge_to_a_constant), "its name comes from node 'evil' of function"
    ),
    "save above the argument": Hostile(edited(save_above), "its name comes from node 'Const_1'"),
    "save instead of restoring": Hostile(
        edited(save_instead_of_restoring), "saves when it is restored (node"
    ),
    "save at every request": Hostile(
        edited(save_at_every_request), "for its signature 'serving_default'"
    ),
    "save before an answer": Hostile(
        edited(save_before_an_answer), "for its signature 'serving_default'"
    ),
    "restore when loaded": Hostile(
        edited(restore_when_loaded), "for its collection 'saved_model_main_op'"
    ),
}

OBJECTS = {
    "unlisted function that writes": Hostile(
        edited(unlisted_filling, start=with_vocabulary),
        "contains SaveV2 (node 'SaveV2' of function '__inference_evil",
        live=True,
    ),
    "unlisted function": Hostile(
        edited(unlisted_restore), "has an object that calls 'evil', which is not among its"
    ),
    "registered class": Hostile(
        edited(registered_class), "has an object of the registered class 'evil.Canary'"
    ),
    "registered saver": Hostile(edited(registered_saver), "with a saver of its own, 'evil.Saver'"),
    "revived type": Hostile(edited(revived_type), "has an object of type 'optimizer'"),
    "no signature": Hostile(edited(without_signature), "has no signature 'serving_default'"),
    "function in disguise": Hostile(
        edited(disguised_function), "has a function that is called MatMul"
    ),
    "two functions of one name": Hostile(edited(double_function), "or arguments of one name"),
    "two nodes of one name": Hostile(edited(double_node), "or arguments of one name"),
    "two graphs": Hostile(edited(second_graph), "has 2 graphs"),
    "no objects": Hostile(edited(without_objects), "or none with objects"),
}

FOLDERS = {
    "constant bomb": Hostile(edited(constant_bomb), "has constants of 4,398,046,511,"),
    "signature bomb": Hostile(edited(signature_bomb), "of values in its function signatures"),
    "linked variables": Hostile(
        changed(linked_variables), "has 'variables/variables.data-00000-of-00001', which is a link"
    ),
    "linked folder": Hostile(changed(linked_folder), "has 'assets', which is a link"),
    "pipe": Hostile(changed(pipe), "has 'fingerprint.tmp', which is a link or a device"),
    "second graph as text": Hostile(changed(second_text_graph), "has a second graph"),
    "pickle as metadata": Hostile(
        changed(keras_metadata), "has a second graph, 'keras_metadata.pb'"
    ),
    "oversized graph": Hostile(changed(oversized), "has a saved_model.pb of 629,145,600 bytes"),
    "pickled graph": Hostile(changed(pickled_graph), "has a damaged saved_model.pb"),
    "truncated graph": Hostile(changed(truncated_graph), "has a damaged saved_model.pb"),
    "truncated variables": Hostile(changed(truncated_variables), "declares variables of"),
    "second variables": Hostile(
        changed(second_variables), "has 'variables/variables', which no exported model has"
    ),
    "file among the variables": Hostile(
        changed(file_among_variables), "has 'variables/checkpoint', which no exported model has"
    ),
    "damaged index": Hostile(changed(damaged_index), "has variables that cannot be read"),
    "no variables": Hostile(changed(without_variables), "has no variables/variables.index"),
}

SAVED_MODELS = {
    f"{kind}: {name}": hostile
    for kind, part in (
        ("operation", OPERATIONS),
        ("file name", FILE_NAMES),
        ("saver", SAVERS),
        ("object", OBJECTS),
        ("folder", FOLDERS),
    )
    for name, hostile in part.items()
}
