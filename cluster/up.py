"""`gemma-cluster up`: the whole system in the foreground, on this machine or on a Ray cluster that runs already."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

# Read by Ray when it is imported: no usage reports, and no change to CUDA_VISIBLE_DEVICES where there is no GPU.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import psutil
import ray
from ray import serve
from ray.serve.schema import ApplicationStatus, LoggingConfig

from cluster.app import APP_NAME, build
from cluster.checkpoints import check_checkpoint
from cluster.config import ClusterConfig, ConfigError, load_config
from cluster.deploy_progress import DeployProgress
from cluster.examples import examples
from cluster.machine import ray_nodes, this_machine
from cluster.planning.check import refusals
from cluster.planning.hardware import Node
from cluster.sessions.embedded import EmbeddedValkey, EmbeddedValkeyError
from model.checkpoint import CheckpointError

_OBJECT_STORE_BYTES = 128 * 1024 * 1024  # requests travel by gRPC; the object store holds next to nothing
_POLL_S = 0.2
_AGENTS_END_S = 5.0


class UpError(RuntimeError):
    """The cluster cannot start; the message says why and what to do."""


def run(config_path: Path | None, ray_address: str | None, port: int | None, log_format: str | None = None) -> int:
    """Runs until SIGINT or SIGTERM, then stops all it started. Returns the process's exit code."""
    # Progress is ours to show; Serve's own would drown it.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        config = _with_overrides(load_config(config_path), port, log_format)
        with ExitStack() as stack:
            try:
                _serve(config, ray_address, stack)
            except KeyboardInterrupt:
                _say("stopping")
                _ignore_interrupts()
    except (CheckpointError, ConfigError, UpError, EmbeddedValkeyError) as error:
        print(f"gemma-cluster: {error}", file=sys.stderr)
        return 1
    return 0


def _serve(config: ClusterConfig, ray_address: str | None, stack: ExitStack) -> NoReturn:
    started = time.monotonic()
    if ray_address is None:
        config = _without_notice(config)
        _check_port(config)
        for name in config.variants:
            check_checkpoint(config.checkpoint_of(name))
        _check_fit(config, [this_machine()])
    config = stack.enter_context(_redis(config, ray_address))
    stack.enter_context(_ray(ray_address, config.gateway.metrics_port))
    if ray_address is not None:
        _check_fit(config, ray_nodes(ray.nodes()), may_grow=True)  # type: ignore[no-untyped-call]
    stack.enter_context(_application(config))
    gateway = _wait_until_ready(config)
    variants = ", ".join(config.variants)
    print(f"gemma-cluster is ready on {gateway} ({variants}; {time.monotonic() - started:.0f} s)", flush=True)
    _say(f"metrics for Prometheus are at {', '.join(_metrics_urls())}")
    _show_examples(config, gateway)
    _watch()


def _with_overrides(config: ClusterConfig, port: int | None, log_format: str | None) -> ClusterConfig:
    """What the command line says goes before what the file says."""
    if port is not None:
        config = config.model_copy(update={"gateway": config.gateway.model_copy(update={"port": port})})
    if log_format is not None:
        config = config.model_copy(update={"logs": config.logs.model_copy(update={"format": log_format})})
    return config


def _without_notice(config: ClusterConfig) -> ClusterConfig:
    """Nobody takes the gateway's place when all that we started here ends."""
    if "drain_notice_s" in config.gateway.model_fields_set:
        return config
    return config.model_copy(update={"gateway": config.gateway.model_copy(update={"drain_notice_s": 0})})


def _check_fit(config: ClusterConfig, nodes: list[Node], *, may_grow: bool = False) -> None:
    """Before anything starts: a variant that cannot fit would only fail after it was loaded."""
    found = refusals(config, nodes, may_grow=may_grow)
    if found:
        raise UpError("\n".join(["this configuration cannot run:", *(f"  {line}" for line in found)]))


def _check_port(config: ClusterConfig) -> None:
    """Gateways share their port with SO_REUSEPORT, so a second cluster would take half the calls instead of failing."""
    host, port = config.gateway.host, config.gateway.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            message = f"cannot listen on {host}:{port} ({error.strerror}); is another `up` running? Try --port"
            raise UpError(message) from error


@contextmanager
def _redis(config: ClusterConfig, ray_address: str | None) -> Iterator[ClusterConfig]:
    """The configuration with a Redis to use: the one it names, else a Valkey server that lives as long as we do."""
    if config.redis_url is not None:
        yield config
        return
    if ray_address is not None:
        raise UpError("sessions need a Redis that every node reaches: set sessions.redis_url, or $REDIS_URL")
    _say("starting Valkey for sessions")
    with EmbeddedValkey() as valkey:
        sessions = config.sessions.model_copy(update={"redis_url": valkey.url})
        yield config.model_copy(update={"sessions": sessions})


@contextmanager
def _ray(address: str | None, metrics_port: int | None) -> Iterator[None]:
    """A connection to Ray; a cluster that we started stops with it, however far its start had come."""
    _say("starting Ray" if address is None else f"connecting to Ray at {address}")
    older = set(psutil.Process().children(recursive=True))
    try:
        with _interrupts_held():
            _connect(address, metrics_port)
        signal.signal(signal.SIGTERM, _interrupt)  # only now: ray.init sets one that ends the process at once
        yield
    finally:
        _ignore_interrupts()
        started = set(psutil.Process().children(recursive=True)) - older
        ray.shutdown()
        _end(started)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C inside takes effect at the end: a Ray that is half connected crashes when it is shut down."""
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt


def _connect(address: str | None, metrics_port: int | None) -> None:
    local: dict[str, Any] = {
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "_metrics_export_port": metrics_port,
    }
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            namespace="serve",
            **(local if address is None else {}),
        )
    except ConnectionError as error:
        raise UpError(f"no Ray cluster answers at {address}: {error}") from error
    except Exception as error:  # Ray raises bare ones, as when a busy machine takes more than 30 s
        raise UpError(f"Ray did not start: {error}") from error


def _end(processes: set[psutil.Process]) -> None:
    """Ray's agents outlive a raylet that ended while they started; nobody else would end them."""
    _, alive = psutil.wait_procs(list(processes), timeout=_AGENTS_END_S)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@contextmanager
def _application(config: ClusterConfig) -> Iterator[None]:
    """The application on the cluster, deleted at the end. Does not wait until it runs."""
    serve.start(proxy_location="Disabled", logging_config=LoggingConfig(log_level="WARNING"))
    target = serve.RunTarget(target=build(config, APP_NAME), name=APP_NAME, route_prefix=None)
    try:
        serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
        yield
    finally:
        serve.delete(APP_NAME)


def _wait_until_ready(config: ClusterConfig) -> str:
    """The gateway's address, once it says SERVING. Shows progress. Raises UpError when a deployment fails."""
    progress = DeployProgress(list(config.variants))
    while True:
        app = serve.status().applications[APP_NAME]
        progress.show(app)
        if app.status == ApplicationStatus.DEPLOY_FAILED:
            raise UpError(f"deployment failed:\n{progress.failure(app)}")
        if app.status == ApplicationStatus.RUNNING:
            gateway = serve.get_app_handle(APP_NAME)
            if gateway.is_serving.remote().result():
                return str(gateway.address.remote().result())
        time.sleep(_POLL_S)


def _show_examples(config: ClusterConfig, gateway: str) -> None:
    if lines := examples(config, gateway):
        print("Try, in another terminal:", *(f"  {line}" for line in lines), sep="\n", flush=True)


def _metrics_urls() -> list[str]:
    """Ray serves the metrics of each node on that node."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [
        f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics" for node in nodes if node["Alive"]
    ]


def _watch() -> NoReturn:
    """Waits for a signal; says so when the application gets unhealthy and when it is well again."""
    status = ApplicationStatus.RUNNING
    while True:
        time.sleep(1.0)
        app = serve.status().applications.get(APP_NAME)
        if app is None:
            raise UpError("the application was deleted by somebody else")
        if app.status != status:
            status = app.status
            _say(f"application is {status.value.lower()} {app.message}".rstrip())


def _interrupt(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _ignore_interrupts() -> None:
    """From here on a second Ctrl-C must not leave processes behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _say(message: str) -> None:
    print(f"gemma-cluster: {message}", file=sys.stderr, flush=True)
