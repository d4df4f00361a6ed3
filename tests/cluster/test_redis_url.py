"""URLs of Redis: every kind, and mistakes that are named without the password."""

from __future__ import annotations

import pytest

from cluster.redis_url import RedisUrl


@pytest.mark.parametrize(
    "url",
    ["redis://h", "redis://:pw@h:6380/3?client_name=x", "rediss://u:pw@[::1]:6379", "unix:///run/r.sock", "redis://"],
)
def test_the_url_of_one_server_is_left_to_redis_py(url: str) -> None:
    assert RedisUrl.parse(url) == RedisUrl("server", url)


def test_sentinels_have_a_service_a_database_and_a_login_of_their_own() -> None:
    url = RedisUrl.parse("redis+sentinel://u:p%40w@s1,s2:26380,[::1]:1/chat%20one/2?sentinel_password=a%26b")
    assert (url.kind, url.hosts) == ("sentinel", (("s1", 26379), ("s2", 26380), ("::1", 1)))
    assert (url.service, url.sentinel_username, url.sentinel_password) == ("chat one", None, "a&b")
    assert url.plain == "redis://u:p%40w@s1:26379/2"


def test_a_cluster_has_nodes() -> None:
    for end in ("", "/", "/0"):
        url = RedisUrl.parse(f"redis+cluster://:pw@n1:7000,n2{end}")
        assert (url.kind, url.hosts, url.plain) == ("cluster", (("n1", 7000), ("n2", 6379)), "redis://:pw@n1:7000/0")


def test_tls_may_name_its_files() -> None:
    url = RedisUrl.parse("rediss+cluster://[::1]:7000?ssl_ca_certs=/etc/ca.pem&ssl_check_hostname=no")
    assert url.plain == "rediss://[::1]:7000/0?ssl_ca_certs=%2Fetc%2Fca.pem&ssl_check_hostname=no"
    assert RedisUrl.parse("rediss+sentinel://s/x?ssl_cert_reqs=none").plain == "rediss://s:26379/0?ssl_cert_reqs=none"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "must begin with redis://"),
        ("localhost:6379", "must begin with redis://"),
        ("http://:secret@h", "must begin with redis://"),
        ("redis+proxy://:secret@h", "must begin with redis://"),
        ("redis://:secret@h:port", "HOST or HOST:PORT"),
        ("redis://:secret@h1,h2", r"redis\+sentinel:// or redis\+cluster://"),
        ("redis+cluster://:sec/ret@h", "%2F"),
        ("redis+cluster://:secret@", "HOST or HOST:PORT"),
        ("redis+cluster://:secret@h1,,h2", "HOST or HOST:PORT"),
        ("redis+cluster://:secret@h:0", "HOST or HOST:PORT"),
        ("redis+cluster://:secret@h:65536", "HOST or HOST:PORT"),
        ("redis+cluster://:secret@h/1", "no databases"),
        ("redis+cluster://:secret@h?secret=1", "no options"),
        ("redis+cluster://:secret@h?ssl_ca_certs=x", "no options"),
        ("redis+sentinel://:secret@h", "/SERVICE"),
        ("redis+sentinel://:secret@h/", "/SERVICE"),
        ("redis+sentinel://:secret@h/x/y", "/SERVICE"),
        ("redis+sentinel://:secret@h:x/x", "HOST or HOST:PORT"),
        ("redis+sentinel://:secret@h/x?db=1", "sentinel_username, sentinel_password"),
    ],
)
def test_a_mistake_is_named_and_the_url_is_not(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        RedisUrl.parse(url)
    assert "sec" not in str(caught.value).replace("SECRET", "")


def test_no_password_is_in_its_repr() -> None:
    assert "pw" not in repr(RedisUrl.parse("redis+sentinel://:pw@h/x?sentinel_password=pw"))
