"""A decoder as a user writes one after those of transformers, and it gated at every position."""

import torch
from torch import nn

import ccenv


class Attend(nn.Module):
    """Attention that hands keys and values to a cache."""

    def __init__(self, width, layer):
        super().__init__()
        self.qkv, self.out, self.layer = nn.Linear(width, 3 * width), nn.Linear(width, width), layer

    def forward(self, x, attention_mask=None, past_key_values=None):
        parts = self.qkv(x).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer)
        y = nn.functional.scaled_dot_product_attention(
            query, key, value, attention_mask, is_causal=attention_mask is None
        )
        return self.out(y.transpose(1, 2).flatten(2)), None


class Layer(nn.Module):
    """A layer before whose halves there are norms."""

    def __init__(self, width, number):
        super().__init__()
        self.norm, self.attn = nn.LayerNorm(width), Attend(width, number)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU())
        self.mlp.append(nn.Linear(2 * width, width))

    def forward(self, hidden_states, attention_mask=None, **options):
        y, _ = self.attn(self.norm(hidden_states), attention_mask=attention_mask, **options)
        x = hidden_states + y
        return x + self.mlp(x)


class Writer(nn.Module):
    """Symbols to logits at every position, in a record."""

    def __init__(self, length, symbols, width=8, layers=3):
        super().__init__()
        self.embed, self.places = nn.Embedding(symbols, width), nn.Embedding(length, width)
        self.layers = nn.ModuleList(Layer(width, number) for number in range(layers))
        self.head = nn.Linear(width, symbols)

    def forward(
        self,
        input_ids,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        use_cache=None,
        logits_to_keep=0,
    ):
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        x = self.embed(input_ids) + self.places(position_ids)
        for layer in self.layers:
            x = layer(x, attention_mask=attention_mask, past_key_values=past_key_values)
        return Answer(self.head(x[:, -logits_to_keep:]))


class Answer:
    """What transformers calls a model output."""

    def __init__(self, logits):
        self.logits = logits


def writer(input_shape, num_classes, halves=False):
    """The decoder, its layers or their halves gated at every position."""
    model = Writer(*input_shape, num_classes).eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.5)
    names = [f"layers.{number}" for number in range(len(model.layers))]
    units = dict.fromkeys(names, "unit")
    if halves:
        units = {f"{name}.{part}": "zero" for name in names for part in ("attn", "mlp")}
    example = torch.zeros(1, *input_shape, dtype=torch.int64)
    return ccenv.gate(model, units, example, positions=True)
