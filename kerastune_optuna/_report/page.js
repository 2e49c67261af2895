"use strict";

// Figures: each label of a trial is in the page once, and each point of a figure knows its trial.
const labels = JSON.parse(document.getElementById("labels").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const touch = matchMedia("(pointer: coarse)").matches;

function colors() {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  return {
    "font.color": color("--ink"),
    "hoverlabel.bgcolor": color("--raised"),
    "hoverlabel.bordercolor": color("--line"),
    "hoverlabel.font.color": color("--ink"),
  };
}

function draw(source) {
  const chart = document.getElementById(source.dataset.chart);
  const { data, layout } = JSON.parse(source.textContent);
  for (const trace of data) {
    if (trace.customdata) trace.hovertext = trace.customdata.map((number) => labels[number]);
  }
  if (touch) layout.dragmode = false; // a finger on a figure scrolls the page
  if (layout.height) chart.style.height = `${layout.height}px`;
  const options = { responsive: true, displayModeBar: false };
  return Plotly.newPlot(chart, data, layout, options).then(() => Plotly.relayout(chart, colors()));
}

// The curve under the pointer is drawn once more, on top.
function follow(chart) {
  const on_top = chart.data.length;
  let shown = null;
  const show = (number) => {
    if (number === shown) return;
    shown = number;
    const points = chart.data.flatMap((trace) =>
      trace.mode === "lines" && trace.customdata
        ? trace.customdata.flatMap((one, i) => (one === number ? [[trace.x[i], trace.y[i]]] : []))
        : [],
    );
    Plotly.restyle(chart, { x: [points.map(([x]) => x)], y: [points.map(([, y]) => y)] }, [on_top]);
  };
  chart.on("plotly_hover", ({ points }) => show(points[0].customdata));
  const line = { color: "#e0457b", width: 2.5 };
  return Plotly.addTraces(chart, { x: [], y: [], mode: "lines", line, hoverinfo: "skip", showlegend: false });
}

const drawn = Promise.all([...document.querySelectorAll("[data-chart]")].map(draw)).then(() => {
  const curves = document.getElementById("curves");
  return curves && follow(curves);
});
dark.addEventListener("change", () => {
  for (const chart of document.querySelectorAll(".chart")) Plotly.relayout(chart, colors());
});

// The table: numbers are sorted as numbers, empty cells stay below.
const number = (text) => Number(text.replace("inf", "Infinity"));

function compare(one, other) {
  if (one === other) return 0;
  if (one === "" || other === "") return null;
  const difference = number(one) - number(other);
  return Number.isNaN(difference) ? one.localeCompare(other) : difference;
}

function sortBy(heading) {
  const table = heading.closest("table");
  const column = heading.cellIndex;
  const down = heading.getAttribute("aria-sort") === "ascending";
  const text = (row) => row.cells[column].textContent.trim();
  const rows = [...table.tBodies[0].rows].sort((a, b) => {
    const order = compare(text(a), text(b));
    if (order === null) return (text(a) === "") - (text(b) === "");
    return down ? -order : order;
  });
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  table.tBodies[0].append(...rows);
}

for (const button of document.querySelectorAll("#trials th button")) {
  button.addEventListener("click", () => sortBy(button.parentElement));
}
