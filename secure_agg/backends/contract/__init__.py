"""The backend contract: what a way of hiding declares and does, so that the roles know nothing of it.

A backend declares its *phases*; the roles walk through them. Each phase is one request from the aggregator
to everybody it asks who is still there, and one response from each. What a phase is *for* decides who handles it.
Clients are asked in

* ``ADVERTISE``, always named ``advertise``: the role sends the hash D_i of its commitment with the backend's public
  part; sid follows from all of them.
* ``EXCHANGE``: the backend's own business: keys, shares; also after the set, what comes of a sum that fails.
* ``INPUT``: the backend hides the vector; the role opens D_i with it.
* ``AGREE``: the role fixes and signs the set S, by the backend's ``agreement``; the backend may object.
* ``RELEASE``: the clients give out what opens the sum.
* ``EXCISE``: whom a proof of fault names is taken out of the set that was signed: the role signs the smaller set, and
  the backend gives out what takes the input out of the sum.

of which some may be *optional*: they are left out where there is nothing to ask. Operators, whom they have pinned, are
asked in

* ``BEGIN``: they are told which round it is.
* ``OPERATE``: the backend's own business.
* ``CONSENT``: they fix and sign the set S.
* ``OPEN``, always named ``decrypt``: key holders, who keep nothing of a round, open the sum from all that is public
  about it.

Once a client or operator has signed a set, every later request carries the quorum's signatures, and the role checks
them and answers once, durably, before the backend sees the request.

The roles own identities, signatures, commitments, nonces, durability and evidence. The backend never sees a commitment;
what it hides is a vector of integers modulo p, and what it returns is the exact sum of those of S.

Every side is told the same three things: ``begin``, when the participants are fixed; what to ``answer`` (a client, an
operator) or to ``ask`` and ``take`` (the aggregator); ``agree``, when the set is. Whatever takes a message raises
before it changes anything. What a backend does not say has a default that is right for one without it.

* ``backend``: what every backend is; ``KeyedBackend``, which has key holders as well; ``SharedBackend``, which has
  share holders.
* ``phases``: what phases are for. ``options``: settings of a backend's own, declared.
* ``client``, ``aggregator``, ``operators``: a backend's part of each role.
* ``commitments``: how a commitment is hashed before it is shown, and the session that follows from the hashes.
* ``setup``: who the share holders of a round are.
"""

from secure_agg.backends.contract.aggregator import AggregatorSide, Outcome, Said, hidden_vector, opened_sum
from secure_agg.backends.contract.backend import (
    Backend,
    KeyedBackend,
    ResultRule,
    Seats,
    SharedBackend,
    TrustStatement,
)
from secure_agg.backends.contract.client import ClientSide, Hidden, Joining, Letter, Once, letter_limit
from secure_agg.backends.contract.commitments import commitment_hash, open_commitment, session_id
from secure_agg.backends.contract.operators import Answer, Opener, OperatorSide
from secure_agg.backends.contract.options import OptionRule
from secure_agg.backends.contract.phases import Phase, PhaseKind
from secure_agg.protocol.session import Session

__all__ = [
    "AggregatorSide",
    "Answer",
    "Backend",
    "ClientSide",
    "Hidden",
    "Joining",
    "KeyedBackend",
    "Letter",
    "Once",
    "Opener",
    "OperatorSide",
    "OptionRule",
    "Outcome",
    "Phase",
    "PhaseKind",
    "ResultRule",
    "Said",
    "Seats",
    "Session",
    "SharedBackend",
    "TrustStatement",
    "commitment_hash",
    "hidden_vector",
    "letter_limit",
    "open_commitment",
    "opened_sum",
    "session_id",
]
