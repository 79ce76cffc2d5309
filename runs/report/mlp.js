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

  // masks: one text of 0 and 1 for each gate.
  const run = (network, values, masks) => {
    let x = values;
    let inputs = network.layers[0].inputs;
    const macs = network.layers.map((layer, gate) => {
      const size = network.block_sizes[gate];
      x = linear(layer, x, unit => masks[gate][Math.floor(unit / size)] === "1",
        network.activation);
      const kept = count(masks[gate], size);
      const spent = inputs * kept;
      inputs = kept;
      return spent;
    });
    const last = network.head.length - 1;
    network.head.forEach((layer, index) => {
      x = linear(layer, x, () => true, index === last ? null : network.activation);
      // The head pays for the inputs that were kept, with the last gate.
      macs[macs.length - 1] += (index ? layer.inputs : inputs) * layer.outputs;
    });
    return {logits: [...x], macs};
  };
  return {floats, load, run};
})();
