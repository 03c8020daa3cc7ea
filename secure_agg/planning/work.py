"""The operations that a plan counts. Each is one that the roles really do, at the size at which it can be measured."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Operation(StrEnum):
    """What is counted; in brackets, what one of it is."""

    ENCODE = "encode"  # [value] clip, scale, round
    COMMIT = "commit"  # [coordinate] the lattice hash; its check is the same hash again
    MASK = "mask"  # [coordinate of one stream] key stream, rejection, addition modulo p
    ADD = "add"  # [coordinate] canonical form checked, added modulo p
    DECODE = "decode"  # [value] integers to means
    RANGE = "range"  # [coordinate] one pass that looks for the largest
    COPY = "copy"  # [byte] into new memory
    HASH = "hash"  # [byte] SHA-256
    SEAL = "seal"  # [byte] AES-256-GCM, either way
    HEADER = "header"  # [byte] MessagePack written, or read and compared with what would be written
    SEND = "send"  # [message] signed and packed
    RECEIVE = "receive"  # [message] form and signature checked
    ANSWER = "answer"  # [phase] what a client does besides: state, attempt store
    HANDLE = "handle"  # [message] what an aggregator does besides
    SCAN = "scan"  # [pair of clients] a message's sender looked up among all
    JOIN = "join"  # [client] a configuration checked, an attempt's secrets derived
    MEMBER = "member"  # [client of the cohort] id and key checked, hashed into the roster's root
    ADVERTISEMENT = "advertisement"  # [client] signature and form
    DEAL = "deal"  # [neighbour] two key agreements, confirmation, shares hashed and sealed
    TAKE = "take"  # [neighbour] confirmation checked, shares opened and checked, mask key derived
    SHARE = "share"  # [product] Shamir, for each limb of a share and each coefficient
    REVEAL = "reveal"  # [share] checked against its hash, and collected
    LOST_EDGE = "lost-edge"  # [edge of a lost client] agreement and mask key
    ENTRY = "entry"  # [member of S] an entry of the statement, hashed into its root
    VERIFY = "verify"  # [signature] Ed25519
    OPENING = "opening"  # [commitment] decoded, compared with the hash that was signed
    LETTER = "letter"  # [letter] key agreement, small part sealed or opened, receipt
    LATTICE_KEY = "lattice-key"  # [key] a public context read
    BFV_ENCRYPT = "bfv-encrypt"  # [ciphertext, for each prime of its modulus] packed, encrypted, serialised
    BFV_LOAD = "bfv-load"  # [ciphertext] deserialised and checked
    BFV_ADD = "bfv-add"  # [ciphertext] the addition alone
    BFV_STORE = "bfv-store"  # [ciphertext] serialised
    BFV_DECRYPT = "bfv-decrypt"  # [ciphertext] loaded, decrypted, unpacked
    CKKS_ENCRYPT = "ckks-encrypt"
    CKKS_LOAD = "ckks-load"
    CKKS_ADD = "ckks-add"
    CKKS_STORE = "ckks-store"
    CKKS_DECRYPT = "ckks-decrypt"
    PAILLIER_KEY = "paillier-key"  # [key] a modulus read and checked
    PAILLIER_ENCRYPT = "paillier-encrypt"  # [ciphertext of the default modulus] obfuscator and packing
    PAILLIER_ADD = "paillier-add"  # [ciphertext] checked and multiplied
    PAILLIER_DECRYPT = "paillier-decrypt"  # [ciphertext] decrypted and unpacked


PARALLEL: Final = frozenset(
    {
        Operation.COMMIT,
        Operation.MASK,
        Operation.PAILLIER_ENCRYPT,
        Operation.PAILLIER_ADD,
        Operation.PAILLIER_DECRYPT,
    }
)
"""What is spread over the cores."""

Work = Mapping[Operation, float]
"""How many of each operation."""


def total(*parts: Work) -> dict[Operation, float]:
    """All of it together."""
    summed: dict[Operation, float] = {}
    for part in parts:
        for operation, count in part.items():
            summed[operation] = summed.get(operation, 0.0) + count
    return summed


def times(count: float, part: Work) -> dict[Operation, float]:
    """``count`` times the same."""
    return {operation: count * each for operation, each in part.items()}
