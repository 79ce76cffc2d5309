// Shows the figure and the columns of the switches' setting; sorts tables by a press on a heading.
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

  const form = document.querySelector(".switches");
  if (!form) return;
  const plot = document.querySelector(".plot");
  const picture = plot.querySelector(".picture");
  const templates = [...plot.querySelectorAll("template")];
  const WIDE = 620;
  const radios = [...form.elements].filter(input => input.type === "radio");
  const token = input => `${input.name}-${input.value}`;
  const setting = () => radios.filter(input => input.checked).map(token);
  const fits = (element, tokens) =>
    element.dataset.when.split(" ").filter(Boolean).every(one => tokens.includes(one));

  // A table's row and the figure's mark of the same number are lit together.
  const light = (number, on) => {
    const mark = picture.querySelector(`#row-${number}`);
    const [shown] = [...document.querySelectorAll("#results .table")].filter(t => !t.hidden);
    const row = shown?.querySelector(`tr[data-row="${number}"]`);
    for (const element of [mark, row]) element?.classList.toggle("lit", on);
    plot.querySelector(".pointed").textContent = on && mark ? mark.getAttribute("aria-label") : "";
  };
  const lit = (element, number) => {
    for (const name of ["mouseenter", "focus"])
      element.addEventListener(name, () => light(number, true));
    for (const name of ["mouseleave", "blur"])
      element.addEventListener(name, () => light(number, false));
  };

  // The arrow keys go from mark to mark, the Tab key to the first one and on.
  picture.addEventListener("keydown", event => {
    const by = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
    const marks = [...picture.querySelectorAll(".mark")];
    const at = marks.indexOf(document.activeElement);
    if (!by || at < 0) return;
    event.preventDefault();
    const next = marks[(at + by + marks.length) % marks.length];
    [marks[at].tabIndex, next.tabIndex] = [-1, 0];
    next.focus();
  });

  const size = () => plot.clientWidth < WIDE ? "narrow" : "wide";
  let drawn = "";
  const show = () => {
    drawn = size();
    const tokens = [...setting(), drawn];
    const template = templates.find(one => fits(one, tokens));
    if (!template) return false;
    picture.replaceChildren(template.content.cloneNode(true));
    for (const mark of picture.querySelectorAll(".mark")) lit(mark, mark.id.replace("row-", ""));
    for (const block of document.querySelectorAll(".table")) block.hidden = !fits(block, tokens);
    for (const heading of document.querySelectorAll("th[data-when]")) {
      const hidden = !fits(heading, tokens);
      for (const row of heading.closest("table").rows) row.cells[heading.cellIndex].hidden = hidden;
    }
    return true;
  };
  // What a data set lacks (a time, a measure) is set to what it has.
  const changed = event => {
    if (show()) return;
    const nearest = templates.find(one => one.dataset.when.split(" ").includes(token(event.target)));
    for (const input of radios)
      input.checked = nearest.dataset.when.split(" ").includes(token(input));
    show();
  };
  for (const input of radios) input.addEventListener("change", changed);
  for (const row of document.querySelectorAll("#results tbody tr")) lit(row, row.dataset.row);
  new ResizeObserver(() => drawn !== size() && show()).observe(plot);
  show();
})();
