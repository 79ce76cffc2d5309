// A policy of affine maps that sees a price: (what a gate reads, price) -> mask, most probable.
"use strict";
const ccenvPolicy = (() => {
  const load = policy => ({...policy, gates: policy.gates.map(gate => ({
    ...gate, maps: gate.maps?.map(ccenvMLP.unpacked),
  }))});

  // Shares in [0, 1] of the way from a range's lowest value to its highest, and back to -1 .. 1.
  const scale = (range, value) => range.is_log ? Math.log(value) : value;
  const value = (range, share) => {
    const [low, high] = [range.low, range.high].map(end => scale(range, end));
    const found = low + share * (high - low);
    return range.is_log ? Math.exp(found) : found;
  };
  const place = (range, found) => {
    if (range.low === range.high) return 0;
    const [low, high] = [range.low, range.high].map(end => scale(range, end));
    return 2 * (scale(range, found) - low) / (high - low) - 1;
  };

  // What a policy sees of its context: the place of a price, what is left of a budget.
  const seen = (policy, context, spent) => policy.ranges.map(range => range.name === "budget"
    ? Math.fround(Math.fround(context.budget) - Math.fround(spent / policy.dense_macs))
    : place(range, context[range.name]));

  // Beside that: the layer's input, or the image made small and the norm of each block before.
  const look = (policy, network, gate, x, small) => {
    if (policy.observation === "layer_input") return x;
    if (!gate) return small;
    const size = ccenvMLP.size(network.layers[gate - 1]);
    const norms = Array.from({length: x.length / size}, (_, block) => Math.sqrt(
      x.slice(block * size, (block + 1) * size).reduce((sum, value) => sum + value * value, 0) / size));
    return [...small, ...norms];
  };

  const scores = (gate, x) =>
    gate.scores ?? gate.maps.reduce((values, map) => ccenvMLP.linear(map, values), x);

  const mask = (gate, found) => {
    if (gate.rule === "likely") return Array.from(found, score => score > 0 ? "1" : "0").join("");
    const order = Array.from(found.keys()).sort((a, b) => found[b] - found[a]);
    const kept = new Set(order.slice(0, gate.num_kept));
    return Array.from(found, (_, block) => kept.has(block) ? "1" : "0").join("");
  };

  // Blocks that a budget cannot pay are skipped, those of the highest numbers first.
  const affordable = (policy, network, gate, inputs, spent, chosen, budget) => {
    const limit = Math.floor(Math.fround(budget) * policy.dense_macs);
    const left = limit - spent - policy.least[gate];
    const isPaid = bits => ccenvMLP.macsOf(network, gate, inputs, bits) <= left;
    if (isPaid(chosen)) return chosen;
    return [...chosen].reduce((kept, bit, block) => {
      const more = kept.slice(0, block) + bit + kept.slice(block + 1);
      return isPaid(more) ? more : kept;
    }, "0".repeat(chosen.length));
  };

  // What `ccenvMLP.run` takes for masks. context: name -> price or budget; small: a small image.
  const choose = (policy, network, context, small) => (gate, x, inputs, spent) => {
    const all = [...seen(policy, context, spent), ...look(policy, network, gate, x, small)];
    const chosen = mask(policy.gates[gate], scores(policy.gates[gate], Float64Array.from(all)));
    return context.budget === undefined ? chosen
      : affordable(policy, network, gate, inputs, spent, chosen, context.budget);
  };
  return {choose, load, value};
})();
