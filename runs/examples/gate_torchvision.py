"""Gates the residual units of a torchvision model, and trains a policy that skips them by input.

Run it from any folder: python gate_torchvision.py (needs scikit-learn)
"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

import ccenv
from ccenv.agents.reinforce import Reinforce
from ccenv.simulator.evaluate import Evaluation

UNITS = {"layer1.1": "unit", "layer2.1": "unit", "layer3.1": "unit"}
"""Children that a mask may skip: units whose input and output have one shape."""


def digits(side: int, most: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Digits as colour images of a side, in two splits."""
    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).float().view(-1, 1, 8, 8) / 16
    images = nn.functional.interpolate(images, side).repeat(1, 3, 1, 1)[:most]
    answers = torch.from_numpy(labels)[:most]
    cut = len(images) * 2 // 3
    return {"train": (images[:cut], answers[:cut]), "test": (images[cut:], answers[cut:])}


def train_model(model: nn.Module, images: Tensor, labels: Tensor, epochs: int) -> None:
    """Trains the whole model as usual; ccenv changes nothing in it."""
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()


def main(epochs: int = 4, images: int = 12_000, side: int = 16, most: int = 1797) -> Evaluation:
    """Trains model and policy, and judges greedy masks on test images."""
    torch.manual_seed(0)
    data = digits(side, most)
    model = ResNet(BasicBlock, [2, 2, 2, 1], num_classes=10)
    train_model(model, *data["train"], epochs)
    network = ccenv.gate(model, UNITS, data["train"][0][:1])
    env = ccenv.BlockSelectionVectorEnv(
        64,
        dataset=data,
        network=network,
        weights="cotrain",  # the model goes on learning, with units skipped
        observation="summary",
        reward="nll_minus_cost",
    )
    env.reset(seed=0)
    agent = Reinforce(env, seed=0, learning_rate=0.02)
    agent.learn(images)
    return ccenv.evaluate(env, agent, deterministic=True)


if __name__ == "__main__":
    print(main())
