"""Guides of what one machine does: planning, keys, budgets, the page of a ledger."""

from __future__ import annotations

from typing import Final

from documents.scenes import Scene

LEDGER: Final = """\
$ python -W ignore -c "
import numpy, secure_agg
for number in range(2):
    secure_agg.aggregate({name: [numpy.full(3, number + 0.5)] for name in 'abcd'}, ledger='rounds.db')"
"""
"""Two rounds of four clients, with the trust file beside them."""

SCENES: Final = (
    Scene(
        "docs/backends.md",
        given={
            "": """
import numpy as np, tenseal
from phe import paillier
updates = {name: [np.full(3, 0.5)] for name in 'abcd'}
phe_private_key = paillier.generate_paillier_keypair(n_length=2048)[1]
tenseal_context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, None, [60, 40, 40, 60])
"""
        },
        needs=("phe", "tenseal"),
        long=True,
    ),
    Scene(
        "docs/cost-model.md",
        # All cells take hours.
        names={
            "--spread": "--backends masking --full --params 1000 9000 --clients 5 3 4 --bits 16 --lost 0 --no-norms "
            "--repeat 1 --rough"
        },
        long=True,
    ),
    Scene(
        "docs/explorer.md",
        before=LEDGER
        + """
$ looked() { secure-agg explore "$1" --port ${2#*:} --no-browser & \\
    until curl -sf http://$2/ > "$1.page"; do kill -0 $! || return 1; done; }
""",
        # What serves until it is told to end goes on beside the rest.
        names={
            "$ secure-agg explore rounds.db": "$ looked rounds.db 127.0.0.1:8471",
            "$ secure-agg explore public/": "$ looked public 127.0.0.1:8472",
            "https://example.org/log/": "http://127.0.0.1:8473/",
        },
        steps={
            "$ secure-agg explore --digest                  # SHA-256 of the page in your package": """\
$ python -m http.server 8473 --bind 127.0.0.1 --directory public 2> /dev/null &
$ until curl -sf http://127.0.0.1:8473/ > served; do kill -0 $!; done
"""
        },
        after="""\
$ for page in rounds.db.page public.page served; do
    test $(secure-agg explore --digest) = $(sha256sum < $page | cut -d ' ' -f 1) || exit 1; done
$ test -f public/site.json
""",
        long=True,
    ),
    Scene("docs/numbers.md", ("In a federation",), long=True),
    Scene(
        "docs/privacy.md",
        given={
            "": """
import numpy as np
updates = {f'clinic-{number}': [np.full(62, 0.1)] for number in range(100)}
"""
        },
        long=True,
    ),
)
