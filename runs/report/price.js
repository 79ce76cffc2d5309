// A slider of prices, and the errors and costs that a policy has at them.
"use strict";
const ccenvPrice = (() => {
  const WIDTH = 260, HEIGHT = 110, EDGE = 12;
  const draw = (name, attributes, ...children) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const digits = value => Number(value.toPrecision(3)).toLocaleString("en", {maximumFractionDigits: 6});

  // Errors over costs at the judged prices; the nearest one is marked.
  const front = (verdicts, marked) => {
    const most = key => Math.max(...verdicts.map(one => one[key])) || 1;
    const x = one => EDGE + one.cost / most("cost") * (WIDTH - 2 * EDGE);
    const y = one => HEIGHT - EDGE - one.error / most("error") * (HEIGHT - 2 * EDGE);
    const line = verdicts.map(one => `${x(one)},${y(one)}`).join(" ");
    const dots = verdicts.map((one, i) => draw("circle", {cx: x(one), cy: y(one),
      r: i === marked ? 6 : 3, class: i === marked ? "marked" : ""},
    draw("title", {}, `error ${digits(100 * one.error)} %, cost ${digits(one.cost)}`)));
    return draw("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "front", role: "img",
      "aria-label": "test error over compute cost, both from 0"},
    draw("path", {d: `M${EDGE} ${EDGE}V${HEIGHT - EDGE}H${WIDTH - EDGE}`, class: "axis"}),
    draw("polyline", {points: line}), ...dots);
  };

  // A price as it is now: position on the judged ones, which may lie between two of them.
  const load = price => ({...price, position: (price.values.length - 1) / 2,
    policy: price.policy && ccenvPolicy.load(price.policy)});
  const nearest = price => Math.round(price.position);
  const isJudged = price => Number.isInteger(price.position);
  const now = price => isJudged(price) ? price.values[price.position]
    : ccenvPolicy.value(price, price.position / (price.values.length - 1));

  // What a run does with an input at the price: judged by Python, or between two prices here.
  const outcome = (agent, input, run) => {
    const price = agent.price;
    if (isJudged(price)) return run.prices[price.position];
    const choose = ccenvPolicy.choose(price.policy, agent.loaded,
      {...price.fixed, [price.name]: now(price)}, input.small && ccenvMLP.floats(input.small));
    return ccenvMLP.run(agent.loaded, ccenvMLP.floats(input.values), choose);
  };

  const control = (make, agent, moved) => {
    const price = agent.price;
    const last = price.values.length - 1;
    const slider = make("input", {type: "range", min: 0, max: last, name: price.name,
      step: price.policy ? last / 200 : 1, value: price.position,
      ariaLabel: `${price.name} of ${agent.name}`});
    const said = make("output", {});
    const picture = make("div", {});
    const fill = () => {
      const at = nearest(price);
      const {error, cost} = price.verdicts[at];
      said.replaceChildren(make("b", {}, `${price.name} ${digits(now(price))}`),
        ` · ${price.num_inputs.toLocaleString("en")} test inputs at ${digits(price.values[at])}: ` +
        `error ${digits(100 * error)} %, cost ${digits(cost)}`);
      slider.setAttribute("aria-valuetext", `${price.name} ${digits(now(price))}`);
      picture.replaceChildren(front(price.verdicts, at));
    };
    slider.addEventListener("input", () => {
      price.position = Number(slider.value);
      fill();
      moved();
    });
    fill();
    const fixed = Object.entries(price.fixed).map(([name, value]) => `${name} ${digits(value)}`);
    return make("div", {className: "price"}, make("label", {}, agent.name, slider), said, picture,
      make("p", {className: "note"}, "Error upwards, cost to the right, both from 0. ",
        price.policy ? "Between two judged prices the masks are computed in this page."
          : "Masks are shown at the judged prices.",
        fixed.length ? ` Fixed: ${fixed.join(", ")}.` : ""));
  };
  return {control, load, nearest, now, outcome};
})();
