"""Models as users write them, and units of each that `ccenv.gate` takes."""

import torch
import torchvision
from torch import nn


class Residual(nn.Module):
    """A unit with its shortcut inside."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.body = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x):
        return x + self.body(self.norm(x)).tanh()


class Wired(nn.Module):
    """Functional reuse, tuples, dicts, a buffer, sizes, branches that live across gates."""

    def __init__(self, width=8, classes=3):
        super().__init__()
        self.first, self.wide = Residual(width), nn.Linear(width, 2 * width)
        self.left, self.right = nn.Linear(width, width), nn.Linear(width, width)
        self.register_buffer("scale", torch.tensor(0.5))
        self.offset = nn.Parameter(torch.randn(width))
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x):
        batch, size = x.shape
        kept = {"input": x * self.scale, "sum": x.sum(1, keepdim=True)}
        x = self.first(x)
        parts = self.wide(x).chunk(2, dim=1)
        if size > 4:
            x = parts[0].relu() + kept["input"]
        x = x + self.left(x) + torch.arange(size, device=x.device).to(x.dtype)
        y = self.right(x + self.offset) * kept["sum"]
        return self.head(torch.cat([y, parts[1]], dim=1).reshape(batch, -1).relu_())


class Block(nn.Module):
    """A pre-norm transformer layer whose sums are outside of its branches."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU())
        self.mlp.append(nn.Linear(2 * width, width))

    def attend(self, x):
        batch, tokens, width = x.shape
        parts = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
        y = nn.functional.scaled_dot_product_attention(*parts.permute(2, 0, 3, 1, 4))
        return self.out(y.transpose(1, 2).reshape(batch, tokens, width))

    def forward(self, x):
        x = x + self.attend(self.norm(x))
        return x + self.mlp(x)


class Encoder(nn.Module):
    """Tokens -> classes, with a class token."""

    def __init__(self, layers, width=16, classes=4):
        super().__init__()
        self.embed, self.layers = nn.Embedding(20, width), nn.ModuleList(layers)
        self.token, self.head = nn.Parameter(torch.randn(1, 1, width)), nn.Linear(width, classes)

    def forward(self, tokens):
        x = torch.cat([self.token.expand(len(tokens), -1, -1), self.embed(tokens)], dim=1)
        for layer in self.layers:
            x = layer(x)
        return self.head(x[:, 0])


class Stock(nn.Module):
    """torch's own transformer, with the batch first or second."""

    def __init__(self, batch_first):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=batch_first)
        self.embed, self.head = nn.Embedding(20, 16), nn.Linear(16, 4)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.sequence = 1 if batch_first else 0

    def forward(self, tokens):
        x = self.embed(tokens if self.sequence else tokens.t())
        return self.head(self.encoder(x).mean(self.sequence))


def made(make, *arguments, **settings):
    torch.manual_seed(0)
    return make(*arguments, **settings).eval()


IMAGES, TOKENS = torch.rand(2, 3, 32, 32), torch.arange(10).reshape(2, 5)
VECTORS = torch.linspace(-1, 1, 16).reshape(2, 8)
RESNET = {"layer1.1": "unit", "layer2.0.conv1": "channels:4"}
CASES = {
    "resnet": (
        torchvision.models.ResNet,
        (torchvision.models.resnet.BasicBlock, [2, 1, 1, 1], 5),
        # Its last stage reads maps of more than one pixel: see `test_precision`.
        IMAGES,
        RESNET | {"layer2": "exit"},
    ),
    "wired": (
        Wired,
        (),
        VECTORS,
        {"first": "unit", "wide": "channels:4", "left": "zero", "right": "exit"},
    ),
    "encoder": (
        lambda: Encoder([Block(16, 2) for _ in range(3)]),
        (),
        TOKENS,
        {"layers.0.mlp": "zero", "layers.1": "unit", "layers.2.out": "zero", "layers.0": "exit"},
    ),
    "torch's encoder": (
        Stock,
        (True,),
        TOKENS,
        {"encoder.layers.0": "unit", "encoder.layers.1.linear1": "channels:2"},
    ),
    "batch second": (
        Stock,
        (False,),
        TOKENS,
        {
            "encoder.layers.0.self_attn": "zero",
            "encoder.layers.0": "exit",
            "encoder.layers.1.linear1": "channels:2",
            "encoder.layers.1": "exit",
        },
    ),
}
