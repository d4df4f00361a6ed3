"""URLs of Redis: of one server, of one that Sentinels name, and of a Redis Cluster. No message holds any of a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlencode

_URL = re.compile(
    r"(?P<scheme>[a-z+]+)://(?:(?P<user>[^/?#]*)@)?(?P<hosts>[^/?#@]*)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?"
)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(?::([0-9]{1,5}))?")
_SCHEMES = "redis://, rediss://, unix://, redis+sentinel://, rediss+sentinel://, redis+cluster:// or rediss+cluster://"
_HOSTS = "must name its servers as HOST or HOST:PORT, with commas between, and / ? # @ of a password as %2F %3F %23 %40"
_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_REDIS_PORT, _SENTINEL_PORT = 6379, 26379


@dataclass(frozen=True)
class RedisUrl:
    """Where Redis is.

    `hosts` are the Sentinels, or nodes of the cluster; empty for one server. `plain` is a redis://, rediss:// or
    unix:// URL: of the server itself, else of the first host with all that holds for every connection.
    """

    kind: Literal["server", "sentinel", "cluster"]
    plain: str = field(repr=False)
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> RedisUrl:
        """Raises ValueError that says what is wrong, without the URL, for its password must be in no log.

        redis+sentinel://USER:PASSWORD@SENTINEL:26379,SENTINEL:26379/SERVICE/DB?sentinel_password=SECRET
        redis+cluster://USER:PASSWORD@NODE:6379,NODE:6379
        """
        if url.startswith("unix://"):
            return cls("server", url)
        found = _URL.fullmatch(url)
        scheme, _, kind = (found["scheme"] if found else "").partition("+")
        if found is None or scheme not in ("redis", "rediss"):
            raise ValueError(f"must begin with {_SCHEMES}")
        match kind:
            case "":
                _hosts_of(found["hosts"], _REDIS_PORT, most=1)
                return cls("server", url)
            case "sentinel":
                return _sentinel(found, scheme)
            case "cluster":
                return _cluster(found, scheme)
        raise ValueError(f"must begin with {_SCHEMES}")


def checked_url(url: str | None) -> str | None:
    """The URL, None for an empty one. Raises ValueError as `parse` does."""
    if not url:
        return None
    RedisUrl.parse(url)
    return url


def _sentinel(found: re.Match[str], scheme: str) -> RedisUrl:
    hosts = _hosts_of(found["hosts"], _SENTINEL_PORT)
    service, _, database = (found["path"] or "").removeprefix("/").partition("/")
    if not service or not re.fullmatch("[0-9]*", database):
        raise ValueError("must end with /SERVICE or /SERVICE/DB, the name of a service that the Sentinels watch")
    options = _options(found["query"], scheme, _SENTINEL_OPTIONS)
    login = {name: options.pop(name, None) for name in _SENTINEL_OPTIONS}
    plain = _plain(found, scheme, hosts[0], database or "0", options)
    return RedisUrl("sentinel", plain, hosts, unquote(service), **login)


def _cluster(found: re.Match[str], scheme: str) -> RedisUrl:
    hosts = _hosts_of(found["hosts"], _REDIS_PORT)
    if found["path"] not in (None, "/", "/0"):
        raise ValueError("must end after its hosts: a Redis Cluster has no databases but 0")
    return RedisUrl("cluster", _plain(found, scheme, hosts[0], "0", _options(found["query"], scheme)), hosts)


def _hosts_of(text: str, default_port: int, most: int | None = None) -> tuple[tuple[str, int], ...]:
    """Host names without the brackets of IPv6, and ports. One server may leave its own out, and is on localhost."""
    if most == 1 and not text:
        return ()
    found = [_HOST.fullmatch(host) for host in text.split(",")]
    hosts = tuple((match[1].strip("[]"), int(match[2] or default_port)) for match in found if match)
    if len(hosts) != len(found) or not all(0 < port < 65536 for _, port in hosts):
        raise ValueError(_HOSTS)
    if most is not None and len(hosts) > most:
        raise ValueError("names several servers; begin with redis+sentinel:// or redis+cluster:// to say what they are")
    return hosts


def _options(query: str | None, scheme: str, more: tuple[str, ...] = ()) -> dict[str, str]:
    allowed = (*more, *(_TLS_OPTIONS if scheme == "rediss" else ()))
    options = dict(parse_qsl(query or "", keep_blank_values=True))
    if not set(options) <= set(allowed):
        raise ValueError(f"may have no options but {', '.join(allowed)}" if allowed else "may have no options")
    return options


def _plain(found: re.Match[str], scheme: str, host: tuple[str, int], database: str, options: dict[str, str]) -> str:
    user = "" if found["user"] is None else f"{found['user']}@"
    name = f"[{host[0]}]" if ":" in host[0] else host[0]
    query = f"?{urlencode(options)}" if options else ""
    return f"{scheme}://{user}{name}:{host[1]}/{database}{query}"
