"""The cluster that a command names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trim.errors import InvalidInput

if TYPE_CHECKING:
    from trim.cluster.ray_cluster import RayCluster


def cluster_at(address: str | None, workers: int | None) -> RayCluster | None:
    """None without an address. Raises InvalidInput for workers without a cluster."""
    if address is None:
        if workers is not None:
            raise InvalidInput("--ray-workers: there is no cluster; name one with --ray")
        return None
    from trim.cluster.ray_cluster import RayCluster

    return RayCluster(address, workers)
