"""Types of settings, so that editors complete keyword arguments of `ccenv.train`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict


class Settings(TypedDict, total=False):
    """Settings of the program, of the environment and of all agents that ship.

    `ccenv train AGENT --help` says what each means and which an agent takes. An agent of yours may
    take others.
    """

    env: str
    seed: int
    images: int
    batch_size: int
    eval_every: int | None
    keep_best: bool
    cost_limit: float | None
    log_dir: str
    latency: bool | None
    threads: int
    progress: bool
    dataset: str | Callable[[str], Any]
    split: str
    transforms: str | Sequence[str]
    network: Any
    network_kwargs: Mapping[str, Any] | None
    num_blocks: int | Sequence[int]
    block_size: int | Sequence[int]
    head_units: int | Sequence[int]
    activation: str | Callable[..., Any]
    weights: str
    weights_kwargs: Mapping[str, Any] | None
    reward: str | Callable[..., Any]
    reward_kwargs: Mapping[str, Any] | None
    observation: str | Callable[..., Any]
    episode: str
    group_size: int
    device: str
    dtype: str
    context: Mapping[str, Any] | None
    concurrent: str | None
    oblivious: str | int | Sequence[int] | None
    fast_memory: int | None
    shared: str | None
    task: Any
    # Of agents.
    advantage: str
    alpha: float
    anneal: bool
    anneal_share: float
    assignment: str
    balance_weight: float
    balanced: bool
    bias_rate: float
    capacity: float | None
    critic_learning_rate: float
    critic_units: int
    curriculum_share: float
    dense_share: float
    density_weight: float
    diversity_weight: float
    embedding_size: int | Literal["one_hot", "joint"]
    entropy_weight: float
    epsilon: float
    gae_lambda: float
    halting_bias: float
    hashes: int
    hidden_units: int
    importance_weight: float
    initial_multiplier: float
    keep_probability: float
    keys: str
    l2_weight: float
    last_spread: float
    last_temperature: float
    learning_rate: float | Sequence[float] | Callable[[float], float]
    load_weight: float
    max_kept: int | Sequence[int] | None
    measure: str
    menu: str
    min_kept: int | Sequence[int]
    min_probability: float
    multiplier_lr: float
    multiplier_scale: float
    n_critic_updates: int
    n_epochs: int
    noise: float
    noise_share: float
    normalize_advantage: bool
    num_candidates: int
    num_epochs: int
    num_hashed: int
    num_kept: int | Sequence[int] | None
    num_minibatches: int | None
    num_offers: int
    num_search_images: int
    num_sweeps: int
    number_learning_rate: float
    number_units: int
    offset_lr: float
    paired_masks: int
    perturbed_share: float
    perturbed_teach: bool
    policy_kwargs: dict[str, Any] | None
    prior_rate: float
    prior_weight: float
    probes: int
    rehash_every: int
    rehash_growth: float
    reinforce_learning_rate: float | Sequence[float]
    sampling: str
    scaled: bool
    shared_blocks: int
    softmax: str
    sparsity_weight: float | Sequence[float]
    spread: float
    spread_share: float
    start: str
    start_density: float
    start_probability: float
    stop_shares: float | Sequence[float]
    supervised_rate: float
    supervised_share: float
    tables: int
    target_density: float | Sequence[float]
    target_rate: float
    temperature: float
    threshold: float | None
    time_weight: float
    usage_weight: float
    use_rms_prop: bool
    variance_weight: float | Sequence[float]
    variant: str
    warmup_share: float
    window: int
