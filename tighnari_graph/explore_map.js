// The page: what is shown, pointed at and chosen, and when the parts of the map are drawn.
"use strict";

const page = JSON.parse(document.getElementById("data").textContent);
document.getElementById("data").remove();
const graph = new SurveyMapGraph(page);
const at = Object.fromEntries(["map", "ground", "still", "area", "moving", "edges", "marks", "tip", "status",
  "source", "legend", "detail", "color", "layers", "search", "wanted", "answer", "about", "closer", "farther", "whole"]
  .map((id) => [id, document.getElementById(id)]));
const kinds = Object.keys(graph.layers).reverse(); // surveys are drawn last, above the others
const shown = Object.fromEntries(kinds.map((kind) => [kind, true]));
const FLIGHT_MS = 400;
const REST_MS = 200; // without a move, until the map is drawn anew
const view = new SurveyMapView(graph, at.map);
const ground = new Ground(at.ground, view, page.basemap, () => laterOnce(drawGround));
const points = new Points(graph, view, at.still, at.moving);
const edges = new Edges(graph, view, at.edges, at.marks);
const gestures = new Gestures(at.map, view, { move: moveTo, tap, point: pointAt, rest: moved });
let hovered = null, chosen = null, flight = 0, resting = 0, drawing = 0;

// Runs once before the next picture, however often it is asked for.
const asked = new Set();
function laterOnce(act) {
  if (!asked.size) {
    requestAnimationFrame(() => {
      const acts = [...asked];
      asked.clear();
      acts.forEach((one) => one());
    });
  }
  asked.add(act);
}

function moveTo(to) {
  flight++; // whoever moves the map ends a flight
  pointAt(null);
  view.now = to;
  moved();
}

function moved() {
  drawing++; // a picture of the old place will not be shown
  at.map.classList.add("moves");
  laterOnce(drawMoving);
  clearTimeout(resting);
  resting = setTimeout(rest, REST_MS);
}

function drawMoving() {
  drawGround();
  points.drawMoving();
  edges.follow();
  drawMarks();
}

function rest() {
  if (gestures.pressed) return null; // released, the map moves once more
  const own = ++drawing;
  return points.drawStill().then(() => { if (own === drawing) show(); });
}

function show() {
  at.status.textContent = edges.draw(shown);
  drawMarks();
  if (!points.drawable) points.drawMoving();
  at.map.classList.toggle("moves", !points.drawable);
}

function drawGround() {
  ground.draw();
  at.source.textContent = page.basemap ? page.basemap.attribution : "";
  if (ground.failed) at.source.textContent += ` (${count(ground.failed)} tiles did not come)`;
}

function drawMarks() {
  edges.mark(new Set([chosen, hovered].filter((node) => node !== null && shown[node.kind])), shown);
}

// Everything, after colours, layers or the size of the page have changed.
function redraw() {
  const own = ++drawing;
  drawGround();
  showLegend(at.legend, coloring(page, graph.layers.survey, at.color.value));
  return points.paint(kinds, shown, at.color.value).then(() => { if (own === drawing) show(); });
}

function resized() {
  view.measure();
  const { left, top, width, height } = view.area;
  Object.assign(at.area.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
  view.now = view.refit(view.now);
}

function fly({ kind, row }) {
  const { lat, lon } = graph.layers[kind];
  const from = view.now, to = view.near(lat[row], lon[row]);
  const quiet = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const start = performance.now();
  const mix = (a, b, share) => a.map((value, i) => value + (b[i] - value) * share);
  let own;
  const step = () => { // as many frames as the machine draws in the time
    if (own !== undefined && own !== flight) return; // another flight or a hand has moved it
    const share = quiet ? 1 : 1 - (1 - Math.min((performance.now() - start) / FLIGHT_MS, 1)) ** 3;
    moveTo({ x: mix(from.x, to.x, share), y: mix(from.y, to.y, share) });
    own = flight;
    if (share < 1) requestAnimationFrame(step);
  };
  step();
}

function choose(node, flying = true) {
  chosen = node;
  showDetail(at.detail, graph, node, graph.neighbors(node.kind, node.row), choose);
  if (!shown[node.kind]) at.layers.querySelector(`[value=${node.kind}]`).click();
  if (flying) fly(node);
  laterOnce(drawMarks);
}

function tap(pixel, reach) {
  const node = points.at(pixel, reach);
  if (node !== null) choose(node, false);
}

let pointed = { pixel: null, reach: 0 };
function pointAt(pixel, reach = 0) {
  pointed = { pixel, reach };
  laterOnce(hover);
}

function hover() {
  const node = pointed.pixel && points.at(pointed.pixel, pointed.reach);
  if (node === hovered || (node && hovered && node.kind === hovered.kind && node.row === hovered.row)) return;
  hovered = node;
  at.tip.hidden = node === null;
  if (node !== null) {
    showTip(at.tip, graph, node);
    const point = view.pixel(graph.layers[node.kind], node.row);
    const { width, height } = view.size;
    const left = point.x + 16 + at.tip.offsetWidth > width ? point.x - 16 - at.tip.offsetWidth : point.x + 16;
    at.tip.style.left = `${Math.max(left, 4)}px`;
    at.tip.style.top = `${Math.max(Math.min(point.y + 12, height - at.tip.offsetHeight - 4), 4)}px`;
  }
  drawMarks();
}

function layerBox(kind) {
  const label = element("label");
  const box = element("input", "", { type: "checkbox", value: kind, checked: "" });
  box.addEventListener("change", () => {
    shown[kind] = box.checked;
    pointAt(null);
    redraw();
  });
  label.append(box);
  if (kind !== "survey") {
    const symbol = element("span", KINDS[kind].symbol, { "aria-hidden": "true" });
    symbol.style.color = layerColor(kind);
    label.append(symbol);
  }
  label.append(`${KINDS[kind].many} (${count(graph.layers[kind].count)})`);
  return label;
}

// Asked again, the next of several nodes of that id.
let searched = { text: null, times: 0 };
function search(text) {
  searched = { text, times: text === searched.text ? searched.times + 1 : 0 };
  const found = graph.find(text);
  if (!found.length) {
    at.answer.textContent = `No survey has the id ${text}.`;
    at.detail.replaceChildren(element("p", at.answer.textContent));
    return;
  }
  const number = searched.times % found.length;
  choose(found[number]);
  at.answer.textContent = found.length > 1
    ? `${title(graph, found[number])}, ${number + 1} of ${found.length}; find again for the next.`
    : `${title(graph, found[number])} is shown.`;
}

function begin() {
  const size = graph.layers.survey.count;
  at.about.textContent = `${count(size)} surveys, edges up to ${page.radius_km} km, same ${page.match || "anything"}`;
  for (const name of page.colors) at.color.append(new Option(name, name, false, name === page.color));
  at.layers.append(...Object.keys(graph.layers).map(layerBox));
  at.detail.append(element("p", size
    ? "Point at a survey to see its neighbours, click it to keep them, or search by survey id."
    : "This graph has no surveys.", { class: "note" }));
  at.color.addEventListener("change", redraw);
  at.closer.addEventListener("click", () => moveTo(view.zoomed(0.5)));
  at.farther.addEventListener("click", () => moveTo(view.zoomed(2)));
  at.whole.addEventListener("click", () => moveTo(view.whole()));
  DARK.addEventListener("change", redraw);
  at.search.addEventListener("submit", (event) => {
    event.preventDefault();
    search(at.wanted.value);
  });
  resized();
  view.now = view.whole();
  return redraw().then(() => {
    new ResizeObserver(() => {
      const { width, height } = at.map.getBoundingClientRect();
      if (width === view.size.width && height === view.size.height) return;
      resized();
      moved();
    }).observe(at.map);
    document.documentElement.dataset.ready = "yes";
  });
}

begin();
