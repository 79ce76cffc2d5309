// A fully connected network in blocks: its layers, one input and masks -> logits and MACs of each gate.
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
  const load = network => ({layers: network.layers.map(unpacked)});
  const size = layer => layer.outputs / layer.blocks;

  // act(W x + b) of the units that are kept; the others are not computed, and zero.
  const linear = (layer, x, isKept = () => true) => {
    const y = new Float64Array(layer.outputs);
    for (let unit = 0; unit < layer.outputs; unit++) {
      if (!isKept(unit)) continue;
      let sum = layer.bias[unit];
      const row = unit * layer.inputs;
      for (let i = 0; i < layer.inputs; i++) sum += layer.weight[row + i] * x[i];
      y[unit] = layer.activation ? ACTIVATIONS[layer.activation](sum) : sum;
    }
    return y;
  };

  const count = (mask, layer) => size(layer) * [...mask].filter(bit => bit === "1").length;

  // Layers with blocks are the gates, and come first. MACs of a gate under a mask; what follows the
  // last gate pays for the inputs that were kept, with it.
  const macsOf = (network, gate, inputs, mask) => {
    const kept = count(mask, network.layers[gate]);
    const heads = network.layers[gate + 1].blocks ? [] : network.layers.slice(gate + 1);
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
      if (!layer.blocks) {
        x = linear(layer, x);
        return;
      }
      const mask = choose(gate, x, inputs, macs.reduce((a, b) => a + b, 0));
      x = linear(layer, x, unit => mask[Math.floor(unit / size(layer))] === "1");
      macs.push(macsOf(network, gate, inputs, mask));
      chosen.push(mask);
      inputs = count(mask, layer);
    });
    return {logits: [...x], macs, masks: chosen};
  };
  return {floats, linear, load, macsOf, run, size, unpacked};
})();
