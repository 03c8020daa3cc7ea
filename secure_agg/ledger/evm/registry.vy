# pragma version 0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Registry of verified rounds
@license Apache-2.0
@notice Holds, for a round of federated learning, the digest of its result together with a public check that the sum of
    the commitments in the round's record is the sum of one KZG commitment for each participant. What that proves, and
    what it leaves to those who recompute it off chain, is in docs/anchor.md.
@dev Byte layouts are those of docs/specification.md. A point of BLS12-381 is four words: x and y, each 64 bytes big
    endian, as in EIP-2537. An entry is five: a participant's place in the statement that was signed, and its point.
"""

from . import curve
from . import encoding
from . import merkle
from . import residues

MAX_CLIENTS: constant(uint256) = 1024
MAX_MEMBERS: constant(uint256) = 2**20  # leaves of the tree that was signed
MAX_SECONDS: constant(uint256) = 2**32
EMPTY_ROOT: constant(bytes32) = 0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  # SHA-256 of nothing


struct Round:
    model: bytes32  # digest of the result
    leaf: bytes32  # RFC 9162 leaf hash of the record
    entries: bytes32  # tree head over the entries
    participants_root: bytes32  # tree head over the statement, as it stands in the record
    participants: uint256  # entries
    members: uint256  # leaves of the statement
    registered: uint256  # seconds
    open: uint256  # challenges that wait for their answer
    struck: bool
    released: bool  # the bond


struct Challenge:
    challenger: address
    deadline: uint256  # seconds
    closed: bool


event CheckpointStored:
    size: uint256
    root: bytes32


event EntryRegistered:
    key: indexed(bytes32)
    index: uint256
    entry: uint256[5]


event RoundRegistered:
    key: indexed(bytes32)
    task: Bytes[128]
    round: uint256
    leaf: bytes32
    model: bytes32


event Challenged:
    key: indexed(bytes32)
    index: uint256
    challenger: address
    deadline: uint256


event Answered:
    key: indexed(bytes32)
    index: uint256


event Struck:
    key: indexed(bytes32)
    index: uint256


PUBLISHER: public(immutable(address))
LOG_KEY: public(immutable(bytes32))  # Ed25519, of the log; stated, since the chain can't check its signatures
WINDOW: public(immutable(uint256))  # seconds after a registration in which it can be challenged
RESPONSE: public(immutable(uint256))  # seconds to answer a challenge
BOND: public(immutable(uint256))  # wei, of a registration and of a challenge

size: public(uint256)  # of the newest checkpoint
root: public(bytes32)
credits: public(HashMap[address, uint256])  # wei that can be withdrawn
rounds: HashMap[bytes32, Round]
challenges: HashMap[bytes32, HashMap[uint256, Challenge]]


@deploy
def __init__(publisher: address, log_key: bytes32, window: uint256, response: uint256, bond: uint256):
    assert publisher != empty(address), "no publisher"
    assert 0 < window and window < MAX_SECONDS and 0 < response and response < MAX_SECONDS, "seconds"
    assert bond < 2**128, "bond"
    PUBLISHER = publisher
    LOG_KEY = log_key
    WINDOW = window
    RESPONSE = response
    BOND = bond
    self.root = EMPTY_ROOT


# --- the log ---------------------------------------------------------------------------------------------------------


@external
def store_checkpoint(
    old_size: uint256, old_root: bytes32, new_size: uint256, new_root: bytes32, proof: DynArray[bytes32, 64]
):
    """
    @notice Take over a larger head of the log, which has the stored one as its beginning (RFC 9162, section 2.1.4.2).
    """
    assert msg.sender == PUBLISHER, "not the publisher"
    assert old_size == self.size and old_root == self.root, "stale"
    assert old_size < new_size and new_size < 2**63, "size"
    if old_size == 0:
        assert len(proof) == 0, "proof"
    else:
        merkle.check_consistency(old_size, old_root, new_size, new_root, proof)
    self.size = new_size
    self.root = new_root
    log CheckpointStored(size=new_size, root=new_root)


# --- registration ----------------------------------------------------------------------------------------------------


@external
@payable
def register(
    record: encoding.Record,
    members: uint256,
    entries: DynArray[uint256[5], MAX_CLIENTS],
    sums: DynArray[uint256, residues.RANK_4],
    index: uint256,
    path: DynArray[bytes32, 63],
    opening: Bytes[48],
):
    """
    @notice Register a round, under a bond. Reverts unless all that the chain can check is right.
    @param record Of the round, without commitment_sum, which follows from the sums.
    @param members Leaves of the statement whose head is participants_root; as many as there are participants, or more.
    @param entries One for each participant, in the order of the statement.
    @param sums The packed commitments' sum over the integers, 256 or 342 scalars.
    @param index Of the record in the log.
    @param path Its inclusion proof in the newest checkpoint.
    @param opening KZG proof for the sum of the points, at the point of evaluation that follows from all of this.
    """
    assert msg.sender == PUBLISHER, "not the publisher"
    assert msg.value == BOND, "bond"
    key: bytes32 = self._key(record.task, record.round)
    assert self.rounds[key].registered == 0, "registered already"

    leaf: bytes32 = encoding.leaf(record, residues.reduced(sums), len(sums))
    merkle.check_inclusion(leaf, index, self.size, path, self.root)

    n: uint256 = len(entries)
    assert n >= 2 and n == convert(record.participants, uint256), "participants"
    assert n <= members and members <= MAX_MEMBERS, "members"
    peaks: bytes32[11] = empty(bytes32[11])  # complete subtrees of 2^level entries
    total: uint256[4] = empty(uint256[4])  # infinity
    for i: uint256 in range(n, bound=MAX_CLIENTS):
        entry: uint256[5] = entries[i]
        assert entry[0] < members and (i == 0 or entries[i - 1][0] < entry[0]), "places"
        total = curve.add(total, [entry[1], entry[2], entry[3], entry[4]])
        node: bytes32 = encoding.entry_hash(entry)
        level: uint256 = 0
        for j: uint256 in range(10):
            if (i >> level) & 1 == 0:
                break
            node = merkle.node(peaks[level], node)
            level += 1
        peaks[level] = node
        log EntryRegistered(key=key, index=i, entry=entry)
    head: bytes32 = empty(bytes32)
    for level: uint256 in range(11):
        if (n >> level) & 1 == 1:
            if n & ((1 << level) - 1) == 0:
                head = peaks[level]
            else:
                head = merkle.node(peaks[level], head)

    z: uint256 = encoding.sum_point(leaf, head, members, sums)
    y: uint256 = 0
    for i: uint256 in range(len(sums), bound=residues.RANK_4):
        y = uint256_addmod(uint256_mulmod(y, z, curve.R), sums[len(sums) - 1 - i], curve.R)
    curve.check_opening(total, z, y, opening)

    self.rounds[key] = Round(
        model=record.result_model,
        leaf=leaf,
        entries=head,
        participants_root=record.participants_root,
        participants=n,
        members=members,
        registered=block.timestamp,
        open=0,
        struck=False,
        released=False,
    )
    log RoundRegistered(
        key=key, task=record.task, round=convert(record.round, uint256), leaf=leaf, model=record.result_model
    )


@internal
@pure
def _key(task: Bytes[128], round: uint64) -> bytes32:
    return keccak256(concat(task, convert(round, bytes8)))


# --- challenges ------------------------------------------------------------------------------------------------------


@external
@payable
def challenge(task: Bytes[128], round: uint64, index: uint256):
    """
    @notice Claim, under a bond, that an entry is not of the commitment at its place in the statement that was signed.
    """
    assert msg.value == BOND, "bond"
    key: bytes32 = self._key(task, round)
    assert self.rounds[key].registered != 0, "not registered"
    assert not self.rounds[key].struck, "struck"
    assert block.timestamp < self.rounds[key].registered + WINDOW, "too late"
    assert index < self.rounds[key].participants, "index"
    assert self.challenges[key][index].challenger == empty(address), "challenged already"
    deadline: uint256 = block.timestamp + RESPONSE
    self.challenges[key][index] = Challenge(challenger=msg.sender, deadline=deadline, closed=False)
    self.rounds[key].open += 1
    log Challenged(key=key, index=index, challenger=msg.sender, deadline=deadline)


@external
def answer(
    task: Bytes[128],
    round: uint64,
    index: uint256,
    entry: uint256[5],
    entry_path: DynArray[bytes32, 63],
    name: Bytes[128],
    commitment: Bytes[8192],
    attempt: uint64,
    nonce: Bytes[32],
    member_path: DynArray[bytes32, 63],
    opening: Bytes[48],
):
    """
    @notice Show, before the deadline, that an entry is of the commitment at its place in the statement. Anyone may.
    @param entry The registered one.
    @param entry_path Its inclusion proof under the round's entries.
    @param name Of the participant.
    @param commitment Its C_i, 6144 or 8192 bytes.
    @param attempt Of the round; of no account without a nonce.
    @param nonce Empty where the statement holds D("commitment", C_i), 32 bytes where it holds D_i.
    @param member_path Inclusion proof of the participant's leaf under participants_root.
    @param opening KZG proof for the entry's point, at the point of evaluation that follows from round and commitment.
    """
    key: bytes32 = self._key(task, round)
    self._check_open(key, index)
    assert block.timestamp <= self.challenges[key][index].deadline, "too late"
    leaf: bytes32 = self.rounds[key].leaf
    entries: bytes32 = self.rounds[key].entries
    merkle.check_inclusion(encoding.entry_hash(entry), index, self.rounds[key].participants, entry_path, entries)

    if len(nonce) == 0:  # a statement of commitments is of those who are summed, and of nobody else
        assert self.rounds[key].members == self.rounds[key].participants, "members"
    member: bytes32 = encoding.member(name, encoding.statement_value(task, round, attempt, name, commitment, nonce))
    merkle.check_inclusion(member, entry[0], self.rounds[key].members, member_path, self.rounds[key].participants_root)

    z: uint256 = encoding.participant_point(leaf, entries, index, commitment)
    curve.check_opening([entry[1], entry[2], entry[3], entry[4]], z, residues.evaluate(commitment, z), opening)

    self._close(key, index, PUBLISHER, BOND)
    log Answered(key=key, index=index)


@external
def settle(task: Bytes[128], round: uint64, index: uint256):
    """
    @notice Close a challenge that was not answered in time, which strikes the round; or any other of a struck round.
    """
    key: bytes32 = self._key(task, round)
    challenger: address = self.challenges[key][index].challenger
    if self.rounds[key].struck:
        assert challenger != empty(address) and not self.challenges[key][index].closed, "not challenged"
        self._close(key, index, challenger, BOND)
        return
    self._check_open(key, index)
    assert block.timestamp > self.challenges[key][index].deadline, "too early"
    self.rounds[key].struck = True
    self._close(key, index, challenger, 2 * BOND)
    log Struck(key=key, index=index)


@external
def release(task: Bytes[128], round: uint64):
    """
    @notice Give the bond of a round that has stood its window back.
    """
    key: bytes32 = self._key(task, round)
    self._check_final(key)
    assert not self.rounds[key].released, "released already"
    self.rounds[key].released = True
    self.credits[PUBLISHER] += BOND


@external
@nonreentrant
def withdraw():
    """
    @notice Pay out what the sender is owed.
    """
    amount: uint256 = self.credits[msg.sender]
    self.credits[msg.sender] = 0
    raw_call(msg.sender, b"", value=amount)


@internal
@view
def _check_open(key: bytes32, index: uint256):
    assert self.challenges[key][index].challenger != empty(address), "not challenged"
    assert not self.challenges[key][index].closed, "closed"
    assert not self.rounds[key].struck, "struck"


@internal
def _close(key: bytes32, index: uint256, winner: address, amount: uint256):
    self.challenges[key][index].closed = True
    self.rounds[key].open -= 1
    self.credits[winner] += amount


# --- what is held ----------------------------------------------------------------------------------------------------


@external
@view
def get_model(task: Bytes[128], round: uint64) -> bytes32:
    """
    @notice Digest of the round's result. Reverts unless it has stood its window and is not struck.
    """
    key: bytes32 = self._key(task, round)
    self._check_final(key)
    return self.rounds[key].model


@internal
@view
def _check_final(key: bytes32):
    assert self.rounds[key].registered != 0, "not registered"
    assert not self.rounds[key].struck, "struck"
    assert self.rounds[key].open == 0, "challenged"
    assert block.timestamp >= self.rounds[key].registered + WINDOW, "not final yet"


@external
@view
def get_round(task: Bytes[128], round: uint64) -> Round:
    """
    @notice All that is held of a round, zeros for one that is not registered. It may be struck, or not final.
    """
    return self.rounds[self._key(task, round)]


@external
@view
def get_challenge(task: Bytes[128], round: uint64, index: uint256) -> Challenge:
    """
    @notice A challenge, zeros if there is none.
    """
    return self.challenges[self._key(task, round)][index]


@external
@view
def round_key(task: Bytes[128], round: uint64) -> bytes32:
    """
    @notice Under which events name a round.
    """
    return self._key(task, round)
