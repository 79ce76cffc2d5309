"""Counting: what is billed, what is free, and that unknown operations are refused, not free."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

from ccenv.annexes.networks.gating.gate import gate
from ccenv.annexes.networks.gating.gateable import gateable
from ccenv.networks.core.check import check_network
from ccenv.networks.core.count_macs import FURTHER, UncountedError, count, counted
from ccenv.networks.core.exit_state import Exit
from ccenv.networks.core.sequential import GatedSequential

rand = torch.rand


class Around(nn.Module):
    """A layer that may be skipped, and a function behind it."""

    def __init__(self, function):
        super().__init__()
        self.body, self.head, self.function = nn.Linear(8, 8), nn.Linear(8, 3), function

    def forward(self, x):
        return self.head(self.function(x + self.body(x)))


def spectrum(x):
    return torch.fft.fft(x).real


def hidden_product(x):
    """A product with a matrix [8, 8], written as elementwise products and a sum."""
    return (x[:, None] * torch.linspace(0, 1, 64).view(8, 8)).sum(2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (nn.LSTM, {}),
        (nn.LSTM, {"num_layers": 2, "bidirectional": True, "batch_first": True}),
        (nn.LSTM, {"num_layers": 2, "proj_size": 3}),
        (nn.GRU, {"num_layers": 2}),
        (nn.RNN, {"bidirectional": True}),
    ],
)
def test_each_token_meets_each_matrix_of_a_recurrent_layer_once(kind, settings, dtype):
    layer = kind(5, 7, **settings).to(dtype)
    matrices = [p for p in layer.parameters() if p.ndim == 2]
    x = rand(3, 4, 5, dtype=dtype)
    want = 3 * 4 * sum(p.numel() for p in matrices)
    assert counted(layer, x)[0] == want
    # CUDA and ROCm have operations of their own for it, which take all weights as a list.
    shapes = (x.shape, [p.shape for p in layer.parameters()])
    assert FURTHER["_cudnn_rnn"](shapes, None) == FURTHER["miopen_rnn"](shapes, None) == want


@pytest.mark.parametrize(
    ("function", "shapes", "equation"),
    [
        (torch.mv, [(3, 4), (4,)], "ij,j->i"),
        (torch.dot, [(4,), (4,)], "i,i->"),
        (torch.addmv, [(3,), (3, 4), (4,)], "i,ij,j->i"),
        (torch.Tensor.addmv_, [(3,), (3, 4), (4,)], "i,ij,j->i"),
        (torch.addr, [(3, 4), (3,), (4,)], "ij,i,j->ij"),
        (torch.Tensor.addmm_, [(3, 5), (3, 4), (4, 5)], "ik,ij,jk->ik"),
        (torch.addbmm, [(3, 5), (2, 3, 4), (2, 4, 5)], "ik,bij,bjk->ik"),
        (torch.Tensor.baddbmm_, [(2, 3, 5), (2, 3, 4), (2, 4, 5)], "bik,bij,bjk->bik"),
        (torch.cdist, [(40, 5), (30, 5)], "id,jd->ij"),
        (torch.cdist, [(2, 3, 5), (2, 4, 5)], "bid,bjd->bij"),
        (nn.Bilinear(3, 4, 5, bias=False), [(2, 3), (2, 4)], "bi,bj,oij->bo"),
    ],
)
def test_products_of_any_form_cost_the_sizes_of_all_their_indices(function, shapes, equation):
    tensors = [rand(*shape) for shape in shapes]
    weights = [(5, 3, 4)] if isinstance(function, nn.Module) else []
    named = zip(equation.split("->")[0].split(","), [*shapes, *weights], strict=True)
    sizes = {index: n for letters, shape in named for index, n in zip(letters, shape, strict=True)}
    want = 1
    for number in sizes.values():
        want *= number
    assert counted(function, *tensors)[0] == want


@pytest.mark.skipif(not hasattr(F, "grouped_mm"), reason="this torch has no products of groups")
@pytest.mark.parametrize(
    ("one", "other", "matrices"),
    [
        ((8, 4), (3, 4, 12), 1),
        ((3, 8, 4), (4, 12), 1),
        ((8, 4), (4, 12), 1),
        ((3, 8, 4), (3, 4, 12), 3),
    ],
)
def test_of_a_product_of_groups_each_number_meets_its_groups_matrix_alone(one, other, matrices):
    ends = None if matrices == 3 else torch.tensor([0, 4, 4], dtype=torch.int32)
    macs, _ = counted(lambda x, y: F.grouped_mm(x, y, offs=ends), rand(one), rand(other))
    assert macs == matrices * 8 * 4 * 12


WIDE = rand(2, 4, 6, 6)
LAYERS = [
    (nn.Conv2d(4, 4, 3), WIDE),
    (nn.ConvTranspose2d(4, 4, 3), WIDE),
    (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), rand(1, 3, 8)),
    (nn.MultiheadAttention(8, 2), rand(3, 1, 8), rand(3, 1, 8), rand(3, 1, 8)),
    (nn.LSTMCell(4, 3), rand(2, 4)),
    (nn.GRUCell(4, 3), rand(2, 4)),
    (nn.EmbeddingBag(5, 3), torch.zeros(2, 3, dtype=torch.long)),
    (nn.BatchNorm2d(4).eval(), WIDE),
    (nn.InstanceNorm2d(4), WIDE),
    (nn.GroupNorm(2, 4), WIDE),
    (nn.LayerNorm(6), WIDE),
    (nn.RMSNorm(6), WIDE),
    (nn.LocalResponseNorm(2), WIDE),
    *((layer(2), WIDE) for layer in (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)),
    *((layer(2), WIDE) for layer in (nn.AdaptiveMaxPool2d, nn.PixelShuffle, nn.ChannelShuffle)),
    (nn.FractionalMaxPool2d(2, output_size=3), WIDE),
    (nn.LPPool2d(2, 2), WIDE),
    (nn.Unfold(2), WIDE),
    (nn.Fold((4, 4), 2), rand(1, 8, 9)),
    *((layer(1), WIDE) for layer in (nn.ReflectionPad2d, nn.ReplicationPad2d, nn.CircularPad2d)),
    *((nn.Upsample(scale_factor=2, mode=mode), WIDE) for mode in ("nearest", "bilinear")),
    *((layer(), rand(2, 4)) for layer in (nn.ELU, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid)),
    *((layer(), rand(2, 4)) for layer in (nn.PReLU, nn.RReLU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish)),
    *((layer(), rand(2, 4)) for layer in (nn.Softplus, nn.Softsign, nn.Tanhshrink, nn.GLU)),
    *((layer(dim=1), rand(2, 4)) for layer in (nn.Softmax, nn.Softmin, nn.LogSoftmax)),
    *((layer(), rand(2, 4)) for layer in (nn.Dropout, nn.AlphaDropout, nn.ReLU6, nn.Hardtanh)),
    (nn.ReLU(inplace=True), rand(2, 4)),
    (nn.CosineSimilarity(), rand(2, 4), rand(2, 4)),
    (lambda x, grid: F.grid_sample(x, grid, align_corners=False), WIDE, rand(2, 3, 3, 2)),
    (lambda x: x[x > 0.5].sort().values.cumsum(0).unique(), WIDE),
    (lambda x: torch.multinomial(x, 2).float().uniform_() + torch.randn_like(x[:, :2]), rand(2, 4)),
    (lambda x: torch.stack([x, x.roll(1), x.flip(0)]).topk(2).values.tril().var(1), rand(2, 4)),
    (lambda x: torch.cat([x, x]).masked_fill(x.mean() > 0, 1.0).squeeze_().eq_(0), rand(1, 4)),
]


@pytest.mark.parametrize("case", LAYERS, ids=itertools.count())
def test_what_torch_brings_is_counted_or_known_to_be_free(case):
    count(*case)


def test_a_model_with_an_operation_that_nobody_knows_is_refused_by_name():
    model, x = Around(spectrum).eval(), rand(2, 8)
    for ask in (lambda: gate(model, {"body": "zero"}, x), lambda: counted(model, x)):
        with pytest.raises(UncountedError, match=r"got aten\._fft_r2c.*register_flop_formula"):
            ask()
    inner = nn.Sequential(nn.Linear(8, 8), Around(spectrum))
    with pytest.raises(UncountedError, match=r"aten\._fft_r2c in Around"):
        gateable(inner, x)


def test_check_network_refuses_a_bill_that_cannot_be_counted():
    network = GatedSequential(
        nn.Linear(8, 8),
        {"exit": Exit(nn.Linear(8, 3))},
        nn.Linear(8, 3),
        rand(1, 8),
    )
    check_network(network, rand(2, 8))
    network.head = nn.Sequential(Around(spectrum), nn.Linear(3, 3))
    with pytest.raises(UncountedError, match=r"aten\._fft_r2c in Sequential.0"):
        check_network(network, rand(2, 8))


@torch.library.custom_op("ccenv_tests::blur", mutates_args=())
def blur(x: torch.Tensor) -> torch.Tensor:
    """An operation of one's own."""
    return x.clone()


def test_an_operation_of_ones_own_is_billed_by_its_formula():
    model, x = Around(blur).eval(), rand(2, 8)
    with pytest.raises(UncountedError, match=r"got ccenv_tests\.blur"):
        gate(model, {"body": "zero"}, x)
    register_flop_formula(torch.ops.ccenv_tests.blur)(lambda shape, **_: 2 * 10 * shape[-1])
    assert gate(model, {"body": "zero"}, x).dense_macs == 8 * 8 + 10 * 8 + 8 * 3


def test_elementwise_products_are_not_billed_but_named_where_they_are_many():
    model, x = Around(hidden_product).eval(), rand(2, 8)
    with pytest.warns(UserWarning, match=r"leave out 64 elementwise products.*aten\.mul: 64"):
        network = gate(model, {"body": "zero"}, x)
    assert network.dense_macs == 8 * 8 + 8 * 3
    with pytest.warns(UserWarning, match=r"aten\.mul: 64"):
        check_network(network, x)


@pytest.mark.filterwarnings("error")
def test_products_with_one_number_and_few_products_are_not_worth_a_warning():
    gate(Around(lambda x: x * 0.5 / x.std()).eval(), {"body": "zero"}, rand(2, 8))
    wide = nn.Sequential(nn.Linear(8, 400), nn.RMSNorm(400), nn.Linear(400, 400))
    assert count(wide, rand(1, 8)).products == {"aten.mul": 800}
    gate(wide, {"2": "unit"}, rand(1, 8))
