"""Sums of gradients over workers, inside the traced training step: two transports of one kind.

Between CPU workers the TCP ring takes an eighth (77 k parameters) to half (4.3 M) of the time of
TensorFlow's collectives (`benchmarks/exchange.py`); between GPUs those are NCCL's and leave the
gradients on the device.
"""

import json
import os
from collections.abc import Sequence
from typing import Any, Protocol

from shardline.cluster.ports import free_port
from shardline.spec.train import TrainSpec
from shardline.training.exchange import Exchange
from shardline.training.ring import TcpRing

# TensorFlow sums small tensors together up to this size: 1.7 times the throughput of one by one.
BYTES_PER_PACK = 1 << 20


class GradientSums(Protocol):
    """Adds up what all ranks computed. Called while the step is traced, once per step."""

    def over_ranks(self, gradients: Sequence[Any]) -> list[Any]:
        """Sums of dense `tf.Tensor`s, in order; bit-identical on all ranks."""


def gradient_sums(train: TrainSpec, exchange: Exchange) -> GradientSums | None:
    """The transport that the spec asks for; None for a worker alone.

    Must be called before TensorFlow runs its first operation: that is when its collectives can
    still be set up.
    """
    if not isinstance(exchange, TcpRing):
        return None
    if train.exchange == "collective" or (train.exchange == "auto" and train.gpus_per_worker):
        return CollectiveSums(exchange, use_gpu=train.gpus_per_worker > 0)
    return RingSums(exchange)


class RingSums:
    """Sums on the host, over the TCP ring.

    Args:
        exchange: The ring.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def over_ranks(self, gradients: Sequence[Any]) -> list[Any]:
        """Sums of dense tensors."""
        import tensorflow as tf

        def summed(*arrays: Any) -> list[Any]:
            return self._exchange.all_reduce(arrays)

        sums = tf.numpy_function(summed, gradients, [gradient.dtype for gradient in gradients])
        for gradient, total in zip(gradients, sums, strict=True):
            total.set_shape(gradient.shape)
        return list(sums)


class CollectiveSums:
    """Sums by TensorFlow's collective operations: NCCL between GPUs, gRPC between CPUs.

    Keras 3 cannot train inside a `MultiWorkerMirroredStrategy` (keras 3.15, TensorFlow 2.21:
    "PerReplica … unsupported type"), so the strategy only brings the collective runtime up: the
    model lives outside its scope, and a step enters a replica just for the sum.

    Args:
        ring: Tells the ranks each other's addresses.
        use_gpu: Whether gradients are on GPUs.
    """

    def __init__(self, ring: TcpRing, *, use_gpu: bool) -> None:
        import tensorflow as tf

        address = f"{ring.host}:{free_port(ring.host)}"
        addresses = [other.decode() for other in ring.all_gather(address.encode())]
        os.environ["TF_CONFIG"] = json.dumps(
            {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": ring.rank}}
        )
        kinds = tf.distribute.experimental.CommunicationImplementation
        options = tf.distribute.experimental.CommunicationOptions(
            bytes_per_pack=BYTES_PER_PACK,
            implementation=kinds.NCCL if use_gpu else kinds.RING,
        )
        self._strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)

    def over_ranks(self, gradients: Sequence[Any]) -> list[Any]:
        """Sums of dense tensors."""
        import tensorflow as tf

        def summed(values: list[Any]) -> Any:
            # Without a device of their own the collectives are placed apart on the ranks.
            with tf.device(self._strategy.extended.worker_devices[0]):
                pinned = [tf.identity(value) for value in values]
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, pinned)

        return list(self._strategy.run(summed, args=(list(gradients),)))
