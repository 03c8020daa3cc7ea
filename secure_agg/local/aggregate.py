"""``aggregate``: a whole verified round in one call, all roles in this process."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from os import PathLike

from secure_agg.arguments import checked, checked_class
from secure_agg.beacon.recorded import BeaconFile
from secure_agg.beacon.source import BeaconSource
from secure_agg.errors import ClippingWarning, ConfigError, PrecisionWarning, TooFewClients
from secure_agg.executing import HERE, Executor, InProcess, executor_of
from secure_agg.ledger.log import Ledger
from secure_agg.local import report
from secure_agg.local.asked import Inputs, Settings, placing
from secure_agg.local.book import Book
from secure_agg.local.draws import Draw, Draws, is_last
from secure_agg.local.hosting import HostedClient, hosted
from secure_agg.local.rounds import LocalRound, Update
from secure_agg.local.staff import AGGREGATOR, Staff, bring, needed_options, staffed, usual_names
from secure_agg.local.trees import Played, TreeAsked, play
from secure_agg.privacy.asked import Privacy
from secure_agg.protocol.clipping import Clipping
from secure_agg.protocol.codec import Arrays
from secure_agg.protocol.config import NO_DIGEST, Group, Option, RoundConfig
from secure_agg.protocol.config.layout import members
from secure_agg.protocol.evidence import Evidence, RoundRecord
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.habits import USUAL
from secure_agg.protocol.identity import Identity, in_id_order
from secure_agg.protocol.privacy.claim import PrivacyClaim
from secure_agg.protocol.tree.evidence import TreeEvidence
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.client.client import Client
from secure_agg.roles.client.shared import SharedChecks
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.task import Task
from secure_agg.tlog.receipt import Receipt

_log = logging.getLogger("secure_agg.local.aggregate")


@checked_class
@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Result:
    """A finished, checked round.

    Attributes:
        average: the weighted mean over the participants, float64, one array per model array.
        participants: ids whose updates are in it.
        record: what the ledger holds.
        evidence: all that an auditor needs; of a tree its top round's, which is in ``tree``.
        receipt: inclusion in the ledger, or None where none was given.
        faults: what was proved of parties that broke the protocol without stopping the round.
        stats: seconds (``…_s``) and bytes (``…_bytes``) per role and phase, clients' figures being means (what all are
            shown alike one of them checks for all, where no executor hosts them: ``client.verify_s`` is a share); where
            values were clipped how many, of all clients, ``clipped_values``, and of each array that has any,
            ``clipped_values.array_<index>``; where a norm is bounded, or with privacy,
            ``scaled_clients`` and ``refused_clients``.
        tree, edges: of a tree all that an auditor needs: its evidence, and that of the edges in its sum by their ids.
    """

    average: Arrays
    participants: tuple[str, ...]
    record: RoundRecord
    evidence: Evidence
    receipt: Receipt | None
    stats: dict[str, float]
    faults: tuple[FaultProof, ...] = ()
    tree: TreeEvidence | None = None
    edges: Mapping[str, Evidence] = field(default_factory=dict)

    @property
    def groups(self) -> dict[str, Arrays]:
        """The means, and of counts the sums, of each group by its name; empty where there are none."""
        config = self.evidence.config
        held = zip(config.policy.groups, members(config.policy.groups, config.grouping), strict=True)
        return {group.name: [self.average[index] for index in arrays] for group, arrays in held if arrays}

    def __repr__(self) -> str:
        record, values = self.record, sum(array.size for array in self.average)
        return (
            f"Result(task={record.task!r}, round={record.round}, claim={record.claim!r}, "
            f"participants={len(self.participants)}, arrays={len(self.average)}, values={values}, "
            f"in_ledger={self.receipt is not None}, faults={len(self.faults)})"
        )


@checked
def aggregate(
    updates: Mapping[str, Update],
    *,
    weights: Mapping[str, int] | None = None,
    backend: str = USUAL,
    options: Mapping[str, int] | None = None,
    aggregators: int | None = None,
    edges: int | Mapping[str, Collection[str]] | None = None,
    top_backend: str | None = None,
    ledger: str | PathLike[str] | Ledger | None = None,
    dropouts: Mapping[str, str] | None = None,
    clip: float = 8.0,
    bits: int | None = None,
    groups: Iterable[Group] | None = None,
    grouping: Sequence[str] | None = None,
    max_error: float | None = None,
    norm_bound: float | None = None,
    norm_excess: str | None = None,
    privacy: Privacy | None = None,
    rounding: str | None = None,
    max_weight: int | None = None,
    weight_scale: int | None = None,
    weight_span: int | None = None,
    first_weight: int | None = None,
    max_clients: int | None = None,
    min_clients: int = 3,
    sample: int | float | None = None,
    corruption_rate: float | None = None,
    dropout: float | None = None,
    beacon: str | PathLike[str] | BeaconFile | BeaconSource | None = None,
    pulses: str | PathLike[str] | Sequence[str | PathLike[str]] | None = None,
    task: str = "default",
    round: int | None = None,
    start_model: bytes | None = None,
    base_model: bytes | None = None,
    identities: Mapping[str, Identity] | None = None,
    key: object = None,
    executor: Executor | str = HERE,
) -> Result:
    """One verified secure round over ``updates``, all roles in this process.

    Args:
        updates: client id to its arrays, float32 or float64, the same shapes for all.
        weights: client id to its positive integer weight; 1 where missing.
        backend: how updates are hidden, see ``secure-agg backends``.
        options: the backend's own settings. With ``crypten`` a ``function`` that is no sum is asked for by them: the
            result is then ``attested``, which the trust file says too.
        aggregators: how many share each update, for ``additive``: its option of that name.
        edges: sum in a tree of two levels: how many edges the clients are dealt into, or edge id to the ids of its
            members. An edge's operator and members learn the edge's sum, and nobody else does; what a client receives
            grows with its edge and the number of edges, not with the number of clients. ``backend`` is that of the
            edges, and ``min_clients`` the fewest of an edge whose sum is opened.
        top_backend: how edges' sums are hidden from each other and from the aggregator: by default as ``backend`` does.
        ledger: a path or an open ``Ledger``; the checked round is appended to it. The first call for a task
            pins roster and policy; later calls may leave clients out (they count as dropped) but not add any. Proofs of
            fault are kept in ``<ledger>.faults/``: whom one convicts is not asked in the task's later rounds.
        dropouts: client id to the phase at which it falls silent: advertise, share-keys, masked-input, consistency or
            unmask. From consistency on its update is in the result, where the backend takes inputs before that (the
            homomorphic ones don't). A phase that the backend does not have stands for the next that it has.
        clip: values are clipped to [−clip, clip].
        bits: per value, 2 to 24; by default what the ledger has pinned, or as many as cost the backend nothing.
        groups: the named vectors of an update, each with a clip, bits and a weighting of its own, where one for all
            will not do; ``clip`` and ``bits`` then don't count. By default what is pinned. What rounding has cost each
            is in ``record.groups``, its means in ``Result.groups``.
        grouping: for each array the name of its group; by default all are in the first that is weighted.
        max_error: refuse the round if rounding could move a value of the mean further, whoever drops out; by default
            what is pinned, or 1024 clips or what the named ``bits`` need. What holds for the round when the weights
            are known, nearly always far less, is ``record.error_bound``.
        norm_bound: every client's update has an L2 norm, after clipping, of at most this times weight / weight limit
            before it counts by its weight, and proves it: see ``record.norm_bound`` and ``record.norm_factor``. By
            default what is pinned, or nothing is bounded. Needs a backend that commits before it speaks again.
            ``masking`` then has ``screening`` on, unless ``options`` say otherwise.
        norm_excess: what clients do with a longer update: ``scale`` it, the default, or ``refuse`` to take part with
            it, which counts as dropping out. ``stats`` say how many did, ``scaled_clients`` or ``refused_clients``.
        privacy: differential privacy of all results of the task together: updates are brought to ``privacy.norm`` in
            L2, and every client adds noise to its own before it is hidden; ``clip`` and weights don't count then. By
            default what is pinned, or none. See ``record.spent``, which no round may bring above the budget.
        rounding: ``stochastic``, which is the only way: rounding is without bias. For callers of earlier releases.
        max_weight: public bound of the weights; by default the largest of them in this call. What the ledger has pinned
            then bounds them only where a call has named it.
        weight_scale, weight_span, first_weight: limit large and small weights instead of keeping them, for precision
            with few bits: see ``Policy``. The record then says how many were limited.
        max_clients: headroom of the sums; by default the number of clients.
        min_clients: fewest clients whose sum is opened, at least 2.
        sample: draw so many clients for each round, or this share of them, by a public beacon; the others are not in
            it. Each call of a task that draws has to name where pulses are. A round of too few goes to its next draw,
            where whoever has given an update sits out. See ``Policy`` for which sizes are safe; by default what is
            pinned, or all.
        corruption_rate: with ``sample``, the share of all clients that may be corrupt.
        dropout: share of a round's clients without which it still ends, at most 0.5: the more the fewer may be corrupt.
            By default what is pinned, or 0.1.
        beacon: with ``sample``, a beacon file or ``BeaconSource``; a new task pins it, and its first pulse has to be
            still to come. A chain of one's own is for rehearsals: whoever has its key knows all cohorts beforehand.
        pulses: where its pulses are: URLs of drand's HTTP API, folders or beacon files, tried in this order; by default
            the beacon file.
        task: name of the training task.
        round: number of the round; the ledger's next one, else 0.
        start_model: digest of the model the updates are relative to; the ledger's last result, else zeros.
        base_model: digest of the very arrays that updates are differences from, ``State.digest`` in
            ``fl.algorithms``: it is in the round's configuration, so that ``fl.algorithms.replay`` finds whether each
            round has gone on from the model that the results before it lead to. None where nobody asks.
        identities: client id to ``Identity``; made when missing, and kept in ``<ledger>.keys/`` with a ledger.
        key: with a homomorphic backend, the key holder's key instead of a fresh one for each round: for ``paillier`` a
            ``phe.PaillierPrivateKey``, or the bytes of a file of pheutil; for ``ckks`` and ``bfv`` a
            ``tenseal.Context`` with its secret key, or its serialised bytes. What the key needs of ``options``, the
            length of its modulus or its ring, follows from it.
        executor: where the work is done: by default in this process; ``processes:N`` or ``ray:N`` start workers for
            this call, an ``Executor`` of ``secure_agg.executing`` keeps its own. Workers hold the clients and do the
            aggregator's work on long vectors; the result is the same, bit by bit, and a worker that is lost loses
            nothing.

    Returns:
        The checked result.

    Raises:
        ConfigError: a setting is out of range, insecure, or contradicts what the ledger has pinned for the task.
        UpdateError: an unfit update or weight; names the client.
        TooFewClients: too many have dropped out; where cohorts are drawn, of each of the round's 16 draws.
        PulseMissing: the beacon's pulse is not published yet, or not where it was looked for.
        ExecutorError: workers don't start, or are lost again and again.
        VerificationError, LedgerError: the result did not pass, or can't be appended. Nothing was written.
        ClaimRefused: the result would be attested, and the ledger, or its trust file, accepts sums only.

    Warns:
        ClippingWarning: values were clipped; ``stats`` says how many of which array.
        PrecisionWarning: rounding may have moved a value by more than the range that ``clip`` leaves.
    """
    if rounding not in (None, "stochastic"):
        raise ConfigError(f"rounding is {rounding!r}, and there is one way, 'stochastic': it has no bias")
    inputs = Inputs(updates, weights or {}, dropouts or {}, identities or {})
    shapes = inputs.check()
    named = {} if aggregators is None else {"aggregators": aggregators}
    if key is not None and edges is not None:
        raise ConfigError("a tree's rounds have no key holder: key is for rounds without edges")
    of_key = {} if key is None else needed_options(backend, key)
    settings = Settings(
        backend=backend,
        options=Option.list(of_key | dict(options or {}) | named),
        clip=clip,
        bits=bits,
        groups=None if groups is None else tuple(groups),
        max_error=max_error,
        norm_bound=norm_bound,
        norm_excess=norm_excess,
        privacy=privacy,
        max_weight=max_weight,
        weight_scale=weight_scale,
        weight_span=weight_span,
        first_weight=first_weight,
        max_clients=max_clients,
        min_clients=min_clients,
        sample=sample,
        corruption_rate=corruption_rate,
        dropout=dropout,
    )
    draws = Draws(beacon, pulses)
    if edges is not None:
        if beacon is not None or pulses is not None or sample is not None:
            raise ConfigError("a tree's rounds draw no cohorts: sample, beacon and pulses are for rounds without edges")
        if privacy is not None:
            raise ConfigError("a tree has no differential privacy: an edge's operator sees a sum of few clients' noise")
        if executor is not HERE and not isinstance(executor, InProcess):
            raise ConfigError("a tree's round is done in this process: executor is for rounds without edges")
        tree = TreeAsked(edges, top_backend, {})
        played = play(
            tree,
            settings,
            inputs,
            shapes,
            ledger=ledger,
            task=task,
            number=round,
            start_model=start_model,
            base_model=base_model or NO_DIGEST,
        )
        return _of_tree(played, len(updates))
    if top_backend is not None:
        raise ConfigError("top_backend is for a tree: say which edges it has")
    with ExitStack() as stack:
        book = Book(ledger, task, stack)
        policy, limit = settings.policy(inputs, book.known, goes_on=book.is_kept)
        if policy.buffer is not None:
            raise ConfigError(
                f"task {task!r} is of buffered rounds, which BufferedTask makes: updates have bases there"
            )
        placed = placing(policy, grouping)
        draws.check(policy)
        cast = book.cast(inputs)
        planned = book.plan(policy, cast, draws.source)
        number = planned.next_number if round is None else round

        def configure(leading: Task, draw: Draw) -> RoundConfig:
            return leading.next_round(
                shapes,
                number=number,
                weight_limit=limit,
                start_model=start_model,
                base_model=base_model or NO_DIGEST,
                attempt=draw.draw,  # with everything fresh
                draw=draw.draw,
                beacon=draw.beacon,
                grouping=placed,
            )

        draw = draws.draw(planned, number)
        config, serving = configure(planned, draw), usual_names(policy)
        openers = None if key is None else bring(config, serving, key)
        chosen = stack.enter_context(executor_of(executor)) if isinstance(executor, str) else executor
        # From here on files are written: nothing of the call is refused any more.
        leading = book.begin(planned, cast)
        stores, out = {name: AttemptStore() for name in cast.members}, book.convicted()
        shared = SharedChecks(leading.trust)
        pages: dict[str, bytes] = {}  # the same of clients that live with workers
        while True:
            config = configure(leading, draw)
            staff = Staff.of(config, {name: cast.operators[name] for name in serving}, openers=openers)
            aggregator = leading.lead(
                cast.operators[AGGREGATOR], staffed(config, staff.setup), staff.setup, out, executor=chosen
            )
            members = {
                name: member for name, member in cast.members.items() if name in aggregator.cohort and name not in out
            }
            with ExitStack() as hosting:
                clients: Mapping[str, Client | HostedClient]
                if isinstance(chosen, InProcess):
                    clients = {
                        name: Client(member, leading.trust, store=stores[name], shared=shared)
                        for name, member in members.items()
                    }
                else:
                    clients = hosting.enter_context(hosted(chosen, leading.trust, members, pages))
                local = LocalRound(
                    aggregator, clients, updates, weights, dropouts, staff.roles(leading.trust), at_once=chosen.workers
                )
                try:
                    evidence, checked_here = local.finish()
                    stack.push(hosting.pop_all())
                    break
                except TooFewClients as error:
                    if is_last(draw):
                        raise
                    _log.warning("round %d of %r, draw %d is dead: %s", number, task, draw.draw, error)
                finally:
                    book.keep(aggregator.faults)
            draw = draws.draw(leading, number, draw.draw + 1)
        tell(checked_here.record, config, local.clipping())
        if policy.norm:
            scaled, refused = local.beyond_norm()
            _log.info("%s; %d updates were scaled, %d stay out", checked_here.norm_text, scaled, refused)
        if said := PrivacyClaim.of(config):
            _log.info("%s; %d updates were scaled to the norm", said.text, local.beyond_norm()[0])
        start = time.perf_counter()
        entry = book.append(evidence)
        appended = {"ledger.append_s": time.perf_counter() - start} if entry else {}
        local.deliver()
        verified = entry.verified if entry else Auditor(leading.trust, executor=chosen).verify(evidence)
        return Result(
            average=verified.average,
            participants=evidence.participants,
            record=verified.record,
            evidence=evidence,
            receipt=entry.receipt if entry else None,
            stats=local.stats() | appended,
            faults=aggregator.faults,
        )


def _of_tree(played: Played, clients: int) -> Result:
    """What a tree's round has come to, in the words of any."""
    tree, verified, rounds = played.tree, played.verified, played.played
    locals_ = [edge.local for edge in rounds.edges.values()]
    clipping = report.clipping([client for local in locals_ for client in local.clients.values()])
    tell(verified.record, tree.top.config, clipping)
    stats: dict[str, float] = {}
    for local in locals_:  # clients' figures are means: of each edge's, by how many there are in it
        share = len(local.clients) / clients
        for name, value in local.stats().items():
            stats[name] = stats.get(name, 0.0) + (value * share if name.startswith("client.") else value)
    stats |= {"ledger.append_s": played.appended_s} if played.receipt else {}
    top = rounds.top
    faults = (*top.faults, *(top.aggregator.faults if top.aggregator else ()))
    return Result(
        average=verified.average,
        participants=tuple(in_id_order(verified.commitments)),
        record=verified.record,
        evidence=tree.top,
        receipt=played.receipt,
        stats=stats,
        faults=faults,
        tree=tree,
        edges=played.edges,
    )


def tell(record: RoundRecord, config: RoundConfig, clipping: Clipping) -> None:
    """Warn of what may not be what the caller wants: once each, in words that name no client."""
    policy = config.policy
    if text := clipping.text(config):
        _warn(text, ClippingWarning)
    for group in record.groups:
        _log.info(
            "group %r: rounding moves no value by more than %.3g, and by %.3g or less in the root mean square",
            group.name, group.error_bound, group.error_rms,
        )  # fmt: skip
    if record.error_bound > 2 * policy.clip:
        _warn(
            f"a value of the mean may be off by {record.error_bound:.6g} by rounding, in a range of "
            f"±{policy.clip:g}: {record.participants} weights sum to {record.weight_sum}, far below the limit of "
            f"{record.weight_limit} each. Take more bits or a smaller max_weight.",
            PrecisionWarning,
        )
    _log.info(
        "round %d of %r: %d participants, weights of %d in all, rounding moves no value by more than %.3g",
        record.round, record.task, record.participants, record.weight_sum, record.error_bound,
    )  # fmt: skip
    if record.weights_lowered or record.weights_raised:
        _log.warning(
            "round %d of %r: %d weights count as the limit of %d, and %d as the least of %d",
            record.round, record.task, record.weights_lowered, record.weight_limit, record.weights_raised,
            policy.least_weight(record.weight_limit),
        )  # fmt: skip


def _warn(text: str, category: type[Warning]) -> None:
    _log.warning("%s", text)
    warnings.warn(text, category, stacklevel=5)  # where ``aggregate`` was called
