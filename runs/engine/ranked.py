"""One run by several processes: (plan, ranks) -> its folder and result, which rank 0 writes."""

import dataclasses
from typing import Any

from ccenv.base.ranks import OneProcess, Ranks, RanksError
from ccenv.runs.config.plan import Plan
from ccenv.runs.engine.building import build_agent, torch_settings
from ccenv.runs.engine.distributed import Lead, Order, Watch, take
from ccenv.runs.engine.errors import StoppedError, told_as
from ccenv.runs.engine.run import Options, run


class LeaderStoppedError(RuntimeError):
    """Rank 0 has ended before the run began, and has said why."""


def run_by(ranks: OneProcess, plan: Plan, *, options: Options, **how: Any) -> dict[str, Any] | None:
    """Carries a plan out, by all ranks if there are several.

    Args:
        ranks: `ALONE`, or what torchrun started; every one of them is given the same plans.
        plan: what to do.
        options: see `ccenv.runs.engine.run.run`.
        **how: see there.

    Returns:
        The result on rank 0, None on the others.

    Raises:
        CannotStartError: see there; on rank 0.
        LeaderStoppedError: on the others then.
        StoppedError: if another rank ends, or they come to differ; says from where they can go on.
    """
    if not isinstance(ranks, Ranks):
        return run(plan, options=options, **how)
    try:
        if not ranks.leads:
            follow(ranks, plan)
            return None
        lead = Lead(ranks)
        with lead.at_the_end():
            return run(plan, options=dataclasses.replace(options, lead=lead), **how)
    except RanksError as error:
        raise StoppedError(str(error)) from error


def follow(ranks: Ranks, plan: Plan) -> None:
    """Does what rank 0 tells: learns along with it, and neither judges nor writes anything."""
    with torch_settings(plan.program):
        order: Order | str | None = ranks.tell()
        if isinstance(order, str):
            raise LeaderStoppedError(order)
        if order is None:
            return
        env, agent = build_agent(plan)
        with told_as(StoppedError, plan, (RanksError,), agent):
            take(order, agent)
            Watch(agent, ranks, order.images_done, order.check_every).learn(plan.program.images)
        env.close()
