// The points. Plotly draws them where the map rests. While it moves they are stamped into a
// bitmap: on a machine without a graphics card that is many times faster, and none is left out.
"use strict";

const MOST_STAMPED = 200000; // points times pixels per CSS pixel: up to here at full sharpness

// Plotly wants edges smoothed by the WebGL canvas, though its points smooth their own: without,
// the picture is the same, and drawing in software takes half the time.
const contextOf = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function getContext(kind, wanted) {
  return contextOf.call(this, kind, kind.includes("webgl") ? { ...wanted, antialias: false } : wanted);
};

class Points {
  constructor(graph, view, still, moving) {
    Object.assign(this, { graph, view, still, moving, curves: [] });
    this.drawable = Boolean(document.createElement("canvas").getContext("webgl"));
  }

  // One curve per colour: plotly reads a single colour at once, and one per point slowly.
  paint(kinds, shown, name) {
    this.curves = [];
    for (const kind of kinds) {
      const layer = this.graph.layers[kind];
      const size = Math.min(Math.max(300 / Math.sqrt(layer.count + 1), 4), 10);
      const every = Uint32Array.from({ length: layer.count }, (_, row) => row);
      let parts = [{ rows: every, marker: { symbol: "diamond", size: size + 1, color: layerColor(kind) } }];
      if (kind === "test") {
        parts[0].marker = { symbol: "x-thin", size: size + 1, line: { width: 1.2, color: layerColor(kind) } };
      } else if (kind === "survey") {
        const { of, colors, alone } = coloring(this.graph.page, layer, name);
        const rowsOf = colors.map(() => []);
        for (const row of every) rowsOf[of(row)].push(row);
        parts = colors.map((color, k) => ({ rows: Uint32Array.from(rowsOf[k]), marker: { symbol: "circle", size, color } }));
        if (alone) parts.unshift(parts.pop()); // isolates below those that have neighbours
      }
      for (const { rows, marker } of parts) {
        const x = Float64Array.from(rows, (row) => layer.lon[row]);
        const y = Float64Array.from(rows, (row) => layer.up[row]);
        this.curves.push({ kind, rows, x, y, marker, visible: shown[kind] });
      }
    }
    if (!this.drawable) return Promise.resolve();
    const made = this.curves.map(({ x, y, marker, visible }) => (
      { type: "scattergl", mode: "markers", hoverinfo: "skip", x, y, marker, visible }));
    return Plotly.react(this.still, made, this.layout(), { staticPlot: true,
      plotGlPixelRatio: window.devicePixelRatio || 1 });
  }

  // Only the points: degrees and grid are drawn below.
  layout() {
    const { size, now } = this.view;
    const axis = (range) => ({ range: [...range], visible: false, fixedrange: true });
    return {
      margin: { l: MARGIN.left, r: MARGIN.right, t: MARGIN.top, b: MARGIN.bottom }, ...size,
      showlegend: false, hovermode: false, dragmode: false, xaxis: axis(now.x), yaxis: axis(now.y),
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    };
  }

  // Where the map rests: plotly, sharp. Without WebGL the bitmap stays.
  drawStill() {
    if (!this.drawable) return Promise.resolve();
    const { size, now } = this.view;
    const { layout } = this.still;
    const resized = layout.width === size.width && layout.height === size.height ? {} : size;
    return Plotly.relayout(this.still, { "xaxis.range": [...now.x], "yaxis.range": [...now.y], ...resized });
  }

  drawMoving() {
    const { area } = this.view;
    const dots = this.curves.reduce((sum, { rows, visible }) => sum + (visible ? rows.length : 0), 0);
    const full = window.devicePixelRatio || 1;
    const sharp = dots * full <= MOST_STAMPED ? full : 1;
    const width = Math.round(area.width * sharp), height = Math.round(area.height * sharp);
    const edge = 16 * Math.ceil(sharp); // stamps at the border are cut by the canvas
    if (this.moving.width !== width || this.moving.height !== height || this.sharp !== sharp) {
      Object.assign(this.moving, { width, height });
      this.image = new ImageData(width + 2 * edge, height + 2 * edge);
      this.dots = new Uint32Array(this.image.data.buffer);
      this.sharp = sharp;
    }
    this.dots.fill(0);
    const to = this.view.toArea();
    for (const curve of this.curves) {
      if (curve.visible) this.stamp(curve, to, { sharp, edge, width: this.image.width, height: this.image.height });
    }
    this.moving.getContext("2d", { willReadFrequently: true }).putImageData(this.image, -edge, -edge);
  }

  stamp(curve, to, { sharp, edge, width, height }) {
    const { x, y } = curve;
    if (curve.stamp === undefined || curve.stamp.sharp !== sharp) curve.stamp = stampOf(curve.marker, sharp);
    const { half, right, down, color } = curve.stamp;
    const shifts = right.map((dx, k) => down[k] * width + dx);
    const across = to.across * sharp, left = to.left * sharp + edge;
    const drop = to.down * sharp, top = to.top * sharp + edge;
    const { dots } = this;
    for (let i = 0; i < x.length; i++) {
      const px = Math.round(x[i] * across + left - 0.5), py = Math.round(y[i] * drop + top - 0.5);
      if (px < half || py < half || px >= width - half || py >= height - half) continue;
      const base = py * width + px;
      for (let k = 0; k < shifts.length; k++) {
        const spot = base + shifts[k];
        // the soft edge of a point never covers the body of another
        if (dots[spot] >>> 24 <= color[k] >>> 24) dots[spot] = color[k];
      }
    }
  }

  // The node nearest to a pixel of the map box, no farther than `reach` pixels, or null.
  // Of several, the one that is drawn last.
  at(pixel, reach) {
    const to = this.view.toArea();
    const px = pixel.x - this.view.area.left, py = pixel.y - this.view.area.top;
    let best = reach * reach, found = null;
    for (const { kind, rows, x, y, visible } of this.curves) {
      for (let i = 0; visible && i < x.length; i++) {
        const dx = x[i] * to.across + to.left - px, dy = y[i] * to.down + to.top - py;
        const square = dx * dx + dy * dy;
        if (square > best) continue;
        best = square;
        found = { kind, row: rows[i] };
      }
    }
    return found;
  }
}

// A marker as pixels: shifts from its middle and colours, drawn once by the browser.
function stampOf({ symbol, size, color, line }, sharp) {
  const half = Math.ceil(((size + 2) * sharp) / 2);
  const side = 2 * half + 1;
  const canvas = new OffscreenCanvas(side, side);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const radius = (size * sharp) / 2;
  pen.translate(half + 0.5, half + 0.5);
  pen.beginPath();
  if (symbol === "circle") pen.arc(0, 0, radius, 0, 2 * Math.PI);
  else if (symbol === "diamond") {
    const tip = radius * 1.3; // as plotly's
    for (const [dx, dy] of [[tip, 0], [0, tip], [-tip, 0], [0, -tip]]) pen.lineTo(dx, dy);
  } else {
    for (const [dx, dy] of [[radius, radius], [radius, -radius]]) {
      pen.moveTo(-dx, -dy);
      pen.lineTo(dx, dy);
    }
  }
  pen.fillStyle = color;
  if (line) {
    pen.strokeStyle = line.color;
    pen.lineWidth = line.width * sharp;
    pen.stroke();
  } else pen.fill();
  const drawn = new Uint32Array(pen.getImageData(0, 0, side, side).data.buffer);
  const used = [...drawn.keys()].filter((k) => drawn[k] >>> 24 > 0);
  return {
    sharp, half,
    right: Int32Array.from(used, (k) => (k % side) - half),
    down: Int32Array.from(used, (k) => Math.floor(k / side) - half),
    color: Uint32Array.from(used, (k) => drawn[k]),
  };
}
