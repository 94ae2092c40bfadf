// The map: plotly draws the points, a canvas above it the edges.
"use strict";

const page = JSON.parse(document.getElementById("data").textContent);
document.getElementById("data").remove();
const graph = new SurveyMapGraph(page);
const at = Object.fromEntries(["map", "edges", "tip", "status", "legend", "detail", "color", "layers",
  "search", "wanted", "about", "closer", "farther", "whole"].map((id) => [id, document.getElementById(id)]));
const kinds = Object.keys(graph.layers).reverse(); // surveys are drawn last, above the others
const shown = Object.fromEntries(kinds.map((kind) => [kind, true]));
const MOST_IN_VIEW = 3000; // surveys in view up to which all edges are drawn
const MOST_EDGES = 40000;
const FLIGHT_MS = 400;
const KM_PER_DEGREE = (Math.PI / 180) * page.earth_radius_km;
let hovered = null, chosen = null, drawn = null, waiting = 0, flight = 0;
let curves = []; // plotly's traces: the kind of node, and the row of each point

const bounds = (() => {
  const limits = [Infinity, -Infinity, Infinity, -Infinity];
  for (const { lat, lon, count: size } of Object.values(graph.layers)) {
    for (let i = 0; i < size; i++) {
      limits[0] = Math.min(limits[0], lat[i]);
      limits[1] = Math.max(limits[1], lat[i]);
      limits[2] = Math.min(limits[2], lon[i]);
      limits[3] = Math.max(limits[3], lon[i]);
    }
  }
  return limits[0] <= limits[1] ? limits : [-60, 60, -180, 180];
})();
const middle = (bounds[0] + bounds[1]) / 2;
const stretch = 1 / Math.max(Math.cos((middle * Math.PI) / 180), 0.1); // equal lengths in the middle

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const plotArea = () => {
  const area = at.map.querySelector(".nsewdrag").getBoundingClientRect();
  const base = at.map.getBoundingClientRect();
  return { left: area.left - base.left, top: area.top - base.top, width: area.width, height: area.height };
};
const ranges = () => ({ x: at.map.layout.xaxis.range, y: at.map.layout.yaxis.range });

// Degrees → pixels of the map box.
function projection({ x, y } = ranges()) {
  const area = plotArea();
  return {
    x: (lon) => area.left + ((lon - x[0]) / (x[1] - x[0])) * area.width,
    y: (lat) => area.top + ((y[1] - lat) / (y[1] - y[0])) * area.height,
    area,
  };
}

function axis(extra) {
  return { ticksuffix: "°", zeroline: false, showline: true, linecolor: style("--line"), gridcolor: style("--line"),
    tickcolor: style("--line"), ticks: "outside", nticks: 8, ...extra };
}

function layout() {
  const { x, y } = at.map.layout && at.map.layout.xaxis ? ranges() : wholeMap();
  return {
    margin: { l: 56, r: 8, t: 8, b: 42 }, showlegend: false, dragmode: "pan", hovermode: "closest", hoverdistance: 12,
    paper_bgcolor: style("--paper"), plot_bgcolor: style("--paper"), font: { color: style("--soft"), size: 12 },
    xaxis: axis({ range: x, title: { text: "longitude", standoff: 4 } }),
    yaxis: axis({ range: y, scaleanchor: "x", scaleratio: stretch, title: { text: "latitude", standoff: 2 } }),
  };
}

// Ranges around a place so that `height` degrees of latitude and `width` of longitude fit.
function view(lat, lon, height, width) {
  const box = at.map.getBoundingClientRect();
  const aspect = Math.max(box.width - 54, 50) / Math.max(box.height - 50, 50);
  const tall = Math.max(height, width / stretch / aspect);
  const wide = tall * aspect * stretch;
  return { x: [lon - wide / 2, lon + wide / 2], y: [lat - tall / 2, lat + tall / 2] };
}

function wholeMap() {
  const height = Math.max(bounds[1] - bounds[0], 0.05) * 1.06;
  const width = Math.max(bounds[3] - bounds[2], 0.05) * 1.06;
  return view(middle, (bounds[2] + bounds[3]) / 2, height, width);
}

// One trace per colour: plotly reads a single colour at once, and one per point slowly.
function traces() {
  curves = [];
  const made = [];
  for (const kind of kinds) {
    const layer = graph.layers[kind];
    const size = Math.min(Math.max(300 / Math.sqrt(layer.count + 1), 4), 10);
    const every = Uint32Array.from({ length: layer.count }, (_, row) => row);
    let parts = [{ rows: every, marker: { symbol: "diamond", size: size + 1, color: layerColor(kind) } }];
    if (kind === "test") {
      parts[0].marker = { symbol: "x-thin", size: size + 1, line: { width: 1.2, color: layerColor(kind) } };
    } else if (kind === "survey") {
      const { of, colors } = coloring(page, layer, at.color.value);
      const rowsOf = colors.map(() => []);
      for (const row of every) rowsOf[of(row)].push(row);
      parts = colors.map((color, k) => ({ rows: Uint32Array.from(rowsOf[k]), marker: { size, color } }));
    }
    for (const { rows, marker } of parts) {
      curves.push({ kind, rows });
      made.push({
        type: "scattergl", mode: "markers", hoverinfo: "none", visible: shown[kind], marker,
        x: Float64Array.from(rows, (row) => layer.lon[row]), y: Float64Array.from(rows, (row) => layer.lat[row]),
      });
    }
  }
  return made;
}

function redraw() {
  const made = Plotly.react(at.map, traces(), layout(), { scrollZoom: true, displayModeBar: false, responsive: true,
    doubleClick: false, plotGlPixelRatio: window.devicePixelRatio || 1 });
  showLegend(at.legend, coloring(page, graph.layers.survey, at.color.value));
  return made.then(() => drawEdges());
}

function moveTo(to) {
  return Plotly.relayout(at.map, { "xaxis.range": to.x, "yaxis.range": to.y });
}

function fly({ kind, row }) {
  const layer = graph.layers[kind];
  const height = Math.min((4 * page.radius_km) / KM_PER_DEGREE, 170);
  const to = view(layer.lat[row], layer.lon[row], height, 0);
  const from = ranges();
  const quiet = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const own = ++flight, start = performance.now();
  const mix = (a, b, share) => a.map((value, i) => value + (b[i] - value) * share);
  const step = () => { // as many frames as the machine draws in the time
    if (own !== flight) return null; // another flight has begun
    const share = quiet ? 1 : 1 - (1 - Math.min((performance.now() - start) / FLIGHT_MS, 1)) ** 3;
    return moveTo({ x: mix(from.x, to.x, share), y: mix(from.y, to.y, share) })
      .then(() => (share < 1 ? new Promise((done) => { requestAnimationFrame(done); }).then(step) : null));
  };
  return step();
}

function zoom(factor) {
  const { x, y } = ranges();
  const about = ([a, b]) => [(a + b) / 2 - ((b - a) / 2) * factor, (a + b) / 2 + ((b - a) / 2) * factor];
  return moveTo({ x: about(x), y: about(y) });
}

function visibleRows({ x, y }) {
  const rowsOf = {};
  let total = 0;
  for (const kind of kinds.filter((name) => shown[name])) {
    const { lat, lon, count: size } = graph.layers[kind];
    const rows = [];
    for (let i = 0; i < size; i++) {
      if (lat[i] >= y[0] && lat[i] <= y[1] && lon[i] >= x[0] && lon[i] <= x[1]) rows.push(i);
    }
    rowsOf[kind] = rows;
    total += rows.length;
  }
  return { rowsOf, total };
}

// Edges of all surveys in view where they are few enough, and those of the hovered one above.
function drawEdges(now = ranges(), anew = true) {
  if (anew) {
    const { rowsOf, total } = visibleRows(now);
    drawn = total && total <= MOST_IN_VIEW ? graph.edgesAt(rowsOf, MOST_EDGES) : [];
    at.status.textContent = total > MOST_IN_VIEW || drawn === null
      ? `${count(total)} in view: zoom in to see all edges` : `${count(total)} in view, ${count(drawn.length)} edges`;
    drawn = drawn || [];
  }
  const place = projection(now);
  const { width, height } = at.edges.getBoundingClientRect();
  const sharp = window.devicePixelRatio || 1;
  const sides = { width: Math.round(width * sharp), height: Math.round(height * sharp) };
  for (const [side, size] of Object.entries(sides)) if (at.edges[side] !== size) at.edges[side] = size;
  // a canvas in memory: beside a busy WebGL, Chromium left a cleared one on the screen
  const pen = at.edges.getContext("2d", { willReadFrequently: true });
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.save();
  pen.beginPath();
  pen.rect(place.area.left, place.area.top, place.area.width, place.area.height);
  pen.clip();
  strokeEdges(pen, place, drawn, style("--soft"), 0.6, drawn.length > 1000 ? 0.25 : 0.5);
  for (const node of new Set([chosen, hovered])) {
    if (node === null || !shown[node.kind]) continue;
    const found = graph.neighbors(node.kind, node.row).filter((other) => shown[other.kind]);
    const ends = found.map((other) => [node.kind, node.row, other.kind, other.row]);
    strokeEdges(pen, place, ends, style("--accent"), 1.4, 0.9);
    const { lat, lon } = graph.layers[node.kind];
    pen.beginPath();
    pen.arc(place.x(lon[node.row]), place.y(lat[node.row]), 9, 0, 2 * Math.PI);
    pen.lineWidth = 2.5;
    pen.stroke();
  }
  pen.restore();
}

function strokeEdges(pen, place, edges, color, width, opacity) {
  pen.beginPath();
  for (const [kind, i, other, j] of edges) {
    const a = graph.layers[kind], b = graph.layers[other];
    const turn = 360 * Math.round((b.lon[j] - a.lon[i]) / 360); // over the antimeridian: the short way
    pen.moveTo(place.x(a.lon[i]), place.y(a.lat[i]));
    pen.lineTo(place.x(b.lon[j] - turn), place.y(b.lat[j]));
    if (turn === 0) continue;
    pen.moveTo(place.x(a.lon[i] + turn), place.y(a.lat[i]));
    pen.lineTo(place.x(b.lon[j]), place.y(b.lat[j]));
  }
  pen.strokeStyle = color;
  pen.lineWidth = width;
  pen.globalAlpha = opacity;
  pen.stroke();
  pen.globalAlpha = 1;
}

function choose(node, flying = true) {
  chosen = node;
  at.wanted.setCustomValidity("");
  showDetail(at.detail, graph, node, graph.neighbors(node.kind, node.row), choose);
  if (!shown[node.kind]) at.layers.querySelector(`[value=${node.kind}]`).click();
  if (flying) return fly(node);
  return drawEdges(ranges(), false);
}

function hover(node, point) {
  hovered = node;
  at.tip.hidden = node === null;
  if (node !== null) {
    showTip(at.tip, graph, node);
    const box = at.map.getBoundingClientRect();
    const left = point.x + 16 + at.tip.offsetWidth > box.width ? point.x - 16 - at.tip.offsetWidth : point.x + 16;
    at.tip.style.left = `${Math.max(left, 4)}px`;
    at.tip.style.top = `${Math.max(Math.min(point.y + 12, box.height - at.tip.offsetHeight - 4), 4)}px`;
  }
  drawEdges(ranges(), false);
}

function begin() {
  const size = graph.layers.survey.count;
  at.about.textContent = `${count(size)} surveys, edges up to ${page.radius_km} km, same ${page.match || "anything"}`;
  for (const name of page.colors) at.color.append(new Option(name, name, false, name === page.color));
  for (const kind of Object.keys(graph.layers)) {
    const label = element("label");
    const box = element("input", "", { type: "checkbox", value: kind, checked: "" });
    box.addEventListener("change", () => {
      shown[kind] = box.checked;
      hover(null);
      redraw();
    });
    label.append(box);
    if (kind !== "survey") {
      const symbol = element("span", KINDS[kind].symbol, { "aria-hidden": "true" });
      symbol.style.color = layerColor(kind);
      label.append(symbol);
    }
    label.append(`${KINDS[kind].many} (${count(graph.layers[kind].count)})`);
    at.layers.append(label);
  }
  at.detail.append(element("p", size
    ? "Point at a survey to see its neighbours, click it to keep them, or search by survey id."
    : "This graph has no surveys.", { class: "note" }));
  return redraw().then(listen);
}

function listen() {
  const node = ({ points: [point] }) => {
    const { kind, rows } = curves[point.curveNumber];
    return { kind, row: rows[point.pointNumber] };
  };
  at.map.on("plotly_hover", (event) => {
    const found = node(event), place = projection();
    const { lat, lon } = graph.layers[found.kind];
    hover(found, { x: place.x(lon[found.row]), y: place.y(lat[found.row]) });
  });
  at.map.on("plotly_unhover", () => hover(null));
  at.map.on("plotly_click", (event) => choose(node(event), false));
  at.map.on("plotly_relayouting", (event) => {
    if (!("xaxis.range[0]" in event)) return;
    const now = { x: [event["xaxis.range[0]"], event["xaxis.range[1]"]],
      y: [event["yaxis.range[0]"], event["yaxis.range[1]"]] };
    drawEdges(now, false);
  });
  at.map.on("plotly_relayout", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => drawEdges());
  });
  at.color.addEventListener("change", redraw);
  at.closer.addEventListener("click", () => zoom(0.5));
  at.farther.addEventListener("click", () => zoom(2));
  at.whole.addEventListener("click", () => moveTo(wholeMap()));
  DARK.addEventListener("change", redraw);
  new ResizeObserver(() => requestAnimationFrame(() => drawEdges())).observe(at.map);
  at.wanted.addEventListener("input", () => at.wanted.setCustomValidity(""));
  at.search.addEventListener("submit", (event) => {
    event.preventDefault();
    const found = graph.find(at.wanted.value);
    if (found.length) choose(found[0]);
    else at.detail.replaceChildren(element("p", `No survey has the id ${at.wanted.value}.`));
  });
  at.map.addEventListener("keydown", (event) => {
    const { x, y } = ranges();
    const shift = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (shift) {
      const by = (range, share) => range.map((value) => value + ((range[1] - range[0]) / 5) * share);
      moveTo({ x: by(x, shift[0]), y: by(y, shift[1]) });
    } else if (event.key === "+" || event.key === "=") zoom(0.5);
    else if (event.key === "-") zoom(2);
    else if (event.key === "0") moveTo(wholeMap());
    else return;
    event.preventDefault();
  });
  document.documentElement.dataset.ready = "yes";
}

begin();
