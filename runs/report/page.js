// Sorts tables by a click on a heading, and shows charts that can be pointed at.
"use strict";
(() => {
  const numberIn = text => {
    const found = text.replace(/,/g, "").match(/^[^\d-]*(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)/i);
    return found ? Number(found[1]) : null;
  };
  const before = (a, b) => {
    const [x, y] = [numberIn(a), numberIn(b)];
    if (x !== null && y !== null && x !== y) return x - y;
    if ((x === null) !== (y === null)) return x === null ? 1 : -1;
    return a.localeCompare(b);
  };
  const sortBy = (table, column, falls) => {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const cell = row => row.cells[column].textContent.trim();
    const [full, empty] = [rows.filter(r => cell(r)), rows.filter(r => !cell(r))];
    full.sort((a, b) => (falls ? -1 : 1) * before(cell(a), cell(b)));
    body.append(...full, ...empty);
  };
  for (const table of document.querySelectorAll("table")) {
    if (table.tBodies[0].rows.length < 2) continue;
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const button = document.createElement("button");
      button.className = "sort";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const falls = heading.getAttribute("aria-sort") === "ascending";
        for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
        heading.setAttribute("aria-sort", falls ? "descending" : "ascending");
        sortBy(table, column, falls);
      });
    });
  }

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const ink = () => getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
  const inInk = (spec, own) => JSON.parse(JSON.stringify(spec).replaceAll(own, ink()));

  const look = () => ({
    background: "transparent", font: "system-ui, sans-serif",
    view: {stroke: null},
    axis: {labelColor: ink(), titleColor: ink(), gridColor: ink(), gridOpacity: 0.12,
      domainColor: ink(), tickColor: ink(), labelFontSize: 12, titleFontSize: 12,
      titleFontWeight: "normal", format: "~s"},
    legend: {labelColor: ink(), labelFontSize: 12, symbolSize: 80},
  });

  const draw = async (place, whole, own) => {
    const spec = inInk(whole, own);
    const value = name => place.querySelector(`[name=${name}]`);
    const words = value("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = row => words.every(w => `${row.label} ${row.family} ${row.shaping}`
      .toLowerCase().includes(w));
    const logs = {macs: value("logx").checked, error: value("logy").checked};
    // Nothing and no error have no place on a logarithmic axis.
    const placed = row => Object.entries(logs).every(([name, on]) => !on || row[name] > 0);
    const rows = spec.datasets.rows.filter(row => fits(row) && placed(row));
    const least = Math.min(...rows.map(row => row.error));
    spec.datasets.rows = rows.map(row => ({...row, low: logs.error ? Math.max(row.low, least / 2)
      : row.low}));
    // On logarithms Vega labels powers of ten and little else: within one all ticks are to be read.
    const isShort = name => logs[name] &&
      Math.max(...rows.map(row => row[name])) < 10 * Math.min(...rows.map(row => row[name]));
    const ticks = name => isShort(name) ? {labelSeparation: 6,
      labelExpr: "format(datum.value, '~s')"} : {};
    for (const layer of spec.layer) {
      const {x, y} = layer.encoding;
      for (const [name, axis] of [["macs", x], ["error", y]])
        if (axis && axis.axis !== null) axis.axis = {...axis.axis, ...ticks(name)};
      if (x) x.scale = logs.macs ? {type: "log", nice: false, padding: 14} :
        {type: "linear", zero: false, nice: false, padding: 14};
      if (y) y.scale = logs.error ? {type: "log", nice: false, padding: 14} :
        {type: "linear", zero: true, nice: true};
    }
    const narrow = place.clientWidth < 520;
    for (const layer of spec.layer)
      for (const channel of ["color", "shape"])
        if (layer.encoding[channel]?.legend) layer.encoding[channel].legend.columns = narrow ? 2 : 4;
    if (narrow) spec.height = 300;
    place.querySelector(".said").textContent =
      `${rows.length} of ${whole.datasets.rows.length} rows`;
    await vegaEmbed(place.querySelector(".view"), spec, {
      actions: false, renderer: "svg", config: look(), tooltip: {theme: dark.matches ? "dark" : "light"},
    });
  };

  for (const place of document.querySelectorAll(".chart")) {
    const whole = JSON.parse(place.querySelector("script").textContent);
    const own = place.dataset.ink;
    const again = () => draw(place, whole, own).catch(error => {
      place.hidden = true;
      console.error(error);
    });
    for (const input of place.querySelectorAll("input")) input.addEventListener("input", again);
    dark.addEventListener("change", again);
    place.hidden = false;
    place.nextElementSibling?.classList.add("print-only");
    again();
  }
})();
