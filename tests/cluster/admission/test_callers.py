"""Who calls: the name that metadata gives, or the host's, and never a secret."""

from __future__ import annotations

import hashlib

import pytest

from cluster.admission.call import Call
from cluster.admission.callers import Callers
from cluster.admission.lease import Limits
from cluster.config import AdmissionConfig, CallerConfig
from cluster.errors import InvalidRequest


def test_metadata_names_the_caller() -> None:
    call = Call((("user-agent", "x"), ("x-caller-id", "team/a@eu")), "ipv4:10.0.0.7:1234")
    assert Callers(AdmissionConfig()).name(call) == "team/a@eu"


@pytest.mark.parametrize(
    ("peer", "name"),
    [("ipv4:10.0.0.7:1234", "host:10.0.0.7"), ("ipv6:%5B::1%5D:1234", "host:%5B::1%5D"), ("unix:", "host:")],
)
def test_without_it_the_host_does(peer: str, name: str) -> None:
    assert Callers(AdmissionConfig()).name(Call((), peer)) == name


def test_a_key_is_named_by_its_hash_as_b2sum_makes_it() -> None:
    name = Callers(AdmissionConfig(caller_metadata="authorization")).name(Call((("authorization", "Bearer s3cret"),)))
    assert name == "key:" + hashlib.blake2b(b"Bearer s3cret", digest_size=8).hexdigest()


@pytest.mark.parametrize("value", ["", " ", "a b", "{a}", "x" * 129, "é", b"\xff"])
def test_what_cannot_be_a_name_is_refused_by_its_key(value: str | bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"metadata\.x-caller-id: cannot be a caller's name; use 1 to 128"):
        Callers(AdmissionConfig()).name(Call((("x-caller-id", value),)))


def test_a_caller_that_is_not_configured_is_like_all_others() -> None:
    callers = Callers(AdmissionConfig(callers={"a": CallerConfig(priority="batch", weight=3)}))
    assert (callers.config("a").priority, callers.config("a").weight) == ("batch", 3)
    assert callers.config("b") == CallerConfig()


def test_a_caller_has_its_own_limits_or_those_of_all() -> None:
    own = {"a": CallerConfig(concurrent_streams=0), "b": CallerConfig(tokens_per_minute=7)}
    callers = Callers(AdmissionConfig(concurrent_streams=3, tokens_per_minute=5, callers=own))
    assert [callers.limits(name) for name in "abc"] == [Limits(0, 5), Limits(3, 7), Limits(3, 5)]
    assert not Callers(AdmissionConfig()).limits("a")
