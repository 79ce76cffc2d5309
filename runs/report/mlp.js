// A fully connected network in blocks: weights, one input and masks -> logits and MACs of each gate.
"use strict";
const ccenvMLP = (() => {
  const floats = text => {
    const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Float32Array.from({length: bytes.length / 4}, (_, i) => view.getFloat32(4 * i, true));
  };
  const ACTIVATIONS = {tanh: Math.tanh, relu: x => Math.max(0, x)};
  const unpacked = layer => ({...layer, weight: floats(layer.weight), bias: floats(layer.bias)});

  // Weights as the page holds them -> the same with arrays of numbers, made once.
  const load = network => ({
    ...network, layers: network.layers.map(unpacked), head: network.head.map(unpacked),
  });

  // act(W x + b) of the units that are kept; the others are not computed, and zero.
  const linear = (layer, x, isKept, activation) => {
    const y = new Float64Array(layer.outputs);
    for (let unit = 0; unit < layer.outputs; unit++) {
      if (!isKept(unit)) continue;
      let sum = layer.bias[unit];
      const row = unit * layer.inputs;
      for (let i = 0; i < layer.inputs; i++) sum += layer.weight[row + i] * x[i];
      y[unit] = activation ? ACTIVATIONS[activation](sum) : sum;
    }
    return y;
  };

  const count = (mask, size) => size * [...mask].filter(bit => bit === "1").length;

  // MACs of a gate under a mask; the head pays for the inputs that were kept, with the last gate.
  const macsOf = (network, gate, inputs, mask) => {
    const kept = count(mask, network.block_sizes[gate]);
    const heads = gate === network.layers.length - 1 ? network.head : [];
    return heads.reduce((macs, layer, index) => macs + (index ? layer.inputs : kept) * layer.outputs,
      inputs * kept);
  };

  // masks: one text of 0 and 1 for each gate, or what makes one of (gate, what it reads, inputs
  // that were kept, MACs so far).
  const run = (network, values, masks) => {
    const choose = typeof masks === "function" ? masks : gate => masks[gate];
    const chosen = [];
    const macs = [];
    let x = values;
    let inputs = network.layers[0].inputs;
    network.layers.forEach((layer, gate) => {
      const size = network.block_sizes[gate];
      const mask = choose(gate, x, inputs, macs.reduce((a, b) => a + b, 0));
      x = linear(layer, x, unit => mask[Math.floor(unit / size)] === "1", network.activation);
      macs.push(macsOf(network, gate, inputs, mask));
      chosen.push(mask);
      inputs = count(mask, size);
    });
    const last = network.head.length - 1;
    network.head.forEach((layer, index) => {
      x = linear(layer, x, () => true, index === last ? null : network.activation);
    });
    return {logits: [...x], macs, masks: chosen};
  };
  return {floats, linear, load, macsOf, run, unpacked};
})();
