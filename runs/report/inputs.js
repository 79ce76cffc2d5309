// Shows single inputs on their way through one network or two; blocks can be switched by hand.
"use strict";
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
  const ownOf = (agent, input, which) => {
    const own = input.runs[which];
    return agent.price ? ccenvPrice.outcome(agent, input, own) : own;
  };
  const isWrong = (view, input) => view.agents.some(({price}, which) => {
    const own = input.runs[which];
    return best((price ? own.prices[ccenvPrice.nearest(price)] : own).logits) !== input.label;
  });

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
    for (const agent of view.agents) {
      agent.loaded = agent.network && ccenvMLP.load(agent.network);
      agent.price = agent.price && ccenvPrice.load(agent.price);
    }
    const orders = make("select", {name: "order", ariaLabel: "order of inputs"},
      ...Object.keys(view.orders).map(name => make("option", {value: name}, name)));
    const strip = make("div", {className: "strip", role: "group", ariaLabel: "inputs"});
    const stage = make("div", {className: "stage", ariaLive: "polite"});
    const step = by => make("button", {type: "button", className: "plain",
      onclick: () => show(at + by)}, by < 0 ? "‹ before" : "next ›");
    let at = 0;
    let masks = [];

    const draw = () => {
      const input = view.inputs[view.orders[orders.value][at]];
      const seen = input.picture
        ? make("img", {src: input.picture, alt: `test input ${input.index}`, className: "input"})
        : make("pre", {className: "input"}, input.text);
      const focus = document.activeElement?.getAttribute("aria-label");
      stage.replaceChildren(
        make("div", {className: "seen"}, seen, make("p", {className: "note"},
          `test input ${input.index}, class ${named(view, input.label)}`)),
        ...view.agents.map((_, which) => panel(view, which, input, masks[which], changed => {
          masks[which] = changed;
          draw();
        })));
      if (focus) stage.querySelector(`[aria-label="${CSS.escape(focus)}"]`)?.focus();
      [...strip.children].forEach((b, i) => b.setAttribute("aria-pressed", String(i === at)));
    };
    const show = index => {
      const list = view.orders[orders.value];
      at = (index + list.length) % list.length;
      masks = view.agents.map((agent, i) => ownOf(agent, view.inputs[list[at]], i).masks);
      draw();
    };
    const fill = () => {
      strip.replaceChildren(...view.orders[orders.value].map((number, i) => {
        const input = view.inputs[number];
        const wrong = isWrong(view, input);
        return make("button", {type: "button", className: "thumb", dataset: {wrong},
          title: `test input ${input.index}, class ${named(view, input.label)}${wrong ? ", answered wrong" : ""}`,
          onclick: () => show(i)},
        input.picture ? make("img", {src: input.picture, alt: ""}) : `…${input.text.slice(-6)}`);
      }));
      show(0);
    };
    const price = (agent, which) => ccenvPrice.control(make, agent, () => {
      const list = view.orders[orders.value];
      masks[which] = ownOf(agent, view.inputs[list[at]], which).masks;
      draw();
      [...strip.children].forEach((b, i) => {
        b.dataset.wrong = isWrong(view, view.inputs[list[i]]);
      });
    });
    const prices = view.agents.flatMap((agent, i) => agent.price ? [price(agent, i)] : []);
    orders.addEventListener("change", fill);
    place.append(make("div", {className: "controls"}, make("label", {}, "inputs ", orders),
      step(-1), step(1)), strip, make("div", {className: "prices"}, ...prices), stage, ...seenByAll(view));
    fill();
  };
  for (const place of document.querySelectorAll(".inputs")) start(place);
})();
