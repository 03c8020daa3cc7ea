"""How restless a share will be next month: a variance model shared by ten tickers, each with a level of its own.

Monthly prices since 1990 ship in matplotlib. Whoever holds a ticker's history is a client. Shared is how restlessness
persists; a layer stays with its client, how restless its own ticker is: it never leaves, and no round sums it.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from secure_agg import extras, pictures
from secure_agg.fl.algorithms.named import create
from secure_agg.fl.algorithms.training import Compared, plain_mean, secure_mean
from secure_agg.fl.layers import Layers

LAGS = (1, 6)
"""Months that the model looks back: with one the level of a ticker has to be learnt, six tell most of it."""
RATE = 0.1
STEPS = 10
CLIP = 4.0


def histories():
    """Ticker to its monthly log returns, as long as it was listed."""
    from matplotlib import cbook

    with cbook.get_sample_data("Stocks.csv") as file:
        lines = [line if isinstance(line, str) else line.decode() for line in file]
    names = lines[1].strip().split(",")[1:]
    prices = np.array([[float(cell or "nan") for cell in line.strip().split(",")[1:]] for line in lines[2:]])
    returns = {}
    for name, column in zip(names, prices.T, strict=True):
        steps = np.diff(np.log(column[np.isfinite(column)]))
        returns[name.strip("^").lower()] = steps[np.isfinite(steps)]
    return returns


def first_model(lags):
    return {"memory.weight": np.zeros(lags), "level.bias": np.full(1, np.log(0.01))}


def samples(returns, lags):
    """Features, how large the last returns were, against ten per cent; and the squares to predict."""
    sizes = np.abs(returns) / 0.1
    features = np.stack([sizes[lags - lag - 1 : len(sizes) - lag - 1] for lag in range(lags)], axis=1)
    return features, returns[lags:] ** 2


def loss(named, features, squares):
    """Mean negative log-likelihood of a normal return, but for its constant: (log v + r²/v)/2, log v = a + w·x."""
    logs = features @ named["memory.weight"] + named["level.bias"][0]
    return float(0.5 * (logs + squares * np.exp(-logs)).mean())


def slope(named, features, squares):
    logs = features @ named["memory.weight"] + named["level.bias"][0]
    push = 0.5 * (1 - squares * np.exp(-logs)) / len(squares)
    return {"memory.weight": features.T @ push, "level.bias": np.array([push.sum()])}


def run(rounds, lags, own, average):
    """Held-out loss after each round, the mean over tickers, whose last quarter is held out."""
    algorithm, start = create("FedAvg", rate=RATE), first_model(lags)
    data = {}
    for name, returns in histories().items():
        features, squares = samples(returns, lags)
        cut = len(squares) * 3 // 4
        data[name] = ((features[:cut], squares[:cut]), (features[cut:], squares[cut:]))
    layers = Layers.of(start, own)
    models = {name: {key: value.copy() for key, value in start.items()} for name in data}
    state = algorithm.begin(layers.floats(start))
    curve = []
    for number in range(rounds):
        updates, trained = {}, {}
        for name, (rows, _) in data.items():
            named = layers.restore(models[name], state.shared)
            for _ in range(STEPS):  # a loop of one's own: layers that stay and layers that leave are trained alike
                down = slope(named, *rows)
                named = {key: value - RATE * down[key] for key, value in named.items()}
            trained[name] = named
            updates[name] = algorithm.finish(state.shared, (), layers.floats(named), STEPS).update
        weights = {name: len(rows[1]) for name, (rows, _) in data.items()}
        mean = average(number, updates, weights, state)
        state = algorithm.advance(state, mean.average)
        models = {name: layers.restore(named, state.shared) for name, named in trained.items()}
        curve.append(float(np.mean([loss(models[name], *held) for name, (_, held) in data.items()])))
    return curve, models


def plot(figures, path):
    figure = pictures.begin(11, 4.2)
    left, right = figure.subplots(1, 2)
    pictures.dress(left, right)
    for label, curve in figures["loss"].items():
        left.plot(range(1, len(curve) + 1), curve, label=label)
    left.set_xlabel("round")
    left.set_ylabel("held-out loss, mean over tickers")
    left.legend()
    names = sorted(figures["levels"], key=figures["levels"].get)
    right.barh(names, [100 * np.sqrt(np.exp(figures["levels"][name])) for name in names])
    right.set_xlabel("own level: monthly volatility of quiet times, %")
    pictures.save(figure, path)


def main(arguments=None):
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("output", type=Path, help="folder for the figures and the plot")
    options.add_argument("--rounds", type=int, default=80)
    asked = options.parse_args(arguments)
    extras.require("examples")
    asked.output.mkdir(parents=True, exist_ok=True)
    figures = {"loss": {}}
    for lags in LAGS:
        for word, own in (("all shared", ()), ("level kept", ("level.*",))):
            compared = Compared(secure_mean(clip=CLIP, task="returns"))
            curve, found = run(asked.rounds, lags, own, compared)
            plain, _ = run(asked.rounds, lags, own, plain_mean)
            label = f"{word}, {lags} months back"
            figures["loss"][label] = curve
            if own and lags == LAGS[0]:
                models = found
            print(
                f"{label}: held-out loss {curve[-1]:.4f}, plain {plain[-1]:.4f}, "
                f"rounds at most {max(compared.shares):.0%} of their bounds"
            )
    figures["levels"] = {name: float(model["level.bias"][0]) for name, model in models.items()}
    (asked.output / "returns.json").write_text(json.dumps(figures, indent=1))
    plot(figures, asked.output / "returns.png")
    return figures


if __name__ == "__main__":
    main()
