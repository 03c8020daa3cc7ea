"""A second implementation of the check of an operator's card, from docs/specification.md, section 14, alone."""

from __future__ import annotations

from typing import Any

from conformance.independent_verifier import (
    RECORDS,
    check_id,
    check_identity,
    check_signature,
    decode,
    digest,
    frame,
    require,
)
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

RECORDS["OperatorCard"] = {
    "name": "str",
    "identity": "bin32",
    "certificate": "bin",
    "channel": "bin",
    "signature": "bin64",
}


def check_certificate(data: bytes, host: str) -> None:
    certificate = x509.load_der_x509_certificate(data)
    key = certificate.public_key()
    require(isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1), "a key not on P-256")
    certificate.verify_directly_issued_by(certificate)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    require(not constraints.ca, "a certificate of an authority")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    require(list(names) == [x509.DNSName(host)], "another name in the certificate")


def verify_card(data: bytes, operators: dict[str, bytes]) -> dict[str, Any]:
    """The fields of a card of one of the pinned `operators` (id to key); anything else is a `ValueError`."""
    card = decode("OperatorCard", data, 2**16)
    check_id(card["name"])
    check_identity(card["identity"])
    require(operators.get(card["name"]) == card["identity"], "a card of nobody who is pinned")
    parts = (card["name"].encode(), card["identity"], card["certificate"], card["channel"])
    check_signature(card["identity"], card["signature"], frame("operator-card", *parts), "a card")
    require(len(card["certificate"]) <= 4096, "the certificate is too long")
    host = digest("operator-host", card["identity"]).hex()[:32] + ".operator.invalid"
    try:
        check_certificate(card["certificate"], host)
    except (x509.ExtensionNotFound, InvalidSignature) as error:
        raise ValueError(f"the certificate is unfit: {error}") from None
    return card
