"use strict";

// A fully connected network in blocks: its layers, one input and masks -> logits and MACs of each gate.
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

  // masks: one text of 0 and 1 for each gate.
  const run = (network, values, masks) => {
    const macs = [];
    let x = values;
    let inputs = network.layers[0].inputs;
    network.layers.forEach((layer, gate) => {
      if (!layer.blocks) {
        x = linear(layer, x);
        return;
      }
      const mask = masks[gate];
      x = linear(layer, x, unit => mask[Math.floor(unit / size(layer))] === "1");
      macs.push(macsOf(network, gate, inputs, mask));
      inputs = count(mask, layer);
    });
    return {logits: [...x], macs};
  };
  return {floats, load, run};
})();

// A slider of prices, and the errors and costs that a policy has at them.
const ccenvPrice = (() => {
  const WIDTH = 260, HEIGHT = 110, EDGE = 12;
  const digits = value => Number(value.toPrecision(3)).toLocaleString("en", {maximumFractionDigits: 6});

  // Errors over costs at the judged prices; the nearest one is marked. It is made of numbers alone.
  const front = (verdicts, marked) => {
    const most = key => Math.max(...verdicts.map(one => one[key])) || 1;
    const x = one => EDGE + one.cost / most("cost") * (WIDTH - 2 * EDGE);
    const y = one => HEIGHT - EDGE - one.error / most("error") * (HEIGHT - 2 * EDGE);
    const dots = verdicts.map((one, i) => `<circle cx="${x(one)}" cy="${y(one)}"
      r="${i === marked ? 6 : 3}" class="${i === marked ? "marked" : ""}"><title>error
      ${digits(100 * one.error)} %, cost ${digits(one.cost)}</title></circle>`);
    return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" class="front" role="img"
      aria-label="test error over compute cost, both from 0">
      <path d="M${EDGE} ${EDGE}V${HEIGHT - EDGE}H${WIDTH - EDGE}" class="axis"/>
      <polyline points="${verdicts.map(one => `${x(one)},${y(one)}`).join(" ")}"/>
      ${dots.join("")}</svg>`;
  };

  return (make, agent, moved) => {
    const price = agent.price;
    const slider = make("input", {type: "range", min: 0, max: price.values.length - 1, step: 1,
      name: price.name, value: price.position, ariaLabel: `${price.name} of ${agent.name}`});
    const said = make("output", {});
    const picture = make("div", {});
    const fill = () => {
      const {error, cost} = price.verdicts[price.position];
      const now = `${price.name} ${digits(price.values[price.position])}`;
      said.replaceChildren(make("b", {}, now),
        ` · ${price.num_inputs.toLocaleString("en")} test inputs: ` +
        `error ${digits(100 * error)} %, cost ${digits(cost)}`);
      slider.setAttribute("aria-valuetext", now);
      picture.innerHTML = front(price.verdicts, price.position);
    };
    slider.addEventListener("input", () => {
      price.position = Number(slider.value);
      fill();
      moved();
    });
    fill();
    const fixed = Object.entries(price.fixed).map(([name, value]) => `${name} ${digits(value)}`);
    return make("div", {className: "price"}, make("label", {}, agent.name, slider), said, picture,
      make("p", {className: "note"}, "Error upwards, cost to the right, both from 0.",
        fixed.length ? ` Fixed: ${fixed.join(", ")}.` : ""));
  };
})();

// Shows single inputs on their way through one network or two; blocks can be switched by hand.
(() => {
  const make = (tag, properties = {}, ...children) => {
    const {dataset, style, ...own} = properties;
    const made = Object.assign(document.createElement(tag), own);
    Object.assign(made.dataset, dataset);
    for (const [name, value] of Object.entries(style ?? {})) made.style.setProperty(name, value);
    made.append(...children);
    return made;
  };
  const shown = (number, digits = 3) => number.toLocaleString("en", {maximumFractionDigits: digits});
  const sum = numbers => numbers.reduce((a, b) => a + b, 0);
  const best = logits => logits.indexOf(Math.max(...logits));
  const softmax = logits => {
    const powers = logits.map(x => Math.exp(x - Math.max(...logits)));
    return powers.map(x => x / sum(powers));
  };
  const flipped = (mask, block) =>
    mask.slice(0, block) + (mask[block] === "1" ? "0" : "1") + mask.slice(block + 1);

  // What a run does with an input: as it was computed by Python, or, once a block is switched, here.
  const outcome = (network, input, own, masks) => {
    const isOwn = masks.every((mask, gate) => mask === own.masks[gate]);
    if (isOwn || !network) return {...own, masks, isOwn: true};
    return {masks, ...ccenvMLP.run(network, ccenvMLP.floats(input.values), masks), isOwn: false};
  };

  // What the policy does with an input: at the price of its slider, where it has one.
  const ownOf = (agent, input, which) => input.runs[which][agent.price?.position ?? 0];
  const isWrong = (view, input) => !view.is_sequence && view.agents.some((agent, which) =>
    best(ownOf(agent, input, which).logits) !== input.label);

  const gateRow = (agent, gate, found, spent, change) => {
    const {name, blocks, skipped} = agent.gates[gate];
    const bits = [...found.masks[gate]];
    const kept = bits.filter(bit => bit === "1").length;
    const share = spent / agent.dense_macs;
    const lit = bits.map((bit, block) => make("button", {
      type: "button", className: "block", disabled: !change, title: `block ${block}`,
      ariaPressed: String(bit === "1"), ariaLabel: `${name}, block ${block}`,
      onclick: () => change(gate, block),
    }));
    return make("div", {className: "gate"},
      make("div", {className: "gate-name"}, `${name}: ${kept} of ${blocks} kept`,
        make("span", {className: "said"}, ` · skipped: ${skipped}`)),
      make("div", {className: "blocks", dataset: {many: blocks > 40}}, ...lit),
      make("div", {className: "spent", title: `${shown(spent, 0)} MACs so far`},
        make("i", {style: {width: `${Math.min(100, 100 * share)}%`}})),
      make("div", {className: "said"}, `${shown(spent, 0)} MACs so far, ${shown(100 * share, 1)} %`));
  };

  const named = (view, index) => view.classes ? `“${view.classes[index]}”` : String(index);

  const answers = (view, logits, label) => {
    const shares = softmax(logits);
    const order = logits.map((_, i) => i).sort((a, b) => logits[b] - logits[a]);
    const listed = (logits.length > 12 ? order.slice(0, 10) : logits.map((_, i) => i));
    return make("div", {className: "logits"}, ...listed.map(i => make("div", {
      className: "logit", dataset: {label: i === label, answer: i === order[0]},
      title: `logit ${shown(logits[i])}`,
    }, make("b", {}, named(view, i)), make("span", {className: "bar"},
      make("i", {style: {width: `${100 * shares[i]}%`}})),
      make("span", {className: "said"}, `${shown(100 * shares[i], 1)} %`))));
  };

  const panel = (view, which, input, masks, again) => {
    const agent = view.agents[which];
    const own = ownOf(agent, input, which);
    const found = outcome(agent.loaded, input, own, masks);
    const change = agent.loaded && ((gate, block) => {
      again(masks.map((mask, i) => i === gate ? flipped(mask, block) : mask));
    });
    const policy = sum(agent.policy_macs);
    const macs = sum(found.macs);
    const answer = best(found.logits);
    const before = best(own.logits);
    let spent = 0;
    const rows = agent.gates.map((_, gate) => {
      spent += found.macs[gate];
      return gateRow(agent, gate, found, spent, change);
    });
    const verdict = answer === input.label ? "right" : "wrong";
    const said = [`answers ${named(view, answer)}, ${verdict}`,
      `cost ${shown(macs / agent.dense_macs)} of the dense network's`,
      policy ? `${shown((macs + policy) / agent.dense_macs)} with the policy` : ""];
    const more = macs - sum(own.macs);
    const note = found.isOwn ? "as the policy chose" :
      `switched by hand: ${shown(Math.abs(more), 0)} MACs ${more < 0 ? "fewer" : "more"}, ` +
      (answer === before ? "the same answer" : `before it answered ${named(view, before)}`);
    return make("article", {className: "run", dataset: {verdict}},
      make("h3", {}, agent.name),
      make("p", {className: "verdict"}, said.filter(Boolean).join(" · ")),
      ...rows, answers(view, found.logits, input.label),
      make("p", {className: "note"}, note, " ",
        ...(found.isOwn ? [] : [make("button", {type: "button", className: "plain",
          onclick: () => again(own.masks)}, "back to the policy's masks")])),
      ...(agent.why ? [make("p", {className: "note"}, agent.why)] : []));
  };

  // A sequence: its positions for each gate, the more of its blocks are kept the fuller, then nll.
  const visible = text => text.replaceAll(" ", "␣") || "·";
  const sequencePanel = (view, which, input) => {
    const agent = view.agents[which];
    const {kept, costs, nll} = ownOf(agent, input, which);
    const mean = numbers => sum(numbers) / numbers.length;
    const most = Math.max(...view.inputs.flatMap(one => one.runs.flat().flatMap(run => run.nll))) || 1;
    const policy = sum(agent.policy_macs) / agent.dense_macs;
    const place = (i, style, words, data) => make("span", {className: "place", style, dataset: data,
      title: `position ${i}: ${words}, cost ${shown(costs[i])}, nll ${shown(nll[i])}`},
    visible(input.places[i]));
    const rows = agent.gates.map(({name, blocks, skipped}, gate) => {
      const counts = kept[gate];
      const places = counts.filter(Boolean).length;
      return make("div", {className: "gate"},
        make("div", {className: "gate-name"}, `${name}: kept at ${places} of ${counts.length} positions`,
          make("span", {className: "said"}, blocks > 1
            ? ` · ${shown(mean(counts), 2)} of ${blocks} blocks on average · skipped: ${skipped}`
            : ` · skipped: ${skipped}`)),
        make("div", {className: "places"}, ...counts.map((count, i) => place(i,
          {"--share": count / blocks}, `${name}, ${count} of ${blocks} kept`, {kept: count > 0}))));
    });
    const said = [`cost ${shown(mean(costs))} of the dense network's`,
      policy ? `${shown(mean(costs) + policy)} with the policy` : "",
      `nll ${shown(mean(nll))} nats`, "means over positions"];
    return make("article", {className: "run"}, make("h3", {}, agent.name),
      make("p", {className: "verdict"}, said.filter(Boolean).join(" · ")), ...rows,
      make("div", {className: "gate"}, make("div", {className: "gate-name"}, "nll of the answer",
        make("span", {className: "said"}, ` · a full bar: ${shown(most)} nats`)),
      make("div", {className: "places"}, ...nll.map((nats, i) => place(i, {"--height": nats / most},
        `label ${named(view, input.labels[i])}`, {bar: true})))));
  };
  const NOTES = {
    inputs: "Filled blocks are computed, empty ones are skipped. The bar below them shows the MACs " +
      "so far, the bars of the classes are probabilities. Press a block to switch it: later gates " +
      "keep the masks that the policy chose.",
    sequences: "A position is marked where the gate's blocks are kept there, the fuller the more of " +
      "them; what it leaves to the next position was made by these masks.",
  };
  const titleOf = (view, input) => view.is_sequence ? `test sequence ${input.index}`
    : `test input ${input.index}, class ${named(view, input.label)}`;

  // What each block sees: the mean of the inputs that it is computed for, or a text's last symbols.
  const seenBy = (view, one, block) => {
    const often = one.classes.map(i => named(view, i)).join(", ");
    const sight = one.picture ? make("img", {src: one.picture, alt: `mean input of block ${block}`})
      : make("span", {className: "sight"}, 
        one.text ? one.text.join("").replaceAll(" ", "␣") || "all" : "never");
    return make("div", {className: "sees", title: `block ${block}`}, sight,
      make("span", {className: "said"}, `${shown(100 * one.share, one.share < .01 ? 1 : 0)} %`),
      ...(often ? [make("span", {}, often)] : []));
  };

  const seenByAll = view => {
    const parts = view.agents.filter(agent => agent.seen?.length).map(agent => make("article", {},
      make("h3", {}, agent.name), ...agent.seen.map((blocks, gate) => make("div", {className: "gate"},
        make("div", {className: "gate-name"}, agent.gates[gate].name),
        make("div", {className: "blocks"}, ...blocks.map((one, i) => seenBy(view, one, i)))))));
    return parts.length ? [make("details", {className: "all-seen"},
      make("summary", {}, "What each block sees"), make("p", {className: "note"},
        view.classes ? "The last symbols behind which it is computed most beyond chance, and its share of inputs." :
          "The mean of the inputs for which it is computed, their share of all, and the classes for " +
          "which it is computed more often than for others."),
      ...parts)] : [];
  };

  const start = place => {
    const view = JSON.parse(place.querySelector("script").textContent);
    for (const agent of view.agents) agent.loaded = agent.network && ccenvMLP.load(agent.network);
    const orders = make("select", {name: "order", ariaLabel: "order of inputs"},
      ...Object.keys(view.orders).map(name => make("option", {value: name}, name)));
    const strip = make("div", {className: "strip", role: "group", ariaLabel: "inputs"});
    const stage = make("div", {className: "stage", ariaLive: "polite"});
    const step = by => make("button", {type: "button", className: "plain",
      onclick: () => show(at + by)}, by < 0 ? "‹ previous" : "next ›");
    let at = 0;
    let masks = [];

    const inputAt = place => view.inputs[view.orders[orders.value][place]];
    const draw = () => {
      const input = inputAt(at);
      const seen = input.picture
        ? make("img", {src: input.picture, className: "input", alt: titleOf(view, input)})
        : make("pre", {className: "input"}, input.text ?? input.places.join(""));
      const focus = document.activeElement?.getAttribute("aria-label");
      const switched = which => changed => {
        masks[which] = changed;
        draw();
      };
      stage.replaceChildren(
        make("div", {className: "seen"}, seen, make("p", {className: "note"}, titleOf(view, input))),
        ...view.agents.map((_, which) => view.is_sequence ? sequencePanel(view, which, input)
          : panel(view, which, input, masks[which], switched(which))));
      if (focus) stage.querySelector(`[aria-label="${CSS.escape(focus)}"]`)?.focus();
      [...strip.children].forEach((thumb, i) => {
        const wrong = isWrong(view, inputAt(i));
        thumb.title = thumb.ariaLabel = titleOf(view, inputAt(i)) + (wrong ? ", wrong answer" : "");
        thumb.dataset.wrong = wrong;
        thumb.ariaPressed = String(i === at);
      });
    };
    const show = index => {
      const count = strip.children.length;
      at = (index + count) % count;
      masks = view.agents.map((agent, which) => ownOf(agent, inputAt(at), which).masks);
      draw();
    };
    const fill = () => {
      strip.replaceChildren(...view.orders[orders.value].map((number, i) => {
        const {picture, text, places} = view.inputs[number];
        return make("button", {type: "button", className: "thumb", onclick: () => show(i)},
          picture ? make("img", {src: picture, alt: ""})
            : `…${(text ?? places.map(visible).join("")).slice(-6)}`);
      }));
      show(0);
    };
    const price = (agent, which) => ccenvPrice(make, agent, () => {
      masks[which] = ownOf(agent, inputAt(at), which).masks;
      draw();
    });
    const prices = view.agents.flatMap((agent, i) => agent.price ? [price(agent, i)] : []);
    orders.addEventListener("change", fill);
    strip.addEventListener("keydown", event => {
      const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (!by) return;
      event.preventDefault();
      show(at + by);
      strip.children[at].focus();
    });
    place.append(make("div", {className: "controls"}, make("label", {}, `${view.is_sequence ? "sequences" : "inputs"} `, orders),
      step(-1), step(1)), strip, make("div", {className: "prices"}, ...prices), stage,
      make("p", {className: "note"}, NOTES[view.is_sequence ? "sequences" : "inputs"]),
      ...seenByAll(view));
    fill();
  };
  for (const place of document.querySelectorAll(".inputs")) start(place);
})();
