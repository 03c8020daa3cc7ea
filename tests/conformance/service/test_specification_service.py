"""What a second implementation, made from the specification alone, says to a service and hears from it."""

from __future__ import annotations

import hashlib
import importlib.util
import secrets
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from cryptography.exceptions import InvalidSignature

from secure_agg.protocol.identity import Identity, Roster
from secure_agg.service import wire
from secure_agg.service.gate import Gate, Strangers

TASK = "Zähler/1"
PINNED = "d2098ce95b6afe97782768a32b17840dbaac3713cb77267086d2706b8f6b200a"
"""SHA-256 of the header of the request below, as it was when version 1 was written down."""


def independent() -> ModuleType:
    spec = importlib.util.spec_from_file_location("independent", Path(__file__).with_name("independent_service.py"))
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


OTHER = independent()


@pytest.mark.parametrize("name", ["ann", "Ünal & Töchter, 3"])
def test_a_service_lets_the_other_implementation_in_and_it_knows_the_service(name: str) -> None:
    server, member, nonce = Identity.generate("aggregator"), Identity.generate(name), secrets.token_bytes(32)
    gate = Gate(server, TASK, lambda: (Roster({name: member.public}),), Strangers())
    answer = gate.greet(nonce, b"certificate")
    sender, task, certificate, challenge = OTHER.greeting(answer, nonce, server.public)
    assert (sender, task, certificate) == ("aggregator", TASK, hashlib.sha256(b"certificate").digest())
    assert OTHER.place(TASK) == f"/v1/{wire.place(TASK)}"
    path, body = OTHER.place(TASK) + "/answer/" + "0" * 32, b"some parcel"
    headers = OTHER.headers(member.secret(), name, sender, server.public, challenge, task, path, 2**40, body)
    assert gate.admit(headers["authorization"], path, wire.read_digest(headers["content-digest"])).name == name
    assert wire.read_digest(headers["content-digest"]) == hashlib.sha256(body).digest()
    with pytest.raises(InvalidSignature):
        OTHER.greeting(answer, nonce, member.public)


def test_the_other_implementation_signs_the_same_bytes() -> None:
    member, to = Identity("ann", bytes(range(32))), wire.Greeted("s", bytes([1]) * 32, bytes([2]) * 32)
    body = hashlib.sha256(b"body").digest()
    theirs = OTHER.headers(bytes(range(32)), "ann", "s", to.key, to.challenge, "t", "/v1/x/next", 7, b"body")
    assert theirs["authorization"] == wire.authorize(member, to, "t", "/v1/x/next", 7, body)
    assert theirs["content-digest"] == wire.content_digest(b"body")
    assert hashlib.sha256(theirs["authorization"].encode()).hexdigest() == PINNED


def test_models_are_read_alike() -> None:
    model = [np.linspace(-1, 1, 6).reshape(2, 3), np.float32([0.5]), np.array(3.0, np.float16), np.zeros((0, 2))]
    head, elements = wire.encode_model(model)
    found = OTHER.model(head + elements)
    assert [(name, shape) for name, shape, _ in found] == [("f8", (2, 3)), ("f4", (1,)), ("f2", ()), ("f8", (0, 2))]
    assert all(values == array.reshape(-1).tolist() for (_, _, values), array in zip(found, model, strict=True))
    read = wire.decode_model(head + elements, wire.model_digest(model), 20)
    assert all((a == b).all() and a.shape == b.shape for a, b in zip(read, model, strict=True))
