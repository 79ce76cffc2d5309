"""Laws of rows that are gathered from folders."""

from ccenv.runs.engine.collect_runs import in_rows


def test_labels_say_the_reward_and_its_cost_weight_first_whatever_order_settings_came_in():
    def result(weight, images, seed):
        environment = {"reward_kwargs": {"cost_weight": weight}, "reward": f"reward {weight}"}
        settings = {"images": images, "environment": environment}
        return {"agent": "rloo", "seed": seed, "settings": settings}

    results = [result(1, 512, 0), result(2, 256, 0), result(2, 256, 1)]
    turned = [dict(reversed(one.items())) for one in results]
    for one in turned:
        one["settings"] = dict(reversed(one["settings"].items()))
    rows = in_rows(results)
    assert (
        list(rows)
        == list(in_rows(turned))
        == [
            "rloo reward=reward 1 reward_kwargs.cost_weight=1 images=512",
            "rloo reward=reward 2 reward_kwargs.cost_weight=2 images=256",
        ]
    )
    assert [len(found) for found in rows.values()] == [1, 2]
