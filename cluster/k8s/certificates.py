"""mTLS at the gateways: certificates that cert-manager makes and renews, and how a gateway's pod gets its own.

With an authority of its own, a self-signed certificate signs those of the gateways and of callers; the private key
of the authority stays in a Secret of the namespace.
"""

from __future__ import annotations

from typing import Any

from cluster import credentials
from cluster.config import ClusterConfig
from cluster.k8s.names import CLIENT_CERTIFICATE, GATEWAY_CERTIFICATE, GATEWAY_SERVICE, NAME, metadata

_FOLDER = "/certificates"
_VOLUME = "certificate"
_AUTHORITY = "gemma-cluster-authority"
_SELF_SIGNED = "gemma-cluster-self-signed"


def certificates(config: ClusterConfig) -> dict[str, dict[str, Any]]:
    """Objects by file; none without kubernetes.certificates."""
    settings = config.kubernetes.certificates
    if settings is None:
        return {}
    issuer = {"name": settings.issuer or _AUTHORITY, "kind": "Issuer" if settings.issuer is None else "ClusterIssuer"}
    names = [*_service_names(config), "localhost", *settings.dns_names]
    both = ["server auth", "client auth"]  # a gateway's pod calls it to drain it
    found = {
        "certificates/gateway.yaml": _certificate(config, GATEWAY_CERTIFICATE, issuer, names, both),
        "certificates/client.yaml": _certificate(config, CLIENT_CERTIFICATE, issuer, ["client"], ["client auth"]),
    }
    return found if settings.issuer is not None else found | _authority(config)


def gateway_tls(config: ClusterConfig) -> dict[str, Any]:
    """Settings of the gateways: where their pods find it."""
    settings = config.kubernetes.certificates
    if settings is None:
        return {}
    files = {"certificate": f"{_FOLDER}/tls.crt", "key": f"{_FOLDER}/tls.key", "client_ca": f"{_FOLDER}/ca.crt"}
    return {"tls": files, "health_port": settings.health_port}


def mount_certificate(pod: dict[str, Any], health_port: int) -> None:
    """Into the pod's only container, which also calls itself with it."""
    [container] = pod["containers"]
    container["ports"].append({"name": "health", "containerPort": health_port})
    container["volumeMounts"].append({"name": _VOLUME, "mountPath": _FOLDER, "readOnly": True})
    container["env"] += [
        {"name": credentials.CA, "value": f"{_FOLDER}/ca.crt"},
        {"name": credentials.CERTIFICATE, "value": f"{_FOLDER}/tls.crt"},
        {"name": credentials.KEY, "value": f"{_FOLDER}/tls.key"},
    ]
    pod["volumes"].append({"name": _VOLUME, "secret": {"secretName": GATEWAY_CERTIFICATE, "defaultMode": 0o440}})


def _service_names(config: ClusterConfig) -> list[str]:
    namespace = config.kubernetes.namespace
    services = (GATEWAY_SERVICE, f"{GATEWAY_SERVICE}-headless")
    endings = ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local")
    return [f"{service}{ending}" for service in services for ending in endings]


def _authority(config: ClusterConfig) -> dict[str, dict[str, Any]]:
    authority = _certificate(config, _AUTHORITY, {"name": _SELF_SIGNED, "kind": "Issuer"}, [], ["cert sign"])
    authority["spec"] |= {"isCA": True, "commonName": NAME, "duration": "87600h"}
    return {
        "certificates/self-signed-issuer.yaml": _issuer(config, _SELF_SIGNED, {"selfSigned": {}}),
        "certificates/authority.yaml": authority,
        "certificates/authority-issuer.yaml": _issuer(config, _AUTHORITY, {"ca": {"secretName": _AUTHORITY}}),
    }


def _issuer(config: ClusterConfig, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Issuer",
        "metadata": metadata(name, config.kubernetes.namespace, "certificates"),
        "spec": spec,
    }


def _certificate(
    config: ClusterConfig, name: str, issuer: dict[str, str], dns_names: list[str], usages: list[str]
) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "secretName": name,
        "issuerRef": {**issuer, "group": "cert-manager.io"},
        "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
        "duration": "2160h",
        "usages": ["digital signature", *usages],
    }
    if dns_names:
        spec["dnsNames"] = dns_names
    return {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": metadata(name, config.kubernetes.namespace, "certificates"),
        "spec": spec,
    }
