"""What a SavedModel's graph may not contain: operations that lead out of the process.

Loading a SavedModel runs its initialisers and calling it runs its graph, so a graph with these
operations can do anything that the process may. Checked before anything is loaded.
"""

from shardline.errors import IntegrityError

# Everything a saved Keras model needs of the file system is in its own save and restore functions
# (SaveV2, RestoreV2, MergeV2Checkpoints) and in vocabulary files (InitializeTableFromTextFileV2).
FORBIDDEN_OPS = frozenset({
    # host code
    "PyFunc", "PyFuncStateless", "EagerPyFunc", "GeneratorDataset", "XlaCustomCall",
    "XlaCustomCallV2",
    # network
    "RpcCall", "RpcClient", "RpcServer", "RpcServerRegister", "RpcServerStart",
    "DataServiceDataset", "DataServiceDatasetV2", "DataServiceDatasetV3", "DataServiceDatasetV4",
    "RegisterDataset", "RegisterDatasetV2", "DistributedSave",
    # files
    "ReadFile", "WriteFile", "MatchingFiles", "MatchingFilesDataset",
    "ExperimentalMatchingFilesDataset", "FileSystemSetConfiguration", "PrintV2",
    "Save", "SaveSlices", "Restore", "RestoreSlice",
    "WholeFileReader", "WholeFileReaderV2", "TextLineReader", "TextLineReaderV2",
    "FixedLengthRecordReader", "FixedLengthRecordReaderV2", "TFRecordReader", "TFRecordReaderV2",
    "LMDBReader", "TextLineDataset", "TFRecordDataset", "TFRecordDatasetV2", "CSVDataset",
    "CSVDatasetV2", "ExperimentalCSVDataset", "FixedLengthRecordDataset",
    "FixedLengthRecordDatasetV2", "SqlDataset", "ExperimentalSqlDataset", "LMDBDataset",
    "ExperimentalLMDBDataset", "CacheDataset", "CacheDatasetV2", "SnapshotDataset",
    "SnapshotDatasetV2", "SnapshotDatasetReader", "SnapshotNestedDatasetReader",
    "SnapshotChunkDataset", "ListSnapshotChunksDataset", "SaveDataset", "SaveDatasetV2",
    "LoadDataset", "DatasetToTFRecord", "ExperimentalDatasetToTFRecord", "RecordInput",
    "LoadAndRemapMatrix", "GenerateVocabRemapping", "FixedUnigramCandidateSampler", "Skipgram",
    "DebugIdentity", "DebugIdentityV2", "DebugIdentityV3", "DebugNanCount", "DebugNumericSummary",
    "DumpTensor", "CreateSummaryFileWriter", "CreateSummaryDbWriter", "CalibrationStatisticsSaver",
    "InitializeTRTResource", "SerializeTRTResource",
})  # fmt: skip


def forbidden_ops(saved_model: bytes) -> list[str]:
    """Names of forbidden operations in a `saved_model.pb`, functions included, sorted.

    Raises:
        IntegrityError: The bytes are no SavedModel.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    try:
        proto.ParseFromString(saved_model)
    except DecodeError as error:
        raise IntegrityError("saved_model.pb is no SavedModel; export the model again.") from error
    found: set[str] = set()
    for graph in (meta.graph_def for meta in proto.meta_graphs):
        found |= {node.op for node in graph.node}
        found |= {node.op for function in graph.library.function for node in function.node_def}
    return sorted(found & FORBIDDEN_OPS)
