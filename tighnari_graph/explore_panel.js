// Words and colours: how surveys are coloured, the legend, the tooltip, the list of neighbours.
"use strict";

const DARK = window.matchMedia("(prefers-color-scheme: dark)");
const KINDS = {
  survey: { one: "Survey", many: "surveys", reached: "Neighbours" },
  test: { one: "Survey to predict", many: "to predict", reached: "Surveys near", symbol: "✕" },
  po: { one: "Presence-only survey", many: "presence-only", reached: "To predict near", symbol: "◆" },
};
const ISOLATE = "#d55e00";
const MISSING = "#8a8f96";
// cividis, without the end that the background would hide
const LIGHT_SCALE = ["#00224e", "#1c3a6f", "#3f4d6c", "#5f636e", "#7d7a77", "#9c9173", "#bba66b", "#d3b95a"];
const DARK_SCALE = ["#3a5488", "#56658a", "#727487", "#8c8a80", "#a69c77", "#c2b16c", "#dfca57", "#fde737"];
const REGION_COLORS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#b8a500", "#882255",
  "#44aa99", "#aa4499", "#999933", "#6699cc", "#661100"];
const MOST_YEARS = 12;
const MOST_LISTED = 100;

const scale = () => (DARK.matches ? DARK_SCALE : LIGHT_SCALE);
const layerColor = (kind) => ({ survey: scale()[5], test: "#d6409f", po: "#1a9fd0" })[kind];
const count = (number) => number.toLocaleString("en");

// Text only: what comes from the data never becomes markup.
function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// A color per class of surveys: {of: row → class, colors, labels} or, for a gradient, ticks too.
function coloring(page, layer, name) {
  if (name === "region") {
    const labels = [...page.regions];
    const colors = labels.map((_, code) => REGION_COLORS[code % REGION_COLORS.length]);
    if (layer.region.includes(-1)) {
      labels.push("no region");
      colors.push(MISSING);
    }
    return { name, of: (row) => (layer.region[row] < 0 ? page.regions.length : layer.region[row]), colors, labels };
  }
  const values = layer[name];
  const distinct = name === "year" ? [...new Set(values)].sort((a, b) => a - b) : [];
  if (distinct.length && distinct.length <= MOST_YEARS) {
    const colors = distinct.map((_, k) => blend(k / Math.max(distinct.length - 1, 1)));
    const number = new Map(distinct.map((year, k) => [year, k]));
    return { name, of: (row) => number.get(values[row]), colors, labels: distinct.map(String) };
  }
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const steps = 16;
  const shades = Array.from({ length: steps }, (_, k) => blend(k / (steps - 1)));
  const logarithmic = name === "degree";
  const from = logarithmic ? 1 : low, to = Math.max(high, from + 1);
  const part = (value) => (logarithmic
    ? Math.log(value / from) / Math.log(to / from)
    : (value - from) / (to - from));
  const middle = Math.round(logarithmic ? Math.sqrt(from * to) : (from + to) / 2);
  const alone = logarithmic && values.includes(0);
  return {
    name, alone,
    of: (row) => (alone && values[row] === 0 ? steps : Math.round(part(values[row]) * (steps - 1))),
    colors: alone ? [...shades, ISOLATE] : shades,
    labels: alone ? ["no neighbour"] : [],
    ticks: layer.count ? [...new Set([from, middle, to])].map(name === "year" ? String : count) : [],
    shades,
  };
}

function blend(share) {
  const stops = scale();
  const at = share * (stops.length - 1);
  const k = Math.min(Math.floor(at), stops.length - 2);
  const channel = (text, c) => parseInt(text.slice(1 + 2 * c, 3 + 2 * c), 16);
  const mixed = [0, 1, 2].map((c) => Math.round(
    channel(stops[k], c) * (k + 1 - at) + channel(stops[k + 1], c) * (at - k)));
  return `rgb(${mixed.join(",")})`;
}

function showLegend(box, colors) {
  const titles = { degree: "Neighbours of each survey", year: "Year", region: "Region",
    richness: "Species found (richness)" };
  box.replaceChildren(element("h2", titles[colors.name]));
  if (colors.ticks && colors.ticks.length) {
    const bar = element("div", "", { class: "bar" });
    bar.style.background = `linear-gradient(to right, ${colors.shades.join(",")})`;
    const ticks = element("div", "", { class: "ticks" });
    ticks.append(...colors.ticks.map((tick) => element("span", tick)));
    box.append(bar, ticks);
    if (colors.name === "degree") box.append(element("p", "logarithmic scale", { class: "note" }));
  }
  const chips = element("ul", "", { class: "chips" });
  const shift = colors.colors.length - colors.labels.length;
  colors.labels.forEach((label, k) => {
    const chip = element("li");
    const swatch = element("span", "", { class: "swatch" });
    swatch.style.background = colors.colors[shift + k];
    chip.append(swatch, label);
    chips.append(chip);
  });
  box.append(chips);
  if (colors.name === "region" && colors.labels.length > REGION_COLORS.length) {
    box.append(element("p", "More regions than colours: colours repeat.", { class: "note" }));
  }
}

// [[name, value]] of what is known of a node.
function facts(graph, kind, row) {
  const { page } = graph;
  const layer = graph.layers[kind];
  const known = [["Year", String(layer.year[row])]];
  if (kind !== "po" && page.regions.length) {
    known.push(["Region", layer.region[row] < 0 ? "none" : page.regions[layer.region[row]]]);
  }
  known.push([KINDS[kind].reached, count(layer.degree[row])]);
  if (layer.richness[row] >= 0) known.push(["Species", count(layer.richness[row])]);
  const size = layer.first.length / Math.max(layer.count, 1);
  const names = [...layer.first.subarray(row * size, (row + 1) * size)]
    .filter((number) => number >= 0).map((number) => page.species[number]);
  if (names.length) {
    const rest = layer.richness[row] - names.length;
    known.push(["Of these", names.join(", ") + (rest > 0 ? ` and ${count(rest)} more` : "")]);
  }
  return known;
}

const title = (graph, { kind, row }) => `${KINDS[kind].one} ${graph.layers[kind].survey_id[row]}`;

function showTip(tip, graph, node) {
  const lines = facts(graph, node.kind, node.row).map(([name, value]) => element("span", `${name}: ${value}`));
  const others = graph.samePlace(node.kind, node.row).length;
  if (others) lines.push(element("span", `and ${count(others)} more at this place`));
  tip.replaceChildren(element("strong", title(graph, node)), ...lines);
}

function nodeTable(graph, found, last, value, go) {
  const table = element("table");
  const head = element("tr");
  head.append(element("th", "survey id"), element("th", "kind"), element("th", last));
  table.append(head);
  for (const node of found.slice(0, MOST_LISTED)) {
    const line = element("tr");
    const button = element("button", String(graph.layers[node.kind].survey_id[node.row]), { type: "button" });
    button.addEventListener("click", () => go(node));
    const first = element("td");
    first.append(button);
    line.append(first, element("td", KINDS[node.kind].one.toLowerCase()), element("td", value(node)));
    table.append(line);
  }
  return table;
}

function showDetail(box, graph, node, neighbors, go) {
  const { kind, row } = node;
  const layer = graph.layers[kind];
  const list = element("dl");
  const degrees = (value, [positive, negative]) => `${Math.abs(value).toFixed(4)}° ${value < 0 ? negative : positive}`;
  const place = ["Place", `${degrees(layer.lat[row], "NS")}, ${degrees(layer.lon[row], "EW")}`];
  for (const [name, value] of [place, ...facts(graph, kind, row)]) {
    list.append(element("dt", name), element("dd", value));
  }
  box.replaceChildren(element("h2", title(graph, node)), list);
  box.append(element("h2", `${count(neighbors.length)} linked within ${graph.page.radius_km} km`));
  const parts = [[neighbors, "km", (other) => other.km.toFixed(2), "neighbors"]];
  const here = graph.samePlace(kind, row);
  if (here.length) parts.push([here, "year", (other) => String(graph.layers[other.kind].year[other.row]), "here"]);
  for (const [found, last, value, name] of parts) {
    if (name === "here") box.append(element("h2", `${count(here.length)} more at this place, any year`));
    const table = nodeTable(graph, found, last, value, go);
    table.id = name;
    if (found.length) box.append(table);
    if (found.length > MOST_LISTED) {
      box.append(element("p", `The first ${MOST_LISTED} of ${count(found.length)}.`, { class: "note" }));
    }
  }
}
