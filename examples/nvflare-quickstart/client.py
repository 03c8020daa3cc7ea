"""Softmax regression on this site's part of the digits: a plain NVFlare client, nothing in it is about security."""

import numpy as np
import nvflare.client as flare
from sklearn.datasets import load_digits

SITES = 4
EPOCHS = 5
LEARNING_RATE = 0.5


def load(site: str) -> tuple[np.ndarray, np.ndarray]:
    """This site's images and labels: sites are of unequal size."""
    place = int(site.rpartition("-")[2]) - 1
    images, labels = load_digits(return_X_y=True)
    edges = np.cumsum([0] + [place + 1 for place in range(SITES)]) * len(labels) // sum(range(SITES + 1))
    part = slice(edges[place], edges[place + 1])
    return images[part] / 16.0, labels[part]


def predict(weights: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Probabilities; the last row of ``weights`` is the bias."""
    scores = images @ weights[:-1] + weights[-1]
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def train(weights: np.ndarray, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The weights after some steps of gradient descent."""
    weights = weights.copy()
    for _ in range(EPOCHS):
        error = predict(weights, images) - np.eye(10)[labels]
        weights[:-1] -= LEARNING_RATE * (images.T @ error) / len(labels)
        weights[-1] -= LEARNING_RATE * error.mean(axis=0)
    return weights


def main() -> None:
    flare.init()
    images, labels = load(flare.get_site_name())
    while flare.is_running():
        model = flare.receive()
        weights = model.params["numpy_key"]
        accuracy = float((predict(weights, images).argmax(axis=1) == labels).mean())
        flare.send(
            flare.FLModel(
                params={"numpy_key": train(weights, images, labels)},
                metrics={"accuracy": accuracy},
                meta={"NUM_STEPS_CURRENT_ROUND": len(labels)},
            )
        )


if __name__ == "__main__":
    main()
