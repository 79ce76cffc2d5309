"""Prices of layers as they were fitted: (lanes of the machine) -> costs of every kind of pass.

Written from `runs/results/route-costs.json` and `route-costs-8-lanes.json`; seconds, in the order
of the fields of `KernelCosts` and `DenseCosts`.
"""

from ccenv.sparse.layer_costs import DenseCosts, KernelCosts

Parts = dict[str, tuple[KernelCosts, DenseCosts]]
# fmt: off
EIGHT: Parts = {
    "forward": (
        KernelCosts(
            7.01936e-06, 3.60095e-09, 0.0, 3.01201e-09, 1.10188e-10, 1.41198e-11,
            2.25212e-11, 0.0, 9.34753e-11, 0.0, 0.0, 9.43942e-11,
        ),
        DenseCosts(7.06516e-06, 0.0, 2.39272e-11, 6.68167e-11),
    ),
    "forward_tiny": (
        KernelCosts(
            7.07922e-06, 2.11468e-09, 3.43092e-10, 1.79516e-09, 1.99524e-11, 2.67263e-11,
            1.88625e-11, 2.03948e-10, 5.71073e-11, 0.0, 0.0, 1.95263e-10,
        ),
        DenseCosts(7.3758e-06, 5.69819e-11, 2.63428e-11, 6.5626e-11),
    ),
    "training_few": (
        KernelCosts(
            6.96622e-05, 1.43967e-08, 6.95131e-10, 1.70399e-08, 5.30865e-10, 5.64814e-11,
            3.7436e-10, 0.0, 0.0, 0.0, 0.0, 0.0,
        ),
        DenseCosts(8.45925e-05, 0.0, 2.98433e-11, 3.78005e-10),
    ),
    "training_many": (
        KernelCosts(
            9.39909e-06, 1.70645e-08, 4.9454e-11, 6.75777e-09, 4.05339e-10, 4.29848e-11,
            1.30568e-09, 0.0, 0.0, 4.12574e-08, 0.0, 0.0,
        ),
        DenseCosts(0.000105424, 0.0, 7.17422e-11, 6.15119e-10),
    ),
    "training_tiny": (
        KernelCosts(
            8.29488e-05, 5.63323e-10, 6.23305e-09, 0.0, 6.3849e-10, 0.0,
            6.93787e-10, 0.0, 1.86186e-08, 0.0, 0.0, 8.13866e-11,
        ),
        DenseCosts(0.000107601, 8.53448e-10, 7.02023e-11, 3.67083e-10),
    ),
}
SIXTEEN: Parts = {
    "forward": (
        KernelCosts(
            7.01972e-06, 3.52624e-09, 0.0, 0.0, 1.0724e-10, 1.48308e-11,
            2.27421e-11, 0.0, 4.41619e-11, 0.0, 3.52677e-09, 1.20042e-10,
        ),
        DenseCosts(7.04828e-06, 0.0, 2.42601e-11, 6.74977e-11),
    ),
    "forward_tiny": (
        KernelCosts(
            7.11065e-06, 2.12236e-09, 3.56042e-10, 0.0, 1.78364e-11, 2.72351e-11,
            1.8506e-11, 2.05117e-10, 3.0486e-11, 0.0, 1.91425e-09, 1.94748e-10,
        ),
        DenseCosts(7.37232e-06, 6.14824e-11, 2.63086e-11, 6.56781e-11),
    ),
    "training_few": (
        KernelCosts(
            6.55612e-05, 8.45201e-09, 0.0, 1.56233e-08, 6.48886e-10, 6.07658e-11,
            4.07643e-10, 0.0, 0.0, 3.39765e-09, 0.0, 1.28082e-11,
        ),
        DenseCosts(7.81459e-05, 0.0, 3.14597e-11, 4.72341e-10),
    ),
    "training_many": (
        KernelCosts(
            0.0, 1.15852e-08, 3.37774e-10, 3.71617e-09, 3.90742e-10, 4.37273e-11,
            1.70922e-09, 0.0, 0.0, 5.13676e-08, 2.74874e-09, 0.0,
        ),
        DenseCosts(0.000120463, 0.0, 7.08116e-11, 1.01521e-09),
    ),
    "training_tiny": (
        KernelCosts(
            8.29488e-05, 5.63323e-10, 6.23305e-09, 0.0, 6.3849e-10, 0.0,
            6.93787e-10, 0.0, 1.86186e-08, 0.0, 0.0, 8.13866e-11,
        ),
        DenseCosts(0.000107601, 8.53448e-10, 7.02023e-11, 3.67083e-10),
    ),
}
# fmt: on
