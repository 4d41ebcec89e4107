"""Hostile `.keras` and HDF5 files: published attacks, rebuilt with harmless canaries.

Each is a name, how to build it, and what the refusal says. All are made of plain bytes: neither
Keras nor TensorFlow is needed.
"""

import codecs
import io
import json
import marshal
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

MIB = 1 << 20


@dataclass(frozen=True)
class Hostile:
    """One row of the corpus."""

    build: object
    """Called with a folder that exists and a canary; gives the path of the model."""
    says: str
    """What the sentence of the refusal has in it."""
    live: bool = False
    """Whether the canary is known to sing when the file is loaded unguarded."""


class Payload:
    """Runs when it is unpickled."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return (_touch, (str(self._path),))


def _touch(path):
    Path(path).write_text("pickled code ran")


# Configs


def layer(name, module="keras.layers", *, registered=None, build=None, **config):
    entry = {
        "module": module,
        "class_name": name,
        "config": {"name": f"the_{name.lower()}", "trainable": True, **config},
        "registered_name": registered,
    }
    return entry | ({"build_config": {"input_shape": build}} if build else {})


def sequential(*layers, shape=(2,), **rest):
    first = layer("InputLayer", batch_shape=[None, *shape], dtype="float32")
    config = {"name": "model", "trainable": True, "layers": [first, *layers]}
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": config,
        "registered_name": None,
        **rest,
    }


def dense(units=1, **config):
    return layer("Dense", units=units, build=[None, 2], **config)


WIDE = 1 << 31


def wide(name, *shape, **config):
    """A layer that says that it was built for a shape."""
    return layer(name, build=[None, *shape], **config)


def code_of(canary):
    """Bytecode of a function of one argument that makes the canary's file."""
    scope = {}
    source = f"lambda x: (open({str(canary.ran)!r}, 'w').close(), x)[1]"
    exec(f"function = {source}", scope)
    return codecs.encode(marshal.dumps(scope["function"].__code__), "base64").decode("ascii")


def python_lambda(canary):
    config = {"code": code_of(canary), "defaults": None, "closure": None}
    return {"class_name": "__lambda__", "config": config}


def lambda_layer(canary):
    return layer("Lambda", function=python_lambda(canary), arguments={})


def function(name, module):
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def call_of_constant(name, module, value, **config):
    """An operation that is computed while the model is built; no output depends on it."""
    constant = {
        "class_name": "__numpy__",
        "config": {"value": value, "dtype": "float32"},
    }
    return layer(name, module, registered=name, **config) | {
        "name": "dead",
        "inbound_nodes": [{"args": [constant], "kwargs": {}}],
    }


def functional(*further):
    shape = {"shape": [None, 2], "dtype": "float32", "keras_history": ["x", 0, 0]}
    tensor = {"class_name": "__keras_tensor__", "config": shape}
    first = layer("InputLayer", batch_shape=[None, 2], dtype="float32")
    head = dense()
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "registered_name": "Functional",
        "config": {
            "name": "model",
            "trainable": True,
            "layers": [
                first | {"name": "x", "inbound_nodes": []},
                head | {"name": "y", "inbound_nodes": [{"args": [tensor], "kwargs": {}}]},
                *further,
            ],
            "input_layers": [["x", 0, 0]],
            "output_layers": [["y", 0, 0]],
        },
    }


# Files


def weights(write=None):
    """HDF5 as Keras writes it, and what `write` adds."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        group = file.create_group("layers/dense/vars")
        group["0"] = np.ones((2, 1), np.float32)
        group["1"] = np.ones(1, np.float32)
        if write:
            write(file)
    return content.getvalue()


def archive(folder, config, *, write=None, members=(), mode=zipfile.ZIP_STORED):
    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w", mode) as file:
        file.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        file.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        file.writestr("model.weights.h5", weights(write))
        for name, content in members:
            file.writestr(name, content)
    return path


def of_config(make):
    """A `.keras` file with the config that a function of the canary gives."""
    return lambda folder, canary: archive(folder, make(canary))


def of_weights(write):
    """A `.keras` file whose weights a function of the HDF5 file and the canary adds to."""
    return lambda folder, canary: archive(
        folder, sequential(dense()), write=lambda file: write(file, canary)
    )


def of_members(*members):
    return lambda folder, canary: archive(folder, sequential(dense()), members=members)


def with_symlink(folder, canary):
    link = zipfile.ZipInfo("assets/vocabulary.txt")
    link.external_attr = 0o120777 << 16
    return archive(folder, sequential(dense()), members=[(link, str(canary.secret))])


def with_doubled_member(folder, canary):
    path = archive(folder, sequential(dense()))
    with zipfile.ZipFile(path, "a") as file, _no_warning():
        file.writestr("config.json", json.dumps(sequential(lambda_layer(canary))))
    return path


def _no_warning():
    import warnings

    caught = warnings.catch_warnings()
    warnings.simplefilter("ignore")
    return caught


def with_bomb(folder, canary):
    path = archive(folder, sequential(dense()))
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file,
        file.open("assets/zeros", "w", force_zip64=True) as member,
    ):
        for _ in range(72):
            member.write(bytes(MIB))
    return path


def with_overlapping_members(folder, canary):
    """Many names for the same bytes: the end of the file lists one member over and over."""
    path = archive(folder, sequential(dense()), members=[("assets/0", bytes(64 * 1024))])
    with zipfile.ZipFile(path, "a") as file:
        shared = file.getinfo("assets/0")
        for index in range(1, 64):
            other = zipfile.ZipInfo(f"assets/{index}")
            for field in ("CRC", "compress_size", "file_size", "header_offset", "compress_type"):
                setattr(other, field, getattr(shared, field))
            file.filelist.append(other)
        file._didModify = True
    return path


def with_prefix(folder, canary):
    path = archive(folder, sequential(dense()))
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    return path


def encrypted(folder, canary):
    path = archive(folder, sequential(dense()))
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\1\2")  # the first entry of the directory; flags are at offset 8
    data[place + 8] |= 1
    path.write_bytes(data)
    return path


def endless_heap(folder, canary):
    """A text as long as to make HDF5 take zeros for the next one, of no length: it never ends."""
    path = legacy_config(lambda canary: functional())(folder, canary)
    data = bytearray(path.read_bytes())
    place = data.index(b"GCOL") + 16 + 8  # of the first object's size
    size = int.from_bytes(data[place : place + 8], "little")
    data[place : place + 8] = (size + 64).to_bytes(8, "little")
    path.write_bytes(data)
    return path


def narrow_addresses(folder, canary):
    path = legacy_config(lambda canary: functional())(folder, canary)
    data = bytearray(path.read_bytes())
    data[13] = 4
    path.write_bytes(data)
    return path


def with_pickled_arrays(folder, canary):
    """Weights as .npz whose arrays are pickles."""
    content = io.BytesIO()
    evil = np.empty(1, object)
    evil[0] = Payload(canary.ran)
    np.savez(content, evil=evil)
    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", json.dumps(sequential(dense())))
        file.writestr("model.weights.npz", content.getvalue())
    return path


def pickled(name):
    def build(folder, canary):
        path = folder / name
        path.write_bytes(pickle.dumps(Payload(canary.ran)))
        return path

    return build


def truncated(folder, canary):
    path = archive(folder, sequential(dense()))
    path.write_bytes(path.read_bytes()[:-40])
    return path


def damaged_weights(folder, canary):
    path = archive(folder, sequential(dense()), mode=zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    place = data.index(b"model.weights.h5") + 40
    data[place : place + 30] = bytes(30)
    path.write_bytes(data)
    return path


def hdf5_of(write):
    def build(folder, canary):
        path = folder / "model.h5"
        with h5py.File(path, "w") as file:
            write(file, canary)
        return path

    return build


def legacy_config(make):
    def write(file, canary):
        file.attrs["model_config"] = json.dumps(make(canary))
        file.create_group("model_weights")

    return hdf5_of(write)


def legacy_lambda(canary):
    config = {
        "name": "evil",
        "trainable": True,
        "function": [code_of(canary), None, None],
        "function_type": "lambda",
        "module": "__main__",
        "arguments": {},
    }
    return _legacy({"class_name": "Lambda", "config": config})


def tensorflow_by_name(canary):
    config = {"name": "evil", "trainable": True, "function": "io.write_file"}
    return _legacy({"class_name": "TFOpLambda", "config": config})


def _legacy(entry):
    first = {
        "class_name": "InputLayer",
        "config": {"batch_shape": [None, 2], "dtype": "float32", "name": "x"},
    }
    return {"class_name": "Sequential", "config": {"name": "m", "layers": [first, entry]}}


# HDF5


def external_link(file, canary):
    file["layers/dense/evil"] = h5py.ExternalLink(str(canary.secret), "/")


def external_array(file, canary):
    file.create_dataset("layers/evil", (8,), np.uint8, external=[(str(canary.secret), 0, 8)])


def virtual_array(file, canary):
    layout = h5py.VirtualLayout((4,), np.float32)
    layout[:] = h5py.VirtualSource(str(canary.folder / "other.h5"), "data", (4,))
    file.create_virtual_dataset("layers/evil", layout)


def soft_link(file, canary):
    file["layers/evil"] = h5py.SoftLink("/layers/dense")


def shape_bomb(file, canary):
    file.create_dataset("layers/evil", (1 << 20, 1 << 20), np.float32, chunks=(1024, 1024))


def contiguous_bomb(file, canary):
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    space = h5py.h5s.create_simple((1 << 40,))
    h5py.h5d.create(file.id, b"evil", h5py.h5t.IEEE_F32LE, space, plan)


def deflated_bomb(file, canary):
    file.create_dataset("layers/evil", data=np.zeros(18 * MIB, np.float32), compression="gzip")


def plugin(file, canary):
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((4,))
    plan.set_filter(32999, h5py.h5z.FLAG_OPTIONAL, (1,))
    space = h5py.h5s.create_simple((4,))
    h5py.h5d.create(file.id, b"evil", h5py.h5t.IEEE_F32LE, space, plan)


def circle(file, canary):
    file["layers/dense/again"] = file["layers"]


def deep(file, canary):
    group = file
    for _ in range(300):
        group = group.create_group("g")


def texts(file, canary):
    file["layers/evil"] = np.array(["text"], object)


def references(file, canary):
    file.create_dataset("layers/evil", data=file["layers"].ref, dtype=h5py.ref_dtype)


def named_type(file, canary):
    file["layers/evil"] = np.dtype("f8")


def nested(depth):
    return "[" * depth + "]" * depth


CODE = {
    "Lambda": Hostile(
        of_config(lambda canary: sequential(lambda_layer(canary))),
        "has a Lambda, which runs Python or files of its own, at 'config.layers[1]'",
        live=True,
    ),
    "Lambda inside another layer": Hostile(
        of_config(
            lambda canary: sequential(
                layer("TimeDistributed", layer=lambda_layer(canary)), shape=(3, 2)
            )
        ),
        "has a Lambda, which runs Python",
        live=True,
    ),
    "Lambda without a module": Hostile(
        of_config(lambda canary: sequential({"class_name": "Lambda", "config": {}})),
        "has a Lambda",
    ),
    "lambda as an activation": Hostile(
        of_config(lambda canary: sequential(dense(activation=python_lambda(canary)))),
        "has a __lambda__, which runs Python",
    ),
    "lambda as a loss": Hostile(
        of_config(lambda c: sequential(dense(), compile_config={"loss": python_lambda(c)})),
        "at 'compile_config.loss' of its config",
    ),
    "Keras 2 Lambda in HDF5": Hostile(
        legacy_config(legacy_lambda), "has a Lambda, which runs Python", live=True
    ),
    "Keras 2 TFOpLambda": Hostile(legacy_config(tensorflow_by_name), "has a TFOpLambda"),
    "Keras 2 training config": Hostile(
        hdf5_of(
            lambda file, canary: file.attrs.update(
                training_config=json.dumps({"loss": python_lambda(canary)})
            )
        ),
        "has a __lambda__",
    ),
    "TFSMLayer": Hostile(
        of_config(lambda canary: sequential(layer("TFSMLayer", filepath=str(canary.folder)))),
        "has a TFSMLayer",
    ),
    "TFSMLayer by its own module": Hostile(
        of_config(lambda c: sequential(layer("TFSMLayer", "keras.src.export.tfsm_layer"))),
        "has a TFSMLayer",
    ),
    "TorchModuleWrapper": Hostile(
        of_config(lambda canary: sequential(layer("TorchModuleWrapper", module="gASV"))),
        "has a TorchModuleWrapper",
    ),
    "JaxLayer": Hostile(
        of_config(lambda c: sequential(layer("JaxLayer", call_fn=python_lambda(c)))),
        "which runs Python",
    ),
    "registered name": Hostile(
        of_config(lambda canary: sequential(layer("Dense", registered="evil>Canary", units=1))),
        "needs custom code, 'evil>Canary'",
        live=True,
    ),
    "class of another package": Hostile(
        of_config(lambda canary: sequential(layer("Popen", "subprocess", args=["id"]))),
        "needs custom code, 'subprocess.Popen', at 'config.layers[1]'",
    ),
    "class of keras_hub": Hostile(
        of_config(lambda canary: sequential(layer("Backbone", "keras_hub.models"))),
        "needs custom code, 'keras_hub.models.Backbone'",
    ),
    "function of another package": Hostile(
        of_config(lambda canary: sequential(dense(activation=function("system", "os")))),
        "needs custom code, 'os.system'",
    ),
    "download as an activation": Hostile(
        of_config(lambda c: sequential(dense(activation=function("get_file", "keras.utils")))),
        "needs custom code, 'keras.utils.get_file'",
    ),
    "dotted function": Hostile(
        of_config(lambda c: sequential(dense(activation=function("utils.get_file", "keras")))),
        "needs custom code, 'keras.utils.get_file'",
    ),
    "switch of safe mode": Hostile(
        of_config(
            lambda canary: sequential(
                dense(activation=function("enable_unsafe_deserialization", "keras.config"))
            )
        ),
        "needs custom code, 'keras.config.enable_unsafe_deserialization'",
    ),
    "loader as a class": Hostile(
        of_config(lambda canary: sequential(layer("load_model", "keras.saving"))),
        "needs custom code, 'keras.saving.load_model'",
    ),
    "type of TensorFlow": Hostile(
        of_config(
            lambda canary: sequential(
                dense(dtype={"class_name": "__typespec__", "config": [], "module": "evil"})
            )
        ),
        "needs custom code, 'evil.__typespec__'",
    ),
    "type of TensorFlow without a module": Hostile(
        of_config(
            lambda c: sequential(dense(dtype={"class_name": "__typespec__", "config": []}))
        ),
        "needs custom code, '__typespec__'",
    ),
    "class name that is a list": Hostile(
        of_config(lambda canary: sequential({"class_name": ["Lambda"], "config": {}})),
        "has a class name that is no text",
    ),
    "vocabulary from a file": Hostile(
        of_config(
            lambda canary: sequential(layer("StringLookup", vocabulary=str(canary.secret)))
        ),
        "reads its vocabulary from the file",
    ),
    "dead operation": Hostile(
        of_config(lambda c: functional(call_of_constant("Lambda", "keras.layers", [1.0]))),
        "has a Lambda",
    ),
    "dead operation that fills memory": Hostile(
        of_config(
            lambda canary: functional(
                call_of_constant("Repeat", "keras.src.ops.numpy", [1.0], repeats=1 << 34)
            )
        ),
        "computes while it is loaded, at 'config.layers[2]' of its config",
    ),
}  # fmt: skip

SIZES = {
    "weights without bytes": Hostile(
        of_config(
            lambda canary: sequential(
                layer("Dense", units=1 << 24, build=[None, 1 << 24]), shape=(1 << 24,)
            )
        ),
        "describes layers of about 1,125,899,906,842,624 bytes of weights",
    ),
    "weights without bytes, behind Flatten": Hostile(
        of_config(
            lambda canary: sequential(
                layer("Flatten"), layer("Dense", units=1000), shape=(20_000, 20_000, 3)
            )
        ),
        "describes layers of about",
    ),
    "embedding without bytes": Hostile(
        of_config(lambda c: sequential(layer("Embedding", input_dim=1 << 30, output_dim=1 << 10))),
        "describes layers of about",
    ),
    "kernel without bytes": Hostile(
        of_config(
            lambda canary: sequential(
                layer("Conv3D", filters=1, kernel_size=4096, build=[None, 9, 9, 9, 1]),
                shape=(9, 9, 9, 1),
            )
        ),
        "describes layers of about 274,877,906,944 bytes",
    ),
    "features without bytes": Hostile(
        of_config(lambda c: sequential(wide("BatchNormalization", WIDE), shape=(WIDE,))),
        "describes layers of about 34,359,738,368 bytes of weights",
    ),
    "features of an unbuilt layer": Hostile(
        of_config(lambda c: sequential(layer("LayerNormalization"), shape=(WIDE,))),
        "describes layers of about 34,359,738,368 bytes of weights",
    ),
    "features along an axis": Hostile(
        of_config(
            lambda c: sequential(wide("GroupNormalization", WIDE, 1, axis=1), shape=(WIDE, 1))
        ),
        "describes layers of about 34,359,738,368 bytes of weights",
    ),
    "features along many axes": Hostile(
        of_config(
            lambda c: sequential(
                wide("RMSNormalization", 1 << 15, 1 << 15, axis=[1, 2]), shape=(1 << 15, 1 << 15)
            )
        ),
        "describes layers of about 17,179,869,184 bytes of weights",
    ),
    "slopes without bytes": Hostile(
        of_config(
            lambda c: sequential(wide("PReLU", 1 << 15, 1 << 15), shape=(1 << 15, 1 << 15))
        ),
        "describes layers of about 4,294,967,296 bytes of weights",
    ),
    "slopes inside another layer": Hostile(
        of_config(
            lambda c: sequential(
                wide("TimeDistributed", 2, 1 << 15, 1 << 15, layer=layer("PReLU")),
                shape=(2, 1 << 15, 1 << 15),
            )
        ),
        "describes layers of about 8,589,934,592 bytes of weights",
    ),
    "product without bytes": Hostile(
        of_config(
            lambda c: sequential(
                wide("EinsumDense", 1 << 16, equation="ab,bc->ac", output_shape=[1 << 16]),
                shape=(1 << 16,),
            )
        ),
        "describes layers of about 17,179,869,184 bytes of weights",
    ),
    "scale without bytes": Hostile(
        of_config(
            lambda c: sequential(
                layer("LayerScale", "keras.src.applications.convnext", projection_dim=WIDE)
            )
        ),
        "describes layers of about 8,589,934,592 bytes of weights",
    ),
    "one dimension": Hostile(
        of_config(lambda canary: sequential(dense(), shape=(1 << 60,))),
        "has a size of 1,152,921,504,606,846,976",
    ),
    "brackets": Hostile(
        lambda folder, canary: archive(folder, nested(100_000)),
        "has a config that is no JSON (RecursionError)",
    ),
    "fewer brackets": Hostile(
        lambda folder, canary: archive(folder, nested(500)), "more than 200 levels"
    ),
    "no JSON": Hostile(lambda folder, canary: archive(folder, "{"), "has a config that is no JSON"),
}  # fmt: skip

ARCHIVES = {
    "member above the folder": Hostile(
        of_members(("../../ran", b"x")), "has a member '../../ran', which no .keras file has"
    ),
    "member above the assets": Hostile(
        of_members(("assets/../../ran", b"x")), "has a member 'assets/../../ran'"
    ),
    "absolute member": Hostile(of_members(("/tmp/ran", b"x")), "has a member '/tmp/ran'"),
    "member of Windows": Hostile(
        of_members(("assets\\..\\..\\ran", b"x")), "has a member 'assets\\\\..\\\\..\\\\ran'"
    ),
    "pickle as a member": Hostile(of_members(("model.pkl", b"x")), "has a member 'model.pkl'"),
    "symbolic link": Hostile(with_symlink, "has 'assets/vocabulary.txt', which is a link"),
    "second config": Hostile(with_doubled_member, "or two of one name"),
    "bomb": Hostile(with_bomb, "has 'assets/zeros', which declares 75,497,472 bytes"),
    "overlapping members": Hostile(with_overlapping_members, "has members that overlap"),
    "script before the zip": Hostile(with_prefix, "it does not begin as one"),
    "encrypted member": Hostile(encrypted, "which is encrypted or packed"),
    "pickled arrays": Hostile(with_pickled_arrays, "has a member 'model.weights.npz'"),
    "pickle called .keras": Hostile(pickled("model.keras"), "it does not begin as one"),
    "pickle called .h5": Hostile(pickled("model.h5"), "holds no HDF5 that can be read"),
    "truncated": Hostile(truncated, "is no .keras file that can be read"),
    "damaged": Hostile(damaged_weights, "is no .keras file that can be read"),
}

HDF5 = {
    "external link": Hostile(
        of_weights(external_link), "has '/layers/dense/evil', which is a link"
    ),
    "external link in .h5": Hostile(hdf5_of(external_link), "which is a link"),
    "external array": Hostile(
        of_weights(external_array), "has '/layers/evil', which refers to other files"
    ),
    "external array in .h5": Hostile(hdf5_of(external_array), "which refers to other files"),
    "virtual array": Hostile(of_weights(virtual_array), "which refers to other files"),
    "soft link": Hostile(of_weights(soft_link), "has '/layers/evil', which is a link"),
    "shape bomb": Hostile(
        of_weights(shape_bomb), "which declares 4,398,046,511,104 bytes, of which it holds 0"
    ),
    "contiguous shape bomb": Hostile(of_weights(contiguous_bomb), "which declares"),
    "deflated bomb": Hostile(of_weights(deflated_bomb), "which declares 75,497,472 bytes"),
    "filter from a plugin": Hostile(of_weights(plugin), "which needs the filters [32999]"),
    "endless heap": Hostile(endless_heap, "does not add up"),
    "narrow addresses": Hostile(narrow_addresses, "its addresses are of another width"),
    "circle": Hostile(of_weights(circle), "which appears twice"),
    "depth": Hostile(of_weights(deep), "which lies too deep"),
    "texts": Hostile(of_weights(texts), "which is no number"),
    "references": Hostile(of_weights(references), "which is no number"),
    "named type": Hostile(of_weights(named_type), "which is neither group nor array"),
}  # fmt: skip

KERAS_FILES = {
    f"{kind}: {name}": hostile
    for kind, part in (
        ("code", CODE),
        ("size", SIZES),
        ("archive", ARCHIVES),
        ("HDF5", HDF5),
    )
    for name, hostile in part.items()
}
