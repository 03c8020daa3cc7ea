"""``secure-agg aggregator``: one of the k aggregators that hold a share each, as a process of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from secure_agg.cli.operators import operating
from secure_agg.cli.terminal.epilog import epilog
from secure_agg.cli.terminal.output import JsonOption
from secure_agg.transport.share_holders import build_share_holder

app = typer.Typer(
    no_args_is_help=True,
    help="Run one of the aggregators that hold a share of every update each.",
    epilog=epilog("secure-agg aggregator init aggregator-1 --out aggregator-1"),
)


@app.command(
    "init",
    epilog=epilog(
        "secure-agg aggregator init aggregator-1 --out aggregator-1",
        "secure-agg aggregator init aggregator --coordinator --out coordinator",
    ),
)
def init(
    name: operating.NameArgument,
    out: operating.OutOption,
    identity: operating.IdentityOption = None,
    coordinator: Annotated[
        bool, typer.Option("--coordinator", help="Of the aggregator that asks the others: it holds no shares.")
    ] = False,
    passphrase: operating.PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an operator's keys: identity, TLS, and the channel that clients seal shares to.

    The keys go to an encrypted file, their public halves to a card for everybody who talks to this operator. A file
    that exists is never overwritten: for new TLS and channel keys under the same identity, use a new folder and
    --identity.
    """
    operating.make_keys(name, out, identity, passphrase, share_holder=not coordinator, as_json=as_json)


@app.command(
    "serve",
    epilog=epilog(
        "secure-agg aggregator serve aggregator-1 --trust trust.json --coordinator coordinator/operator.card "
        "--listen 127.0.0.1:0"
    ),
)
def serve(
    folder: operating.FolderArgument,
    trust: operating.TrustOption,
    coordinator: operating.CoordinatorOption,
    listen: operating.ListenOption,
    store: operating.StoreOption = None,
    epochs: operating.EpochsOption = None,
    joining: operating.JoiningOption = False,
    passphrase: operating.PassphraseOption = None,
    limit: operating.LimitOption = None,
    until_eof: operating.UntilEofOption = False,
) -> None:
    """Hold shares and answer the coordinator, until SIGTERM.

    Prints one line of JSON with the address when it takes messages; what it does goes to stderr, one line a message.
    Epochs of its tasks it follows by itself, and keeps them in DIR.
    """
    operating.serve(
        lambda keys, pins, attempts, _: build_share_holder(keys, pins, attempts),
        folder,
        trust,
        coordinator,
        listen,
        store=store,
        epochs=epochs,
        joining=joining,
        passphrase=passphrase,
        limit=limit,
        until_eof=until_eof,
    )
