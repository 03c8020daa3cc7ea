"""What a round costs where models are large: 25 million parameters in full, and an adapter of a few thousand.

``full`` trains a network of 25 million parameters on MNIST digits over three clients, by FedAvg. ``adapter`` builds a
small transformer over characters, trains it on one library's documentation in one place, as a public model would be,
and then only a LoRA adapter (Hu et al. 2021, arXiv:2106.09685) of it, over clients who each hold another library's.
Everything ships in packages. Seconds and bytes are of this machine; every round's mean is compared with the plain one.
"""

import argparse
import importlib
import inspect
import json
import pkgutil
import resource
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from secure_agg import extras, pictures
from secure_agg.fl import datasets
from secure_agg.fl.algorithms.algorithm import State
from secure_agg.fl.algorithms.named import create
from secure_agg.fl.algorithms.torch_gradients import Correction
from secure_agg.fl.algorithms.training import plain_mean
from secure_agg.fl.torch_state import TorchState
from secure_agg.local.aggregate import aggregate

CLIP = 1.0


# --- what is trained ---------------------------------------------------------------------------------------------


def full_model(width):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 5 * width // 4), nn.ReLU(), nn.Linear(5 * width // 4, 10)
    )


def digits(clients):
    samples = datasets.mnist()
    order = np.random.default_rng(1).permutation(len(samples))
    images, labels = torch.from_numpy(samples.features[order]), torch.from_numpy(samples.labels[order])
    return {f"c{i}": (images[500 + i :: clients], labels[500 + i :: clients]) for i in range(clients)}, (
        images[:500],
        labels[:500],
    )


class Adapted(nn.Module):
    """A linear layer that stays as it is, and what is added to it: x·A·B, B being 0 at first."""

    def __init__(self, base, rank):
        super().__init__()
        self.base = base
        for parameter in base.parameters():
            parameter.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(base.in_features, rank) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(rank, base.out_features))

    def forward(self, x):
        return self.base(x) + x @ self.down @ self.up


class Block(nn.Module):
    def __init__(self, size, heads):
        super().__init__()
        self.heads = heads
        self.norm, self.ask, self.answer = nn.LayerNorm(size), nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.after = nn.LayerNorm(size)
        self.wide = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))

    def forward(self, x):
        batch, length, size = x.shape
        parts = self.ask(self.norm(x)).view(batch, length, 3, self.heads, size // self.heads).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(*parts, is_causal=True)
        x = x + self.answer(mixed.transpose(1, 2).reshape(batch, length, size))
        return x + self.wide(self.after(x))


class Transformer(nn.Module):
    """Over characters: which one comes next."""

    def __init__(self, letters, size=128, blocks=4, heads=4, length=64):
        super().__init__()
        self.letters, self.places = nn.Embedding(letters, size), nn.Embedding(length, size)
        self.blocks = nn.Sequential(*(Block(size, heads) for _ in range(blocks)))
        self.norm, self.scores = nn.LayerNorm(size), nn.Linear(size, letters)

    def forward(self, text):
        x = self.letters(text) + self.places.weight[: text.shape[1]]
        return self.scores(self.norm(self.blocks(x)))

    def adapt(self, rank):
        """Adapters beside every attention's questions, and nothing else is trained."""
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        for block in self.blocks:
            block.ask = Adapted(block.ask, rank)


ALPHABET = "\n" + "".join(map(chr, range(32, 127)))


def documentation(package, most=200_000):
    """A library's docstrings, as places in ``ALPHABET``."""
    top = importlib.import_module(package)
    texts = [inspect.getdoc(top) or ""]
    for info in pkgutil.iter_modules(top.__path__):
        if sum(map(len, texts)) > most:
            break
        if info.name.startswith("_") or info.name in ("tests", "conftest", "setup"):
            continue
        try:
            module = importlib.import_module(f"{package}.{info.name}")
        except Exception:  # noqa: S112 - a part that needs what is not installed
            continue
        for _, thing in sorted(vars(module).items(), key=lambda item: item[0]):
            if getattr(thing, "__module__", "").startswith(package) and (text := inspect.getdoc(thing)):
                texts.append(text)
    places = {letter: place for place, letter in enumerate(ALPHABET)}
    return torch.tensor([places[letter] for letter in "\n".join(texts)[:most] if letter in places])


def windows(text, count, length, seed):
    starts = np.random.default_rng(seed).integers(0, len(text) - length - 1, count)
    return torch.stack([text[start : start + length + 1] for start in starts])


def surprise(model, rows):
    scores = model(rows[:, :-1])
    return nn.functional.cross_entropy(scores.reshape(-1, scores.shape[-1]), rows[:, 1:].reshape(-1))


# --- federated training, in a loop of one's own ------------------------------------------------------------------


def federated(model, algorithm, batches, rounds, own=(), watch=None):
    """Rounds in which every client trains its copy; figures of each."""
    start = TorchState.of(model.state_dict(), own=own)
    state, figures = State(algorithm.begin(start.arrays).shared), []
    for number in range(rounds):
        updates, trained_s = {}, 0.0
        for name, batch in batches.items():
            began = time.perf_counter()
            model.load_state_dict(start.placed(algorithm.model(state.shared)))
            correct = Correction(model, start, algorithm, state.shared)
            optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=algorithm.descent.rate)
            steps = 0
            for loss in batch(model, number):
                optimizer.zero_grad()
                loss.backward()
                correct()
                optimizer.step()
                steps += 1
            updates[name] = algorithm.finish(state.shared, (), start.trained(model.state_dict()), steps).update
            trained_s += time.perf_counter() - began
        began = time.perf_counter()
        result = aggregate(updates, clip=CLIP, base_model=state.digest, task="large")
        round_s = time.perf_counter() - began
        exact = plain_mean(number, updates, dict.fromkeys(updates, 1))
        gap = max(
            float(np.abs(one - other).max()) for one, other in zip(result.average[:-1], exact.average[:-1], strict=True)
        )
        began = time.perf_counter()
        state = algorithm.advance(state, result.average)
        figures.append(
            {
                "parameters": sum(array.size for array in state.shared),
                "training_s": trained_s,
                "round_s": round_s,
                "step_s": time.perf_counter() - began,
                "gap": gap,
                "share_of_bound": gap / result.record.error_bound,
                "stats": {key: value for key, value in result.stats.items() if key.endswith(("_s", "_bytes"))},
            }
        )
        model.load_state_dict(start.placed(algorithm.model(state.shared)))
        figures[-1]["quality"] = watch(model)
        print({key: value for key, value in figures[-1].items() if key != "stats"}, flush=True)
    return figures


def full(rounds, width=4240):
    data, test = digits(3)
    model = full_model(width)

    def batches_of(images, labels):
        def losses(network, number):
            for i in range(4):
                rows = slice((4 * number + i) * 64 % 1400, (4 * number + i) * 64 % 1400 + 64)
                yield nn.functional.cross_entropy(network(images[rows]), labels[rows])

        return losses

    def accuracy(network):
        with torch.no_grad():
            return float((network(test[0]).argmax(1) == test[1]).float().mean())

    batches = {name: batches_of(*rows) for name, rows in data.items()}
    return {"rounds": federated(model, create("FedAvg", rate=0.1), batches, rounds, watch=accuracy)}


def adapter(rounds, pretraining=300, rank=4, libraries=("matplotlib", "statsmodels", "lifelines", "sklearn")):
    torch.manual_seed(0)
    model = Transformer(len(ALPHABET))
    public = documentation("numpy")
    print(f"a transformer of {sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(pretraining):
        optimizer.zero_grad()
        surprise(model, windows(public, 16, 64, (1, step))).backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"in one place, step {step}", flush=True)
    model.adapt(rank)
    texts = {name: documentation(name) for name in libraries}
    held = {name: windows(text[: len(text) // 5], 32, 64, 7) for name, text in texts.items()}

    def batches_of(text):
        def losses(network, number):
            for i in range(10):
                yield surprise(network, windows(text[len(text) // 5 :], 16, 64, (2, number, i)))

        return losses

    def quality(network):
        with torch.no_grad():
            return float(np.mean([float(surprise(network, rows)) for rows in held.values()]))

    before = quality(model)
    frozen = [name for name in model.state_dict() if not name.endswith((".down", ".up"))]
    batches = {name: batches_of(text) for name, text in texts.items()}
    found = federated(model, create("FedAvg", rate=0.5), batches, rounds, own=frozen, watch=quality)
    return {"before": before, "all_parameters": sum(p.numel() for p in model.parameters()), "rounds": found}


def plot(figures, path):
    figure = pictures.begin(5.5 * len(figures), 4.2)
    sides = figure.subplots(1, len(figures))
    pictures.dress(*np.atleast_1d(sides))
    for side, (name, found) in zip(np.atleast_1d(sides), figures.items(), strict=True):
        quality = [found["before"]] if "before" in found else []
        quality += [each["quality"] for each in found["rounds"]]
        side.plot(range(len(quality)) if "before" in found else range(1, len(quality) + 1), quality, marker="o")
        side.set_title(f"{name}: {found['rounds'][0]['parameters']:,} parameters in each round")
        side.set_xlabel("round")
        side.set_ylabel("held-out accuracy" if name == "full" else "held-out nats per character")
    pictures.save(figure, path)


def main(arguments=None):
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("output", type=Path, help="folder for the figures and the plot")
    options.add_argument("--only", choices=("full", "adapter"))
    options.add_argument("--rounds", type=int)
    options.add_argument("--width", type=int, default=4240, help="of the full model's first layer")
    options.add_argument("--pretraining", type=int, default=300, help="steps of the transformer before it is adapted")
    options.add_argument("--threads", type=int, default=1, help="of PyTorch: few, where the machine has other work")
    asked = options.parse_args(arguments)
    extras.require("examples")
    asked.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(asked.threads)
    figures = {}
    if asked.only != "full":
        figures["adapter"] = adapter(asked.rounds or 10, asked.pretraining)
    if asked.only != "adapter":
        figures["full"] = full(asked.rounds or 3, asked.width)
    figures = {name: figures[name] for name in sorted(figures)}
    (asked.output / "large-models.json").write_text(json.dumps(figures, indent=1))
    plot(figures, asked.output / "large-models.png")
    print(f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
    return figures


if __name__ == "__main__":
    main()
