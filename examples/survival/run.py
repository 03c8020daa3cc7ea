"""How long governments last: a Weibull regression on 1,808 regimes, one client for each continent.

The data ship in lifelines, which also fits the same model on all rows in one place: what a federation should come to.
Rows whose regime had not ended are censored: the likelihood takes them as they are.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from secure_agg import extras, pictures
from secure_agg.fl.algorithms.named import create
from secure_agg.fl.algorithms.scaffold import Scaffold
from secure_agg.fl.algorithms.training import Client, Compared, plain_mean, secure_mean, train
from secure_agg.fl.partitions import by_groups

RATE = 0.1
STEPS = 10
CLIP = 4.0
FEATURES = ("democracy", "year", "constant")


def table():
    """Durations in years, whether the end was seen, features, and each row's continent."""
    from lifelines.datasets import load_dd

    rows = load_dd()
    year = (rows["start_year"] - 1980) / 20
    features = np.column_stack([rows["democracy"] == "Democracy", year, np.ones(len(rows))]).astype(np.float64)
    return rows["duration"].to_numpy(float), rows["observed"].to_numpy(float), features, rows["un_continent_name"]


def pooled(durations, ended, features):
    """Coefficients of lifelines' own fit of all rows in one place, and log of the shape."""
    import pandas as pd
    from lifelines import WeibullAFTFitter

    frame = pd.DataFrame({"years": durations, "ended": ended, "democracy": features[:, 0], "year": features[:, 1]})
    fitted = WeibullAFTFitter().fit(frame, "years", "ended").params_
    return np.array(
        [fitted[("lambda_", each)] for each in ("democracy", "year", "Intercept")] + [fitted[("rho_", "Intercept")]]
    )


def client(durations, ended, features):
    """Mean negative log-likelihood of h = e^k·(log t − b·x): (t/λ)^ρ − δ·(log ρ + ρ·log(t/λ)), ρ = e^k, log λ = b·x."""

    def gradient(model):
        slopes, (shape,) = model
        spread = np.exp(shape)
        ratio = np.log(durations) - features @ slopes
        hazard = np.exp(spread * ratio)
        push = spread * (ended - hazard)
        return [features.T @ push / len(ended), np.array([(ratio * spread * (hazard - ended) - ended).mean()])]

    return Client(gradient, lambda _: STEPS, len(ended))


def plot(figures, path):
    figure = pictures.begin(11, 4.2)
    left, right = figure.subplots(1, 2)
    pictures.dress(left, right)
    for name, curve in figures["distance"].items():
        left.semilogy(range(1, len(curve) + 1), curve, label=name)
    left.set_xlabel("round")
    left.set_ylabel("largest difference from lifelines' pooled fit")
    left.legend()
    years = np.linspace(0.1, 20, 100)
    *slopes, shape = figures["model"]
    for label, democracy in (("democracy", 1.0), ("dictatorship", 0.0)):
        scale = np.exp(np.dot(slopes, [democracy, 0.0, 1.0]))
        right.plot(years, np.exp(-((years / scale) ** np.exp(shape))), label=f"{label}, 1980")
    right.set_xlabel("years")
    right.set_ylabel("governments still there, by the secure model")
    right.legend()
    pictures.save(figure, path)


def main(arguments=None):
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("output", type=Path, help="folder for the figures and the plot")
    options.add_argument("--rounds", type=int, default=120)
    asked = options.parse_args(arguments)
    extras.require("examples")
    asked.output.mkdir(parents=True, exist_ok=True)
    durations, ended, features, continents = table()
    best = pooled(durations, ended, features)
    clients = {
        name.lower(): client(durations[part], ended[part], features[part])
        for name, part in by_groups(continents).items()
    }
    start = [np.array([0.0, 0.0, np.log(durations.mean())]), np.zeros(1)]
    figures = {"distance": {}, "pooled": best.tolist(), "sizes": {name: each.weight for name, each in clients.items()}}
    average = create("FedAvg", rate=RATE)
    # All take part in every round, so SCAFFOLD may count every row alike too.
    for name, algorithm in (("FedAvg", average), ("SCAFFOLD", Scaffold(average.descent, limit=CLIP, weighted=True))):
        curve = []

        def watch(state, _, algorithm=algorithm, curve=curve):
            curve.append(float(np.abs(np.concatenate(algorithm.model(state.shared)) - best).max()))

        compared = Compared(secure_mean(clip=CLIP, task="regimes"))
        secure = algorithm.model(train(algorithm, start, clients, asked.rounds, compared, watch=watch).shared)
        plain = algorithm.model(train(algorithm, start, clients, asked.rounds, plain_mean).shared)
        figures["distance"][name] = curve
        figures["model"] = np.concatenate(secure).tolist()
        gap = max(float(np.abs(one - other).max()) for one, other in zip(secure, plain, strict=True))
        print(
            f"{name:9} from the pooled fit {curve[-1]:.1e}, secure from plain {gap:.1e}, "
            f"rounds at most {max(compared.shares):.0%} of their bounds"
        )
    for label, ours, theirs in zip((*FEATURES, "log shape"), figures["model"], best, strict=True):
        print(f"{label:9} {ours:+.4f} federated, {theirs:+.4f} pooled")
    (asked.output / "survival.json").write_text(json.dumps(figures, indent=1))
    plot(figures, asked.output / "survival.png")
    return figures


if __name__ == "__main__":
    main()
