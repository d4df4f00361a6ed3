"""Redis over TLS: each kind of URL brings its certificates to every connection."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from redis.asyncio.connection import SSLConnection
from redis.asyncio.sentinel import SentinelManagedSSLConnection

from cluster.config import SessionsConfig
from cluster.errors import Unavailable
from cluster.redis_url import RedisUrl
from cluster.sessions.embedded import EmbeddedValkey
from cluster.sessions.sentinel_primary import SentinelPrimary
from cluster.sessions.store import SessionStore
from tests.cluster.gateway.certificates import Authority
from tests.cluster.sessions.samples import append, eventually, rich_turn
from tests.ports import free_port
from tests.redis_kinds.tls_relay import tls_relay

pytestmark = pytest.mark.redis


async def test_a_cluster_over_tls_is_trusted_by_its_authority_alone(tmp_path: Path) -> None:
    own, other = (Authority(name).write(tmp_path / name, "localhost") for name in ("own", "other"))
    port = free_port()
    options = {
        "cluster-enabled": "yes",
        "cluster-port": str(free_port()),
        "cluster-announce-port": str(port),
        "dir": str(tmp_path),
    }
    with EmbeddedValkey(password="secret", options=options) as node:
        with redis.Redis.from_url(node.url) as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        async with tls_relay(own, port, node.port):
            url = f"rediss+cluster://:secret@127.0.0.1:{port}?ssl_check_hostname=no&ssl_ca_certs="
            store = SessionStore(f"{url}{own / 'ca.crt'}", SessionsConfig(timeout_s=30))
            made, _ = await eventually(store.create)
            await append(store, made, *rich_turn())
            assert list((await store.get(made.session_id, with_contents=True)).contents or ()) == rich_turn()
            await store.close()
            store = SessionStore(f"{url}{other / 'ca.crt'}", SessionsConfig(timeout_s=30))
            with pytest.raises(Unavailable, match="does not answer"):
                await store.create()
            await store.close()


async def test_sentinels_and_their_primary_are_both_asked_over_tls() -> None:
    url = "rediss+sentinel://u:p@s1,s2/chat/1?ssl_ca_certs=/ca.pem&ssl_check_hostname=no&sentinel_password=q"
    primary = SentinelPrimary(RedisUrl.parse(url), 1.0, 8)
    sentinels = [sentinel.connection_pool for sentinel in primary._sentinels.sentinels]
    assert {pool.connection_class for pool in sentinels} == {SSLConnection}
    assert primary._pool.connection_class is SentinelManagedSSLConnection
    for pool, login in ((primary._pool, ("u", "p")), *((pool, (None, "q")) for pool in sentinels)):
        connection = pool.make_connection()
        context = connection.ssl_context
        assert (context.ca_certs, context.check_hostname) == ("/ca.pem", False)
        assert (pool.connection_kwargs["username"], pool.connection_kwargs["password"]) == login
    assert primary._pool.connection_kwargs["db"] == 1
    await primary.close()
