"""TLS at the gateway: who is let in, certificates that change under way, and health without any."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cluster.client import Client
from cluster.config import ConfigError, TlsConfig
from cluster.credentials import CredentialsError, environment_credentials
from cluster.gateway.tls import server_credentials
from tests.cluster.conftest import MakeGateway
from tests.cluster.gateway.certificates import Authority
from tests.cluster.gateway.local_gateway import LocalGateway
from tests.ports import free_port


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Whom the gateway and its callers trust."""
    return Authority("ours")


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> Path:
    """The gateway's certificate."""
    return authority.write(tmp_path / "gateway", "localhost")


@pytest.fixture
def own(make_gateway: MakeGateway, files: Path) -> LocalGateway:
    """A gateway with mTLS, and a port for probes."""
    return make_gateway(tls=_tls(files), health_port=free_port())


def test_callers_with_a_certificate_are_let_in(own: LocalGateway, authority: Authority, tmp_path: Path) -> None:
    assert _calls(own, authority.write(tmp_path / "caller", "client"))


def test_strangers_are_not(own: LocalGateway, files: Path, tmp_path: Path) -> None:
    strangers = Authority("theirs").write(tmp_path / "stranger", "client")
    (strangers / "ca.crt").write_bytes((files / "ca.crt").read_bytes())
    with pytest.raises(grpc.RpcError) as caught:
        _calls(own, strangers)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    for environment in ({}, {"GEMMA_CLUSTER_CA": str(files / "ca.crt")}):
        with (
            pytest.raises(grpc.RpcError),
            Client(_address(own), timeout_s=2, credentials=environment_credentials(environment)) as client,
        ):
            client.models()


def test_a_new_certificate_is_taken_at_the_next_connection(own: LocalGateway, files: Path, tmp_path: Path) -> None:
    other = Authority("new")
    caller = other.write(tmp_path / "caller", "client")
    other.write(files, "localhost")
    assert _calls(own, caller)


def test_a_certificate_that_is_away_changes_nothing(
    own: LocalGateway, authority: Authority, files: Path, tmp_path: Path
) -> None:
    (files / "tls.key").unlink()
    assert _calls(own, authority.write(tmp_path / "caller", "client"))


def test_health_needs_no_certificate_on_its_port_and_gives_nothing_else(own: LocalGateway) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{own.config.gateway.health_port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status == health_pb2.HealthCheckResponse.SERVING
        own.loop.run(own.server.set_serving(False))
        status = stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status
        assert status == health_pb2.HealthCheckResponse.NOT_SERVING
    with (
        Client(f"127.0.0.1:{own.config.gateway.health_port}", timeout_s=5) as client,
        pytest.raises(grpc.RpcError) as caught,
    ):
        client.models()
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.tls\.client_ca: .*ca\.crt: No such file"):
        server_credentials(_tls(tmp_path))


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"GEMMA_CLUSTER_CA": "/nowhere"}, "GEMMA_CLUSTER_CA: /nowhere: No such file"),
        ({"GEMMA_CLUSTER_CERTIFICATE": __file__}, "GEMMA_CLUSTER_KEY go together"),
        (
            {"GEMMA_CLUSTER_CERTIFICATE": __file__, "GEMMA_CLUSTER_KEY": __file__},
            "without GEMMA_CLUSTER_CA there is no",
        ),
    ],
)
def test_an_environment_that_cannot_be_is_refused(environment: dict[str, str], said: str) -> None:
    with pytest.raises(CredentialsError, match=said):
        environment_credentials(environment)


def test_no_environment_means_no_tls() -> None:
    assert environment_credentials({}) is None


def _tls(folder: Path) -> TlsConfig:
    names = {"certificate": "tls.crt", "key": "tls.key", "client_ca": "ca.crt"}
    return TlsConfig(**{field: str(folder / name) for field, name in names.items()})


def _address(gateway: LocalGateway) -> str:
    """By the name in its certificate."""
    return f"localhost:{gateway.config.gateway.port}"


def _calls(gateway: LocalGateway, caller: Path) -> bool:
    """As whoever has the files in that folder."""
    names = {"CA": "ca.crt", "CERTIFICATE": "tls.crt", "KEY": "tls.key"}
    credentials = environment_credentials({f"GEMMA_CLUSTER_{name}": str(caller / file) for name, file in names.items()})
    with Client(_address(gateway), timeout_s=10, credentials=credentials) as client:
        return bool(client.models())
