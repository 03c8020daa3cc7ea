"""A count regression on 20,190 rows of the RAND health insurance experiment, one client for each insurance plan.

The data ship in statsmodels, which also fits the same model on all rows in one place: what a federation should come to.
Clients are as the experiment made them, families by their coinsurance rate, from free care to 95 %.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from secure_agg import aggregate, backends, extras, pictures
from secure_agg.fl.algorithms.evaluation import Evaluation
from secure_agg.fl.algorithms.named import NAMES, create
from secure_agg.fl.algorithms.training import Client, Compared, plain_mean, secure_mean, train
from secure_agg.fl.partitions import by_groups

RATE = 0.1
STEPS = 8
CLIP = 4.0
SETTINGS = {
    "FedProx": {"mu": 0.1},
    "FedAvgM": {"server_momentum": 0.5, "server_learning_rate": 1.0},
    "FedAdam": {"server_learning_rate": 0.03},
    "FedYogi": {"server_learning_rate": 0.03},
    "FedAdagrad": {"server_learning_rate": 0.1},
    "FedNova": {"usual_steps": 16.0},
}
TOLD = {"crypten": {"options": {"norm_bound_milli": 30_000}}}
"""What a backend has to be told beyond what is usual."""


def table():
    """Visits to a doctor, standardised features with a constant, and each row's plan."""
    from statsmodels.datasets import randhie

    rows = randhie.load_pandas().data
    plans = (rows["lncoins"].round(2).map(lambda rate: f"plan-{round(np.expm1(rate)):02}")).to_numpy()
    features = rows.drop(columns=["mdvis", "lncoins"]).to_numpy(np.float64)
    features = (features - features.mean(axis=0)) / features.std(
        axis=0
    )  # public ranges, as a federation would agree on
    return np.column_stack([np.ones(len(rows)), features]), rows["mdvis"].to_numpy(np.float64), plans


def pooled(features, visits):
    """Coefficients of statsmodels' own fit of all rows in one place."""
    import statsmodels.api as sm

    return sm.GLM(visits, features, family=sm.families.Poisson()).fit().params


def deviance(model, features, visits):
    """Mean Poisson deviance."""
    rate = np.exp(features @ model)
    logs = np.where(visits > 0, visits * np.log(np.where(visits > 0, visits, 1.0) / rate), 0.0)
    return float(2 * (logs - visits + rate).mean())


def client(features, visits, steps):
    def gradient(model):
        return [features.T @ (np.exp(features @ model[0]) - visits) / len(visits)]

    return Client(gradient, lambda _: steps, len(visits))


def federation():
    features, visits, plans = table()
    parts = by_groups(plans)
    clients = {
        # Larger plans have more time for a round: numbers of steps from 4 to 16.
        name: client(
            features[part], visits[part], STEPS * 2 if len(part) > 4000 else STEPS // 2 if len(part) < 1200 else STEPS
        )
        for name, part in parts.items()
    }
    return clients, {name: (features[part], visits[part]) for name, part in parts.items()}, (features, visits)


def made(name):
    scale = {"scale": 1.0, "limit": CLIP} if name == "SCAFFOLD" else {}
    return create(name, rate=RATE, **SETTINGS.get(name, scale))


def weighted(name):
    """The paper's SCAFFOLD counts every plan alike. All take part here, so it can count every row alike too."""
    algorithm = made(name)
    if name != "SCAFFOLD":
        return algorithm
    return type(algorithm)(algorithm.descent, algorithm.server, algorithm.scale, algorithm.limit, weighted=True)


def plot(figures, path):
    figure = pictures.begin(11, 4.2)
    left, right = figure.subplots(1, 2)
    pictures.dress(left, right)
    for name, curve in figures["distance"].items():
        left.semilogy(range(1, len(curve) + 1), curve, label=name)
    left.set_xlabel("round")
    left.set_ylabel("largest difference from the pooled coefficients")
    left.legend(fontsize=8)
    names = sorted(figures["share_of_bound"])
    right.barh(names, [max(figures["share_of_bound"][name].values()) for name in names])
    right.axvline(1.0, color="black", linestyle=":")
    right.set_xlabel("largest |secure − plain|, as a share of the record's bound")
    pictures.save(figure, path)


def main(arguments=None):
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("output", type=Path, help="folder for the figures and the plot")
    options.add_argument("--rounds", type=int, default=60)
    options.add_argument("--backends", nargs="+", choices=backends.names(), default=backends.names())
    asked = options.parse_args(arguments)
    extras.require("examples")
    asked.output.mkdir(parents=True, exist_ok=True)
    clients, own, everything = federation()
    best = pooled(*everything)
    start = [np.zeros(everything[0].shape[1])]
    figures = {"distance": {}, "share_of_bound": {}, "sizes": {name: len(visits) for name, (_, visits) in own.items()}}

    models = {}
    for name in NAMES:
        algorithm, curve = weighted(name), []

        def watch(state, _, algorithm=algorithm, curve=curve):
            curve.append(float(np.abs(algorithm.model(state.shared)[0] - best).max()))

        compared = Compared(secure_mean(clip=CLIP, task="visits"))
        secure = algorithm.model(train(algorithm, start, clients, asked.rounds, compared, watch=watch).shared)[0]
        plain = algorithm.model(train(algorithm, start, clients, asked.rounds, plain_mean).shared)[0]
        figures["distance"][name], models[name] = curve, secure
        print(
            f"{name:11} from the pooled fit {curve[-1]:.1e}, secure from plain {np.abs(secure - plain).max():.1e}, "
            f"rounds at most {max(compared.shares):.0%} of their bounds"
        )

    for backend in asked.backends:
        found = {}
        for name in NAMES:
            compared = Compared(secure_mean(backend=backend, clip=CLIP, **TOLD.get(backend, {})))
            train(weighted(name), start, clients, 1, compared)
            found[name] = max(compared.shares)
        figures["share_of_bound"][backend] = found
        print(f"{backend:11} every algorithm, one round: at most {max(found.values()):.0%} of the bound")

    # The model's deviance over all rows, from a round in which nobody's own is seen.
    evaluation = Evaluation({"deviance": 50.0}, clip=CLIP)
    told = {name: evaluation.encode({"deviance": deviance(models["SCAFFOLD"], *rows)}) for name, rows in own.items()}
    result = aggregate(told, weights={name: len(visits) for name, (_, visits) in own.items()}, clip=CLIP)
    figures["deviance"] = evaluation.decode(result.average, result.record)["deviance"]
    figures["deviance_pooled"] = deviance(models["SCAFFOLD"], *everything)
    print(f"mean deviance {figures['deviance']:.6f} by a secure round, {figures['deviance_pooled']:.6f} in one place")
    (asked.output / "health-insurance.json").write_text(json.dumps(figures, indent=1))
    plot(figures, asked.output / "health-insurance.png")
    return figures


if __name__ == "__main__":
    main()
