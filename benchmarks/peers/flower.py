"""A client of Flower's SecAgg+, its published code, beside ours: the same update, the same number of neighbours.

Its stages are called as ``secaggplus_mod`` calls them, without Flower's messages around them. Every neighbour is a
client of the same code that deals its shares. Theirs quantises, opens the shares, adds the masks and serialises; it
signs nothing, commits to nothing and trusts the server. Ours opens and checks the shares, adds the masks, serialises
and signs; the commitment is counted apart.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import secrets
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.federation import Federation, Options, degree_note, update
from benchmarks.measure.recording import record
from benchmarks.results import Row, Target
from benchmarks.timing import Samples, interleaved, timed
from mpc import masks, shamir
from mpc.keystream import KEY_BYTES, KeyStream
from mpc.masks import Mask
from secure_agg.backends.masking.rules import MASKED_INPUT

CLIP: Final = 8.0
SHAMIR_HOLDERS: Final = 100
SHAMIR_THRESHOLD: Final = 67
_CHUNK: Final = 16
"""Bytes of a secret that pycryptodome shares at once."""


def missing() -> dict[str, str]:
    """What keeps this from being measured here; empty where nothing does."""
    lacking = [name for name in ("flwr", "Crypto") if importlib.util.find_spec(name) is None]
    return {"Flower's SecAgg+ client": f"not installed: {', '.join(lacking)}"} if lacking else {}


class FlowerClient:
    """One client of a round of ``neighbours + 1``, before it sends its masked vector."""

    def __init__(self, neighbours: int, bits: int, clients: int) -> None:
        """``clients`` is how many updates the sum has room for."""
        # The package shadows the module by its function of the same name.
        mod: Any = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
        Key: Any = importlib.import_module("flwr.common.secure_aggregation.secaggplus_constants").Key
        self._mod, self._key = mod, Key
        count = neighbours + 1
        settings = {
            Key.SAMPLE_NUMBER: count,
            Key.SHARE_NUMBER: count,
            Key.THRESHOLD: count * 2 // 3 + 1,
            Key.CLIPPING_RANGE: CLIP,
            Key.TARGET_RANGE: 1 << bits,
            Key.MOD_RANGE: 1 << (bits + (clients - 1).bit_length()),
            Key.MAX_WEIGHT: 1.0,
        }
        states = [mod.SecAggPlusState(nid=name) for name in range(1, count + 1)]
        public = {}
        for state in states:
            keys = mod._setup(state, settings)
            public[str(state.nid)] = [keys[Key.PUBLIC_KEY_1], keys[Key.PUBLIC_KEY_2]]
        sources, letters = [], []
        for state in states:
            dealt = mod._share_keys(state, public)
            for recipient, letter in zip(dealt[Key.DESTINATION_LIST], dealt[Key.CIPHERTEXT_LIST], strict=True):
                if recipient == states[0].nid:
                    sources.append(state.nid)
                    letters.append(letter)
        self._state = states[0]
        self._request = {Key.SOURCE_LIST: sources, Key.CIPHERTEXT_LIST: letters}

    def collect(self, values: npt.NDArray[np.float32]) -> list[bytes]:
        """The stage in which it quantises, masks and serialises its update."""
        to_parameters: Any = importlib.import_module("flwr.common").ndarrays_to_parameters
        state = copy.deepcopy(self._state)
        answer = self._mod._collect_masked_vectors(state, self._request, 1, to_parameters([values]))
        masked: list[bytes] = answer[self._key.MASKED_PARAMETERS]
        return masked

    def mask(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The part of it that adds the masks, its own and one for each neighbour."""
        mod, state = self._mod, self._state
        vector = [values]
        keys = [state.rd_seed, *(state.ss2_dict[source] for source in self._request[self._key.SOURCE_LIST])]
        for key in keys:
            vector = mod.parameters_addition(vector, mod.pseudo_rand_gen(key, state.mod_range, [values.shape]))
        masked: npt.NDArray[np.int64] = mod.parameters_mod(vector, state.mod_range)[0]
        return masked


def _ours() -> None:
    """Two secrets of one client shared, and one of them rebuilt."""
    points = list(range(1, SHAMIR_HOLDERS + 1))
    pair = [secrets.token_bytes(KEY_BYTES) for _ in range(2)]
    dealt = shamir.split(pair, SHAMIR_THRESHOLD, points, KeyStream(secrets.token_bytes(KEY_BYTES)))
    shamir.combine(points[:SHAMIR_THRESHOLD], dealt[:SHAMIR_THRESHOLD, 1:])


def _pycryptodome() -> None:
    """The same with pycryptodome, 16 bytes at once, as Flower uses it."""
    Shamir: Any = importlib.import_module("Crypto.Protocol.SecretSharing").Shamir
    pieces = [secrets.token_bytes(_CHUNK) for _ in range(2 * KEY_BYTES // _CHUNK)]
    dealt = [Shamir.split(SHAMIR_THRESHOLD, SHAMIR_HOLDERS, piece) for piece in pieces]
    for shares in dealt[len(pieces) // 2 :]:
        Shamir.combine(shares[:SHAMIR_THRESHOLD])


def rows(options: Options) -> list[Row]:
    """Both clients in turn, and both ways of sharing secrets in turn."""
    values = update(options.params)
    flower = FlowerClient(options.neighbours, options.bits, options.clients)
    recording, _ = record(Federation.of(options.neighbours + 1, options.params, options.bits), values)
    repeat = max(1, options.repeat // 3)
    integers: npt.NDArray[np.int64] = np.zeros(options.params, dtype=np.int64)
    vector = np.zeros(options.params, dtype=np.uint32)
    streams = [Mask(secrets.token_bytes(KEY_BYTES), 1 if i % 2 else -1) for i in range(options.neighbours + 1)]
    masking = interleaved(
        {"ours": lambda: masks.apply(vector, streams), "flower": lambda: flower.mask(integers)}, repeat
    )
    flower.collect(values)
    recording.replay(values)
    replays, theirs = [], []
    for _ in range(repeat):
        replays.append(recording.replay(values).timings.seconds)
        theirs.append(timed(lambda: flower.collect(values)))
    encode, commit, protect = (
        Samples(tuple(replay[name] for replay in replays)) for name in ("encode", "commit", MASKED_INPUT)
    )
    sharing = interleaved({"ours": _ours, "pycryptodome": _pycryptodome}, repeat)
    cohort = f"{options.neighbours} neighbours"
    peer = (f"Flower's SecAgg+ client, {cohort}", Samples(tuple(theirs)))
    return [
        Row.timed(
            "peer.flower.mask",
            f"mask with {len(streams)} streams",
            masking["ours"],
            derived=1e9 * masking["ours"].median / options.params,
            derived_unit="ns/param",
            peer=(f"Flower's SecAgg+ client, {len(streams)} streams", masking["flower"]),
            targets=(Target("speedup", 10.0),),
            note=degree_note(options.neighbours, options.clients),
        ),
        Row.timed(
            "peer.flower.client",
            "client: encode, protect",
            encode + protect,
            derived=1e9 * (encode + protect).median / options.params,
            derived_unit="ns/param",
            peer=peer,
            note=cohort,
        ),
        Row.timed(
            "peer.flower.verified",
            "client: encode, commit, protect",
            encode + commit + protect,
            derived=1e9 * (encode + commit + protect).median / options.params,
            derived_unit="ns/param",
            peer=peer,
            note=f"{cohort}; theirs is not verified",
        ),
        Row.timed(
            "peer.pycryptodome.shamir",
            "share two secrets, rebuild one",
            sharing["ours"],
            peer=("pycryptodome's Shamir, 16 bytes at once", sharing["pycryptodome"]),
            note=f"{SHAMIR_HOLDERS} holders, threshold {SHAMIR_THRESHOLD}",
        ),
    ]
