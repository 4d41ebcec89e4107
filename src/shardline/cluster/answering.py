"""Whether a Ray cluster answers at an address and lets this process in, asked with a deadline.

Ray itself tries a dead address, or a live one with the wrong token, for minutes on end, printing a
warning every five seconds.
"""

import os

from shardline.errors import ResourceError


def running_address(address: str) -> str:
    """The `host:port` behind `auto`, which means the Ray that `ray start` left running here.

    Ray's own `auto` falls back on any Ray process it finds on the machine, other people's too.

    Raises:
        ResourceError: There is none, or the address is not one of a cluster's control service.
    """
    from ray._private.utils import read_ray_address

    found = address if address != "auto" else os.environ.get("RAY_ADDRESS") or read_ray_address()
    if found is None:
        raise ResourceError("no Ray cluster runs on this machine; give its address as host:port.")
    host, separator, port = found.rpartition(":")
    if not separator or not host or "/" in host or not port.isdigit():
        raise ResourceError(
            f"{found!r} is no address of a Ray cluster; write host:port of its control service, "
            "such as 10.0.0.1:6379, and use `shardline submit` for http:// addresses."
        )
    return str(found)


def check_answers(address: str, *, timeout_s: float) -> None:
    """Make sure the cluster's control service answers this process.

    Raises:
        ResourceError: Nothing answers in time, or the token is refused.
    """
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated.gcs_service_pb2 import CheckAliveRequest
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    with init_grpc_channel(address) as channel:
        try:
            NodeInfoGcsServiceStub(channel).CheckAlive(CheckAliveRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                raise ResourceError(
                    f"the Ray cluster at {address} refuses this process; set RAY_AUTH_TOKEN to "
                    "its token."
                ) from error
            raise ResourceError(
                f"no Ray cluster answers at {address}; check the address and that the cluster "
                "is up."
            ) from error
