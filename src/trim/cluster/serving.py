"""The server on a Ray cluster: `serve run docs/ray-serve.yaml`."""

# Without `annotations` of the future: Ray reads from the signature that it is to make `Arguments`.

from pathlib import Path

from pydantic import BaseModel, ConfigDict
from ray import serve

from trim.configuration.lineup import ModelSource
from trim.configuration.source import open_lineup
from trim.server.admission import Limits
from trim.server.run import Serving, catalog_of
from trim.server.run import application as asgi_application
from trim.shipped.lineup import ShippedModelSource

USUAL = Limits()


class ServeArguments(BaseModel):
    """What `trim serve` is told by its options.

    Attributes:
        database: reached by all nodes; a file for SQLite only where there is one node.
        configuration: at the same path on each node; the shipped models without one.
        host: on which Ray's proxies listen; on another than loopback, keys are needed.
        replicas: processes, each with its own models, `running` and `queue`.
        cpus: that each replica takes of Ray's.
    """

    model_config = ConfigDict(extra="forbid")

    database: str
    configuration: Path | None = None
    host: str = "127.0.0.1"
    policy: str | None = None
    curve: Path | None = None
    running: int = USUAL.running
    queue: int = USUAL.queue
    keep_texts: bool = False
    replicas: int = 2
    cpus: float = 1.0


def application(arguments: ServeArguments) -> serve.Application:
    """What Ray Serve runs; an error in the configuration is told here.

    Raises:
        InvalidInput: a wrong configuration, policy or curve.
    """
    limits = Limits(running=arguments.running, queue=arguments.queue)
    serving = Serving(
        arguments.host,
        0,
        arguments.database,
        limits,
        arguments.policy,
        arguments.curve,
        arguments.keep_texts,
    )

    def lineup() -> ModelSource:
        path = arguments.configuration
        return open_lineup(path) if path else ShippedModelSource()

    catalog_of(lineup(), serving)
    deployment = serve.deployment(
        name="trim",
        num_replicas=arguments.replicas,
        # The desk of each replica turns away who is too many, and says so.
        max_ongoing_requests=limits.running + limits.queue + 1,
        graceful_shutdown_timeout_s=limits.shutdown,
        ray_actor_options={"num_cpus": arguments.cpus},
    )
    return deployment(serve.ingress(lambda: asgi_application(lineup, serving))()).bind()
