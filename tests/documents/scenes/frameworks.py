"""Guides of Flower and NVFlare: their own engines, with stock apps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from documents.scenes import Scene
from support.source_tree import ROOT

FLOWER: Final = ROOT / "examples" / "flower-quickstart"
NVFLARE: Final = ROOT / "examples" / "nvflare-quickstart"
LINK: Final = """\
$ export FLWR_HOME=$PWD/flwr FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
$ export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1
$ openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=link \\
    -addext subjectAltName=IP:127.0.0.1 -keyout link.key -out ca.pem 2> /dev/null
$ mkdir flwr && printf '[superlink]\\ndefault = "here"\\n\\n[superlink.here]\\naddress = "%s"\\n' \\
    127.0.0.1:9092 > flwr/config.toml
$ echo "root-certificates = \\"$PWD/ca.pem\\"" >> flwr/config.toml
$ flower-superlink --ssl-ca-certfile ca.pem --ssl-certfile ca.pem --ssl-keyfile link.key --host 127.0.0.1 --port 9092 \\
    > link.log 2>&1 &
$ until flwr ls here > /dev/null 2>&1; do kill -0 $! || break; done
"""
"""A SuperLink behind TLS, and ``flwr`` told where it is."""
APPROVED: Final = """\
$ for home in $OTHERS; do secure-agg federation approve next.epoch --home $home; done
"""
"""What owners do besides the one whom a guide speaks to."""
CLOSED: Final = """\
$ secure-agg serve --home federation/server --listen 127.0.0.1:8470 --model start.npy --rounds 1 > serve.log 2>&1 &
$ server=$! clients=
$ for home in $OWN $OTHERS; do secure-agg client https://127.0.0.1:8470 --home $home --update update.npy \\
    --out $home.out > $home.log 2>&1 & clients="$clients $!"; done
$ wait $clients && kill $server
$ wait $server || true
"""
"""A round of the homes, in which the epoch before is closed; without a framework, since it is the same there."""
PROPOSED: Final = (
    "$ secure-agg federation propose federation/server --join site-5=$SITE_5 --leave site-4 --out next.epoch"
)
FIRST_NODE: Final = "$ flower-supernode --superlink link.example:9092 --root-certificates ca.pem \\"


NODE: Final = """\
$ node() { for port in $PORTS; do mkdir .port-$port 2> /dev/null && break; done; \\
    flower-supernode --host 127.0.0.1 --port $port "$@" > node.$port.log 2>&1; }
"""
"""A SuperNode, whose own processes find it by one of the scene's ports; whoever makes a folder first has it."""


SIMULATED: Final = """\
$ run_here() { for again in 1 2 3 4 5; do flwr run "$@" > run.out 2>&1; ended=$?; \
    grep -q "current node timed out during startup" run.out || break; done; cat run.out; return $ended; }
"""
"""A simulation, run anew where Ray has not come up: it gives its own processes half a minute, which nothing changes."""
IN_PLACE: Final = {"flwr run . --stream": "run_here . --stream"}


def plain_link(options: str = "") -> str:
    """A SuperLink without TLS, and ``flwr`` told where it is."""
    return f"""\
$ export FLWR_HOME=$PWD/flwr FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
$ export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1
$ mkdir flwr && printf '[superlink]\\ndefault = "here"\\n\\n[superlink.here]\\naddress = "%s"\\ninsecure = true\\n' \\
    127.0.0.1:9092 > flwr/config.toml
$ flower-superlink --insecure {options} --host 127.0.0.1 --port 9092 > link.log 2>&1 &
$ until flwr ls here > /dev/null 2>&1; do kill -0 $! || break; done
"""


@contextmanager
def homes(folder: Path) -> Iterator[Mapping[str, str]]:
    """Where homes lie on machines of one's own is below the folder here."""
    (folder / "srv").mkdir()
    yield {"/srv/": f"{folder}/srv/"}


SCENES: Final = (
    Scene("docs/algorithms.md", ("In frameworks",), by="tests/plugins/flower/test_flower_algorithms.py"),
    Scene(
        "docs/flower.md",
        ("In simulation",),
        before=plain_link("--simulation") + SIMULATED,
        names=IN_PLACE,
        after="""\
$ secure-agg ledger audit $FLWR_HOME/secure-agg-simulation/*/server/rounds.db
valid: 6 rounds verified from scratch
""",  # three that train, and as many that evaluate
        needs=("flwr", "ray", "torch", "sklearn"),
        long=True,
    ),
    Scene(
        "docs/flower.md",
        ("Homes", "One message a round"),
        before=LINK + NODE + f'$ cp -r {FLOWER} app\n$ started() {{ node "$@" & }}\n',
        names={
            "link.example:9092": "127.0.0.1:9092",
            "server.example:8471": "127.0.0.1:8471",
            "$ flower-supernode": "$ started",
            """ward-a"'""": """ward-a" partition-id=0 num-partitions=3'""",
            """8471"'""": """8471" partition-id=1 num-partitions=3'""",
        },
        steps={FIRST_NODE: "$ for ward in a b c; do ln -sfn $PWD/federation/clients/ward-$ward srv/ward-$ward; done"},
        world=homes,
        after="""\
$ started --superlink link.example:9092 --root-certificates ca.pem \\
    --node-config 'secure-agg-home="/srv/ward-c" partition-id=2 num-partitions=3'
$ flwr run app here --stream --run-config \\
    "num-server-rounds=1 home=\\"$PWD/federation/server\\" channel=\\"127.0.0.1:8471\\"" > run.log 2>&1
$ grep -o "round 0 of 'default' is verified, over 3 of 3 clients" run.log
round 0 of 'default' is verified, over 3 of 3 clients
$ secure-agg ledger audit federation/server/rounds.db --trust federation/trust.json
valid: 2 rounds verified from scratch
""",  # one that trains, and one that evaluates
        needs=("flwr", "torch", "sklearn"),
        long=True,
    ),
    Scene(
        "docs/flower.md",
        ("Going on, and ends", "The first model and those that follow"),
        before="""\
$ python -c "import numpy; numpy.save('start.npy', numpy.zeros(6)); numpy.save('update.npy', numpy.full(6, 0.5))"
$ secure-agg federation init federation --client ward-a --client ward-b --client ward-c --client ward-e --clip 2.0
$ cp -r federation/clients/ward-* srv
$ OWN=srv/ward-a OTHERS="srv/ward-b srv/ward-e srv/ward-c"
"""
        + CLOSED
        + """\
$ OTHERS="srv/ward-b srv/ward-e"
$ WARD_D=$(secure-agg keygen ward-d --out ward-d.key | sed -n 's/^public *//p')
""",
        world=homes,
        steps={
            "$ secure-agg federation status federation/server next.epoch --submit": APPROVED,
            "$ secure-agg federation status federation/server --epochs epochs": CLOSED.replace(".out", ".more").replace(
                "--rounds 1", "--rounds 2"
            ),
        },
        given={"": "import numpy as np; from flwr.app import ArrayRecord; initial_arrays = ArrayRecord([np.zeros(6)])"},
        after="""\
$ secure-agg ledger audit federation/server/rounds.db --trust federation/trust.json
valid: 2 rounds verified from scratch
""",
        needs=("flwr",),
        long=True,
    ),
    Scene(
        "docs/nvflare.md",
        before=f"""\
$ cp {NVFLARE}/client.py .
$ python -c "import numpy; numpy.save('start.npy', numpy.zeros((65, 10)))"
$ python -c "import numpy; numpy.save('update.npy', numpy.full((65, 10), 0.5))"
$ key() {{ secure-agg keygen $1 --out $1.key | sed -n 's/^public *//p'; }}
""",
        names={"keygen site-1 --out site-1.key": "keygen site-1 --out site-1.key | tee site-1.public"},
        steps={
            "$ secure-agg federation init federation --task digits --max-weight 1000 \\": """\
$ SITE_1=$(sed -n 's/^public *//p' site-1.public) SITE_2=$(key site-2) SITE_3=$(key site-3) SITE_4=$(key site-4)
""",
            "$ secure-agg trust show trust.json": "$ cp federation/trust.json .",
            PROPOSED: """\
$ for site in site-2 site-3; do secure-agg federation join home-$site --name $site --identity $site.key \\
    --trust trust.json --task digits --start-model start.npy; done
$ OWN=home OTHERS="home-site-2 home-site-3" SITE_5=$(key site-5)
""",
            "$ secure-agg federation status federation/server next.epoch --submit": APPROVED,
            "$ secure-agg federation status federation/server --epochs epochs": CLOSED,
        },
        after="""\
$ secure-agg ledger audit work/secure-agg-simulation/*/server/rounds.db
valid: 2 rounds verified from scratch
$ grep -c secure_agg startup-kit/local/privacy.json startup-kit/local/resources.json
startup-kit/local/privacy.json:…
$ test -f startup-kit/local/secure-agg.json
""",
        needs=("nvflare", "sklearn"),
        long=True,
    ),
)
