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
            7.07765e-06, 5.04e-09, 0.0, 0.0, 8.78905e-11, 2.00065e-11,
            2.38848e-11, 0.0, 9.99558e-11, 0.0, 3.04724e-09, 9.70436e-11,
        ),
        DenseCosts(6.37163e-06, 0.0, 2.64701e-11, 7.25036e-11),
    ),
    "forward_tiny": (
        KernelCosts(
            6.70213e-06, 3.44271e-09, 4.52626e-10, 0.0, 2.58465e-11, 4.08824e-11,
            2.45711e-11, 2.0153e-10, 4.21025e-11, 6.08473e-12, 1.35589e-09, 1.66301e-10,
        ),
        DenseCosts(6.99322e-06, 1.51092e-11, 3.01541e-11, 7.03043e-11),
    ),
    "training_few": (
        KernelCosts(
            6.17588e-05, 1.97798e-08, 0.0, 9.92805e-09, 1.54681e-10, 1.29291e-10,
            5.1081e-10, 0.0, 1.50186e-10, 0.0, 5.58498e-09, 0.0,
        ),
        DenseCosts(7.71648e-05, 0.0, 3.95505e-11, 5.75168e-10),
    ),
    "training_many": (
        KernelCosts(
            0.0, 6.11289e-09, 4.07314e-10, 8.64788e-09, 3.15292e-10, 7.33591e-11,
            1.84779e-09, 0.0, 0.0, 1.03148e-07, 0.0, 0.0,
        ),
        DenseCosts(0.0, 2.98988e-09, 6.07428e-11, 1.76203e-09),
    ),
    "training_tiny": (
        KernelCosts(
            4.33854e-05, 0.0, 8.7995e-09, 1.75473e-08, 7.98321e-10, 0.0,
            1.12013e-09, 0.0, 0.0, 0.0, 0.0, 0.0,
        ),
        DenseCosts(3.99883e-05, 0.0, 7.92113e-11, 1.22732e-09),
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
