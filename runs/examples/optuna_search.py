"""Searches settings by Optuna: error and cost on validation inputs -> a Pareto front.

Run it from any folder: pip install optuna, then python optuna_search.py
"""

import optuna

import ccenv


def objectives(trial: optuna.Trial, images: int, log_dir: str) -> tuple[float, float]:
    """Trains one run, and takes its last verdict on validation inputs; test inputs are kept."""
    run = ccenv.train(
        "reinforce",
        learning_rate=trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True),
        reward_kwargs={"cost_weight": trial.suggest_float("cost_weight", 0.1, 10, log=True)},
        images=images,
        log_dir=log_dir,
    )
    last = run.result["curve"][-1]
    return last["error"], last["total_cost"]


def main(
    trials: int = 30, images: int = 20_000, log_dir: str = "runs/searches"
) -> list[optuna.trial.FrozenTrial]:
    """The trials that no other beats; killed, it goes on, and other processes may join it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="search",
        storage="sqlite:///search.db",
        load_if_exists=True,
        directions=["minimize", "minimize"],
    )
    study.optimize(lambda trial: objectives(trial, images, log_dir), n_trials=trials)
    return study.best_trials


if __name__ == "__main__":
    for best in main():
        print(best.values, best.params)
