"""The server on a Ray cluster: `serve run docs/ray-serve.yaml`."""

# Without `from __future__ import annotations`: Ray reads the class of the arguments from the
# signature of `application`.

from dataclasses import replace
from pathlib import Path

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from ray import serve

from trim.configuration.source import ModelSource, models_in, open_models
from trim.errors import InvalidInput
from trim.server.admission import Limits
from trim.server.run import LOOPBACK, Serving, catalog_of
from trim.server.run import application as asgi_application

DEFAULT_LIMITS = Limits()
UNKNOWN_HOST = "an address that Ray does not report"


class ServeArguments(BaseModel):
    """The options of `trim serve`, and those of the deployment.

    Attributes:
        database: must be reachable from all nodes; an SQLite file, by its absolute path, only
            with a single node.
        configuration: at the same path on each node; None for the shipped models.
        host: address at which clients reach Ray's proxies, if it differs from `http_options.host`
            (a reverse proxy). Keys are required unless both are loopback.
        replicas: number of processes, each with its own models and limits.
        cpus: Ray CPUs per replica.
    """

    model_config = ConfigDict(extra="forbid")

    database: str
    configuration: Path | None = None
    host: str = "127.0.0.1"
    policy: str | None = None
    curve: Path | None = None
    running: int = DEFAULT_LIMITS.running
    queue: int = DEFAULT_LIMITS.queue
    keep_texts: bool = False
    replicas: int = 2
    cpus: float = 1.0


def application(arguments: ServeArguments) -> serve.Application:
    """The application that Ray Serve runs.

    Raises:
        InvalidInput: the configuration, policy or curve is invalid, or the database is a relative
            path.
    """
    limits = Limits(running=arguments.running, queue=arguments.queue)
    serving = Serving(
        arguments.host,
        0,
        absolute(arguments.database),
        limits,
        arguments.policy,
        arguments.curve,
        arguments.keep_texts,
    )

    def open_source() -> ModelSource:
        path = arguments.configuration
        return open_models(path) if path else models_in()

    def build() -> FastAPI:
        """The ASGI application, in a replica: only there Ray's proxies are sure to exist."""
        return asgi_application(open_source, replace(serving, host=public_host(serving.host)))

    catalog_of(open_source(), serving)
    deployment = serve.deployment(
        name="trim",
        num_replicas=arguments.replicas,
        # One more than a replica admits, so that its own queue answers excess requests.
        max_ongoing_requests=limits.running + limits.queue + 1,
        graceful_shutdown_timeout_s=limits.shutdown,
        ray_actor_options={"num_cpus": arguments.cpus},
    )
    return deployment(serve.ingress(build)()).bind()


def absolute(database: str) -> str:
    """The database, a `~` expanded. Raises InvalidInput for a relative path."""
    # Ray calls `application` in a folder of its own, which is not that of `serve run`.
    if "://" in database:
        return database
    path = Path(database).expanduser()
    if not path.is_absolute():
        raise InvalidInput(
            f"database: {database}: a relative path would be one in Ray's folder; give an absolute"
            f" one, as in ~/{database}"
        )
    return str(path)


def public_host(stated: str) -> str:
    """The address at which clients reach the server: `stated`, or that of Ray's proxies if
    `stated` is loopback."""
    return proxy_host() if stated in LOOPBACK else stated


def proxy_host() -> str:
    """The address on which Ray's proxies listen; `UNKNOWN_HOST` if Ray does not report it."""
    # No public function reports it: `serve.status()` omits it, and the REST API is part of the
    # dashboard, which may be off.
    try:
        host = serve.context._get_global_client().http_config.host
    except AttributeError:
        return UNKNOWN_HOST
    return host or UNKNOWN_HOST
