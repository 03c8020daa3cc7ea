"""What the snippets of Python in guides need around them to run, and why others are not run."""

from __future__ import annotations

from typing import Final

RUN: Final[dict[tuple[str, str], str]] = {
    ("README.md", "import secure_agg"): (
        "import numpy as np\n"
        "arrays_a, arrays_b, arrays_c = ([np.full((2, 3), i / 4), np.full(5, -i / 4)] for i in range(3))"
    ),
    ("docs/algorithms.md", "from secure_agg.fl.algorithms.named import create"): (
        "import numpy as np, secure_agg\n"
        "clients, rounds, model = ('a', 'b', 'c', 'd'), 2, [np.zeros(6)]\n"
        "gradient = {name: lambda model: [model[0] - 0.1] for name in clients}"
    ),
    ("docs/buffered.md", "import numpy as np"): "",
    ("docs/numbers.md", "from secure_agg import Group, aggregate"): (
        "import numpy as np\n"
        "one = [np.full(4, 0.05), np.full(2, 0.01), np.ones(3), np.full(4, 0.2), np.array([3.0, 7.0])]\n"
        "updates, examples = {name: one for name in 'abcd'}, dict.fromkeys('abcd', 5)"
    ),
    ("docs/statistics.md", "from secure_agg import stats"): (
        "import numpy as np, pandas, polars\n"
        "def table(n, seed):\n"
        "    rng = np.random.default_rng(seed)\n"
        "    age = rng.integers(20, 90, n).astype(float)\n"
        "    return {'age': age, 'bmi': rng.uniform(18, 40, n), 'sex': list(rng.choice(['f', 'm'], n)),\n"
        "        'died': (rng.random(n) < age / 120).astype(float), 'weeks': rng.integers(1, 53, n).astype(float),\n"
        "        'arm': list(rng.choice(['a', 'b'], n))}\n"
        "frame, polars_frame = pandas.DataFrame(table(4000, 1)), polars.DataFrame(table(4000, 2))\n"
        "columns = table(4000, 3)"
    ),
}
"""By the document and a block's first line: what comes before it. These blocks are run."""

NOT_RUN: Final[dict[str, str]] = {
    "ARCHITECTURE.md": "quotes the sources, which a test compares",
    "CONTRIBUTING.md": "set-up itself, and the tests themselves",
    "README.md": "whole targets of make; the tests run all that is in them",
    "docs/anchor.md": "needs a chain: tests/integration/test_evm_anvil.py has one",
    "docs/algorithms.md": "parts of an app: tests/plugins has whole ones",
    "docs/backends.md": "needs keys that somebody has: tests/local does it with some",
    "docs/cost-model.md": "takes minutes with --calibrate: tests/cli/test_plan.py runs the others",
    "docs/deployment.md": "parts of a transport: tests/roles has whole ones",
    "docs/executors.md": "needs a cluster: tests/executing starts one",
    "docs/explorer.md": "opens a browser: tests/explorer does",
    "docs/flower.md": "needs a SuperLink: the tutorial has one",
    "docs/install.md": "installs packages: make install-matrix does",
    "docs/numbers.md": "parts of a client's loop, and homes that tests/cli makes",
    "docs/nvflare.md": "needs a workspace: the tutorial has a simulator's",
    "docs/preflight.md": "homes and policies of the reader's own: tests/cli has some",
    "docs/privacy.md": "a hundred clients: tests/local has fewer",
    "docs/sampling.md": "asks drand: tests/beacon has a chain of its own",
    "docs/service.md": "hosts that are named for examples: the tutorial has real ones",
    "docs/statistics.md": "hosts that are named for examples, and --url: tests/stats has a service",
    "docs/three-machines.md": "three machines: the tutorial has one",
}
"""Documents whose other blocks are not run, with the reason. A new document says it before each block."""

EXAMPLES: Final = "the examples themselves, which have tests, or run for minutes"
