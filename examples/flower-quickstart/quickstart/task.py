"""quickstart: the model, its data, and how it is trained."""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """A small convolutional network for images of 8 by 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * 4 * 4, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def first_model() -> dict[str, torch.Tensor]:
    """What training starts from: the same for everybody who makes it, so that every node's owner can pin it."""
    torch.manual_seed(0)
    return Net().state_dict()


def load_data(partition: int, partitions: int) -> tuple[DataLoader, DataLoader]:
    """This node's own part of the digits, for training and for testing."""
    digits = load_digits()
    images, labels = digits.images[partition::partitions], digits.target[partition::partitions]
    split = train_test_split(images, labels, test_size=0.2, random_state=0)
    x_train, x_test = (torch.tensor(x, dtype=torch.float32).unsqueeze(1) / 16 for x in split[:2])
    y_train, y_test = (torch.tensor(y) for y in split[2:])
    return (
        DataLoader(TensorDataset(x_train, y_train), batch_size=32, shuffle=True),
        DataLoader(TensorDataset(x_test, y_test), batch_size=32),
    )


def train(net: Net, data: DataLoader, epochs: int, learning_rate: float) -> float:
    """Train in place; the mean loss of the last epoch."""
    optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate, momentum=0.9)
    net.train()
    total = 0.0
    for _ in range(epochs):
        total = 0.0
        for x, y in data:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
    return total / len(data.dataset)


def test(net: Net, data: DataLoader) -> tuple[float, float]:
    """Mean loss and accuracy."""
    net.eval()
    loss, right = 0.0, 0
    with torch.no_grad():
        for x, y in data:
            scores = net(x)
            loss += nn.functional.cross_entropy(scores, y, reduction="sum").item()
            right += int((scores.argmax(1) == y).sum())
    return loss / len(data.dataset), right / len(data.dataset)
