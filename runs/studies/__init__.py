"""Studies: name -> one question, the sweep that answers it, and what its report adds.

A sweep's cells are agents with settings, those of `ccenv train`; the sweep's own apply
beneath them. A study of yours is a `Study`, or a bare `Sweep`, in a module of yours: `python -m
runs.compare my_module:MY_STUDY`.
"""

from ccenv.runs.engine.study import Study
from ccenv.runs.stats.measures import BITS
from ccenv.runs.studies.ablation.section import ABLATION
from ccenv.runs.studies.ablation.sweep import RLOO_WHY
from ccenv.runs.studies.at_budgets import at_budgets, at_memory
from ccenv.runs.studies.cost_limits import COST_LIMITS
from ccenv.runs.studies.digits_settings import DIGITS_SETTINGS
from ccenv.runs.studies.equal_cost.colour import (
    EQUAL_COST_CIFAR10,
    EQUAL_COST_MIXED,
    EQUAL_COST_SVHN,
)
from ccenv.runs.studies.equal_cost.mnist import (
    EQUAL_COST_MNIST,
    EQUAL_COST_MNIST_LONGER,
    EQUAL_COST_MNIST_SHIFTED,
)
from ccenv.runs.studies.front_cifar10 import FRONT_CIFAR10
from ccenv.runs.studies.front_mnist import FRONT_MNIST
from ccenv.runs.studies.low_density import LOW_DENSITY_MNIST
from ccenv.runs.studies.paper.searches import (
    PAPER_FRONT,
    PAPER_LAMBDA_S,
    PAPER_LAMBDA_V,
    PAPER_MNIST_DENSITY,
)
from ccenv.runs.studies.paper.sections import FIG_1, FIG_3, FIG_5_7, FIG_5A, FIG_5B
from ccenv.runs.studies.paper.tables import (
    PAPER_CIFAR10,
    PAPER_MNIST,
    PAPER_SVHN,
    PAPER_SVHN_WHOLE,
)
from ccenv.runs.studies.quickstart import (
    DIGITS,
    MNIST_CONDNET,
    MNIST_RLOO,
    QUICKSTART,
    SMOKE,
)
from ccenv.runs.studies.shapings import SHAPINGS, SHAPINGS_MNIST
from ccenv.runs.studies.systems.section import COMPARED
from ccenv.runs.studies.systems.sweep import SYSTEMS_SWEEP
from ccenv.runs.studies.text import TEXT
from ccenv.runs.studies.text_agents import TEXT_AGENTS
from ccenv.runs.studies.text_longer import TEXT_LONGER
from ccenv.runs.studies.text_one_layer import TEXT_ONE_LAYER
from ccenv.runs.studies.text_settings import TEXT_SETTINGS
from ccenv.runs.studies.tuned_section import TUNED

TEXT_BUDGETS = (3_400, 8_800, 20_500, 65_600, 196_700, 409_600)
"""MACs of gated networks of two layers, and of dense ones."""
TEXT_MEMORY = (50, 400, 800, 1_650, 5_260, 26_400)
"""kB of dense networks, then of policies, then of the largest counts."""
LONGER_BUDGETS = (3_400, 8_800, 65_600, 123_000, 196_700)
"""Those of them that are trained four times as long."""
ONE_LAYER_BUDGETS = (6_200, 12_300, 61_440, 122_880)
"""The same of one layer that reads whole windows."""
STUDIES: dict[str, Study] = {
    study.sweep.name: study
    for study in (
        *(
            Study(QUICKSTART),
            Study(DIGITS),
            Study(DIGITS_SETTINGS),
            Study(SMOKE),
            Study(MNIST_RLOO),
        ),
        Study(MNIST_CONDNET, (FIG_1,)),
        *(Study(PAPER_MNIST, (FIG_1,)), Study(PAPER_MNIST_DENSITY, (FIG_5_7,))),
        *(Study(LOW_DENSITY_MNIST), Study(PAPER_CIFAR10)),
        *(Study(PAPER_SVHN), Study(PAPER_SVHN_WHOLE)),
        *(Study(PAPER_LAMBDA_S, (FIG_5A,)), Study(PAPER_LAMBDA_V, (FIG_5B,))),
        Study(PAPER_FRONT, (FIG_3,)),
        *(Study(EQUAL_COST_MNIST), Study(EQUAL_COST_CIFAR10)),
        *(Study(EQUAL_COST_SVHN), Study(EQUAL_COST_MIXED)),
        *(Study(EQUAL_COST_MNIST_LONGER), Study(EQUAL_COST_MNIST_SHIFTED)),
        *(Study(RLOO_WHY, (ABLATION,)), Study(SHAPINGS), Study(SHAPINGS_MNIST), Study(COST_LIMITS)),
        Study(TEXT, (at_budgets(TEXT_BUDGETS, BITS), at_memory(TEXT_MEMORY, BITS))),
        Study(TEXT_ONE_LAYER, (at_budgets(ONE_LAYER_BUDGETS, BITS),)),
        Study(TEXT_LONGER, (at_budgets(LONGER_BUDGETS, BITS),)),
        *(Study(TEXT_SETTINGS), Study(TEXT_AGENTS, (TUNED,))),
        Study(FRONT_MNIST, (at_budgets((2_250, 5_000, 10_600, 18_000)),)),
        Study(FRONT_CIFAR10, (at_budgets((61_000, 157_000, 191_000, 340_000)),)),
        Study(SYSTEMS_SWEEP, (COMPARED,)),
    )
}
