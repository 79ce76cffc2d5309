"""Trains on data of your own: arrays in an .npz file, here wines by their chemistry.

Run it from any folder: python own_data.py (needs scikit-learn)
"""

import numpy as np
from sklearn.datasets import load_wine

import ccenv
from ccenv.runs.api import Run


def write_data(path: str) -> None:
    """Writes the four arrays that a data set needs; training inputs have mean 0 and deviation 1."""
    inputs, labels = load_wine(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(inputs))
    train, test = order[:120], order[120:]
    scaled = (inputs - inputs[train].mean(axis=0)) / inputs[train].std(axis=0)
    scaled = scaled.astype(np.float32)
    np.savez(
        path,
        x_train=scaled[train],
        y_train=labels[train],
        x_test=scaled[test],
        y_test=labels[test],
    )


def main(images: int = 20_000) -> Run:
    """Trains the network and, on top of it, a policy that chooses among its blocks."""
    write_data("wine.npz")
    return ccenv.train("reinforce", dataset="./wine.npz", num_blocks=[8], images=images)


if __name__ == "__main__":
    print(main())
