"""Accuracy against bytes per parameter: 1,797 digits, skewed over ten clients, by what is sent of each update.

Sixty rounds for each way, through the codec that rounds use, with sums added up in plain integers; then one secure
round of each is compared with such a sum, bit for bit. The digits ship in scikit-learn.
"""

import argparse
import json
import logging
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import secure_agg
from secure_agg import Group, Policy, RoundConfig, extras, pictures
from secure_agg.fl.partitions import by_labels
from secure_agg.protocol.codec import FixedPoint, residual_of, with_residual
from secure_agg.protocol.identity import Identity, Roster

CLIENTS = 10
HIDDEN = 64
BATCH = 32
EPOCHS = 3
RATE = 0.5
WAYS = {
    "float64": None,
    "one clip, 8 bits": {"bits": 8},
    "one clip, 4 bits": {"bits": 4},
    "clips that follow, 8 bits": {"bits": 8, "clip_rule": "adaptive"},
    "clips that follow, 4 bits": {"bits": 4, "clip_rule": "adaptive"},
    "clips that follow, 2 bits": {"bits": 2, "clip_rule": "adaptive"},
    "rotated, 2 bits": {"bits": 2, "clip_rule": "adaptive", "rotated": True},
    "a quarter, 8 bits, no residual": {"bits": 8, "clip_rule": "adaptive", "support": (1, 4)},
    "a quarter, 8 bits": {"bits": 8, "clip_rule": "adaptive", "support": (1, 4)},
    "an eighth, 6 bits": {"bits": 6, "clip_rule": "adaptive", "support": (1, 8)},
    "a sixth, 4 bits, rotated": {"bits": 4, "clip_rule": "adaptive", "support": (1, 6), "rotated": True},
    "a tenth, 8 bits": {"bits": 8, "clip_rule": "adaptive", "support": (1, 10)},
    "a tenth, 4 bits": {"bits": 4, "clip_rule": "adaptive", "support": (1, 10)},
    "a tenth, 2 bits": {"bits": 2, "clip_rule": "adaptive", "support": (1, 10)},
}
FIRST_CLIP = 0.25
ONE_CLIP = 8.0
WEIGHTS = {"max_weight": 1 << 16, "weight_scale": 4, "first_weight": 512}
"""Clients count by their numbers of digits; the limit of a weight follows the mean of the last round."""


def digits(seed):
    """Pixels around 0 and labels: for training, and a fifth held out."""
    features, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    images, labels = features[order] / 16.0 - 0.3, labels[order]
    return (images[360:], labels[360:]), (images[:360], labels[:360])


def first_model(seed):
    rng = np.random.default_rng(seed)
    return [
        rng.normal(size=(64, HIDDEN)) / 8,
        np.zeros(HIDDEN),
        rng.normal(size=(HIDDEN, 10)) / np.sqrt(HIDDEN),
        np.zeros(10),
    ]


def forward(model, images):
    w, b, v, c = model
    hidden = np.maximum(images @ w + b, 0)
    scores = hidden @ v + c
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, powers / powers.sum(axis=1, keepdims=True)


def trained(model, images, labels, rng):
    """What three epochs of a client's own digits make of a model, as a difference."""
    moved = [array.copy() for array in model]
    for _ in range(EPOCHS):
        order = rng.permutation(len(labels))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            hidden, error = forward(moved, images[batch])
            error[np.arange(len(batch)), labels[batch]] -= 1
            error /= len(batch)
            below = (error @ moved[2].T) * (hidden > 0)
            steps = images[batch].T @ below, below.sum(axis=0), hidden.T @ error, error.sum(axis=0)
            for array, step in zip(moved, steps, strict=True):
                array -= RATE * step
    return [new - old for new, old in zip(moved, model, strict=True)]


def group_of(way):
    clip = FIRST_CLIP if way.get("clip_rule") else ONE_CLIP
    return Group(**{"name": "model", "clip": clip, **way})


def roster():
    return Roster({f"client-{i}": Identity.generate(f"client-{i}").public for i in range(CLIENTS)})


def simulate(config, updates, weights, keys):
    """The sum that a secure round would open, and what it decodes to."""
    codec, layout = FixedPoint.of(config), config.layout
    total = np.zeros(layout.committed, np.uint64)
    for update, weight, key in zip(updates, weights, keys, strict=True):
        vector = np.empty(layout.committed, np.uint32)
        codec.encode(update, weight, key, vector)
        total += vector
    sums = total.astype(np.uint32)
    average, weight = codec.decode(sums, len(updates), config.shapes)
    clips = tuple(k for each in codec.next_clips(sums, len(updates)) for k in each)
    return average, weight, clips


def bytes_of(config):
    """Of one client's values on the wire: as many sums of so many clients as fit lie in each word of 64 bits."""
    return sum(-(-run.length // (64 // run.width(CLIENTS))) * 8 for run in config.layout.runs)


def run(name, way, rounds, seed):
    """Accuracy after each round, and bytes per parameter."""
    (images, labels), test = digits(seed)
    parts = by_labels(labels, CLIENTS, 0.1, seed, least=10)
    rng, model, curve, cost = np.random.default_rng(seed), first_model(seed), [], 8.0
    cohort, shapes = roster(), tuple(array.shape for array in model)
    policy = None if way is None else Policy.default(CLIENTS, groups=[group_of(way)], **WEIGHTS)
    residuals, clips, limit = [[] for _ in parts], None, WEIGHTS["first_weight"]
    weights = [len(part) for part in parts]
    for number in range(rounds):
        updates = [trained(model, images[part], labels[part], rng) for part in parts]
        if policy is None:
            mean = [np.average(arrays, axis=0, weights=weights) for arrays in zip(*updates, strict=True)]
        else:
            config = RoundConfig.create(
                task=name,
                round=number,
                policy=policy,
                cohort=cohort,
                shapes=shapes,
                clips=clips,
                weight_limit=limit,
                previous_record=bytes(31) + bytes([number > 0]),
            )
            if not name.endswith("no residual"):
                updates = [with_residual(config, *each) for each in zip(updates, residuals, strict=True)]
                residuals = [residual_of(config, update) for update in updates]
            keys = [rng.bytes(32) for _ in parts]
            mean, weight, clips = simulate(config, updates, weights, keys)
            clips, limit, cost = clips or None, policy.next_weight_limit(CLIENTS, weight), bytes_of(config)
        model = [array + step for array, step in zip(model, mean, strict=True)]
        curve.append(float((forward(model, test[0])[1].argmax(axis=1) == test[1]).mean()))
    parameters = sum(array.size for array in model)
    return curve, cost / parameters if policy else cost


def secure_round_is_the_same(way, seed):
    """Whether a masked round of values that need no rounding gives what is simulated, bit for bit."""
    rng = np.random.default_rng(seed)
    group, names = group_of({name: value for name, value in way.items() if name != "rotated"}), list(roster())
    updates = {name: [group.step * rng.integers(-group.half, group.half + 1, (16, 5))] for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = secure_agg.aggregate(updates, groups=[group], backend="masking")
    found, _, clips = simulate(result.evidence.config, list(updates.values()), [1] * CLIENTS, [bytes(32)] * CLIENTS)
    return found[0].tobytes() == result.average[0].tobytes() and clips == result.record.next_clips


def table(figures):
    rows = [f"{'way':32} {'bytes':>6} {'accuracy':>9} {'spread':>7}"]
    for name, found in figures.items():
        last = found["accuracy"]
        rows.append(f"{name:32} {found['bytes']:6.2f} {np.mean(last):9.3f} {np.std(last):7.3f}")
    return "\n".join(rows) + "\n"


def plot(figures, path):
    figure = pictures.begin(8, 4.8)
    axes = figure.subplots()
    pictures.dress(axes)
    for name, found in figures.items():
        axes.errorbar(found["bytes"], np.mean(found["accuracy"]), np.std(found["accuracy"]), fmt="o", label=name)
    axes.set_xscale("log")
    axes.set_xlabel("bytes per parameter, of ten clients")
    axes.set_ylabel("accuracy on 360 held-out digits")
    axes.legend(fontsize=7, ncols=2)
    pictures.save(figure, path)


def main(arguments=None):
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("output", type=Path, help="folder for the figures, the table and the plot")
    options.add_argument("--rounds", type=int, default=60)
    options.add_argument("--seeds", type=int, default=4)
    options.add_argument("--first-seed", type=int, default=0)
    options.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    asked = options.parse_args(arguments)
    extras.require("examples")
    asked.output.mkdir(parents=True, exist_ok=True)

    figures = {}
    for name in asked.ways:
        way, runs = WAYS[name], [run(name, WAYS[name], asked.rounds, asked.first_seed + i) for i in range(asked.seeds)]
        figures[name] = {
            "bytes": runs[0][1],
            "accuracy": [curve[-1] for curve, _ in runs],
            "curves": [curve for curve, _ in runs],
            "secure_round_is_the_same": way is None or secure_round_is_the_same(way, 1),
        }
        print(f"{name:32} {figures[name]['bytes']:6.2f} B {np.mean(figures[name]['accuracy']):.3f}", flush=True)
    (asked.output / "compression.json").write_text(json.dumps(figures, indent=1))
    (asked.output / "compression.txt").write_text(table(figures))
    plot(figures, asked.output / "compression.png")
    return figures


if __name__ == "__main__":
    logging.getLogger("secure_agg").setLevel(logging.ERROR)
    main()
