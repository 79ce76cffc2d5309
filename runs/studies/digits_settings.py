"""What `digits` uses, chosen: candidates -> the one with the largest reward on validation."""

from itertools import product

from ccenv.runs.plan.sweep import Cell, Sweep

DIGITS_SETTINGS = Sweep(
    name="digits-settings",
    description=(
        "Candidates for the settings that agents use on the digits, judged by the reward on "
        "validation images (1 - error - compute cost at the end of the learning curve), with seeds "
        "that no other sweep uses."
    ),
    settings={"images": 100_000},
    cells=(
        *(
            Cell(
                f"condnet, lambdas {sparsity} and {variance}, rate {rate}",
                "condnet",
                {
                    "target_density": 0.1,
                    "sparsity_weight": float(sparsity),
                    "variance_weight": float(variance),
                    "l2_weight": 0.0,
                    "learning_rate": rate,
                },
            )
            for sparsity, variance, rates in (
                *((s, v, (5e-4, 2e-3, 8e-3)) for s, v in product((50, 200, 800), (25, 100, 400))),
                *((s, v, (2e-3, 8e-3, 3e-2)) for s, v in ((800, 1600), (3200, 400), (3200, 1600))),
            )
            for rate in rates
        ),
        *(
            Cell(f"sb3_a2c, rate {rate}", "sb3_a2c", {"learning_rate": rate})
            for rate in (1e-3, 3e-3, 1e-2, 3e-2)
        ),
        *(
            Cell(
                f"sb3_ppo, {epochs} epochs, rate {rate}",
                "sb3_ppo",
                {"learning_rate": rate, "n_epochs": epochs},
            )
            for epochs, rate in product((1, 2), (1e-3, 3e-3, 1e-2, 3e-2))
        ),
    ),
    minutes=12,
    seeds=(10, 11, 12),
)
