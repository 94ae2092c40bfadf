// What lies below the points: tiles of a basemap where one was asked for, the grid of degrees.
"use strict";

const TILE = 256; // pixels of a tile, at its own zoom
const MOST_TILES = 300; // kept in memory, unless more are in view
const COARSER_LEVELS = 2; // of coarser tiles to stand in for one that has not come

class Ground {
  constructor(canvas, view, basemap, redraw) {
    Object.assign(this, { canvas, view, basemap, redraw, tiles: new Map(), failed: 0 });
  }

  draw() {
    const { view } = this;
    const { area, size } = view;
    const pen = wiped(this.canvas, size);
    pen.save();
    pen.beginPath();
    pen.rect(area.left, area.top, area.width, area.height);
    pen.clip();
    pen.translate(area.left, area.top);
    if (this.basemap) this.drawTiles(pen);
    pen.restore();
    this.drawGrid(pen);
  }

  // Lines of whole degrees, or of round parts of one, with their numbers below and at the left.
  drawGrid(pen) {
    const { area, now, shape, size } = this.view;
    const { across, left, down, top } = this.view.toArea();
    const south = Math.max(shape.latitude(now.y[0]), -90), north = Math.min(shape.latitude(now.y[1]), 90);
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = style("--soft");
    pen.strokeStyle = style("--line");
    pen.lineWidth = 1;
    pen.beginPath();
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const { value, text } of ticks(Math.max(now.x[0], -180), Math.min(now.x[1], 180), area.width / 110, "EW")) {
      const x = Math.round(area.left + left + value * across) + 0.5;
      pen.moveTo(x, area.top);
      pen.lineTo(x, area.top + area.height + 4);
      const half = pen.measureText(text).width / 2;
      pen.fillText(text, Math.min(x, size.width - half - 1), area.top + area.height + 7);
    }
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const { value, text } of ticks(south, north, area.height / 80, "NS")) {
      const y = Math.round(area.top + top + shape.up(value) * down) + 0.5;
      pen.moveTo(area.left - 4, y);
      pen.lineTo(area.left + area.width, y);
      pen.fillText(text, area.left - 7, y, area.left - 8);
    }
    pen.rect(area.left + 0.5, area.top + 0.5, area.width, area.height);
    pen.stroke();
  }

  drawTiles(pen) {
    const { now, area } = this.view;
    const { across, left, down, top } = this.view.toArea();
    const wanted = Math.round(Math.log2((across * 360) / TILE));
    const zoom = Math.max(0, Math.min(wanted, this.basemap.max_zoom));
    const side = 360 / 2 ** zoom; // degrees
    const last = 2 ** zoom - 1;
    const cell = (from, to) => [Math.max(Math.floor(from / side), 0), Math.min(Math.floor(to / side), last)];
    const [west, east] = cell(now.x[0] + 180, now.x[1] + 180);
    const [north, south] = cell(MERCATOR_TOP - now.y[1], MERCATOR_TOP - now.y[0]);
    let drawn = 0;
    pen.globalAlpha = DARK.matches ? 0.35 : 0.75; // points must stand out
    for (let row = north; row <= south; row++) for (let column = west; column <= east; column++) {
      const x = Math.round(left + (column * side - 180) * across);
      const y = Math.round(top + (MERCATOR_TOP - row * side) * down);
      const right = Math.round(left + ((column + 1) * side - 180) * across);
      const bottom = Math.round(top + (MERCATOR_TOP - (row + 1) * side) * down);
      if (right < 0 || bottom < 0 || x > area.width || y > area.height) continue;
      this.drawTile(pen, { zoom, column, row }, [x, y, right - x, bottom - y]);
      drawn++;
    }
    pen.globalAlpha = 1;
    const least = Math.max(this.tiles.size - Math.max(MOST_TILES, drawn), 0);
    for (const key of [...this.tiles.keys()].slice(0, least)) this.tiles.delete(key);
  }

  // The tile, or until it comes the part of a coarser one that is there.
  drawTile(pen, { zoom, column, row }, target) {
    const own = this.tile(zoom, column, row);
    if (own.complete && own.naturalWidth) {
      pen.drawImage(own, ...target);
      return;
    }
    for (let up = 1; up <= Math.min(COARSER_LEVELS, zoom); up++) {
      const coarse = this.tiles.get(`${zoom - up}/${column >> up}/${row >> up}`);
      if (!coarse || !coarse.naturalWidth) continue;
      const part = coarse.naturalWidth / 2 ** up;
      const [x, y] = [column, row].map((number) => (number % 2 ** up) * part);
      pen.drawImage(coarse, x, y, part, part, ...target);
      return;
    }
  }

  tile(zoom, column, row) {
    const key = `${zoom}/${column}/${row}`;
    let image = this.tiles.get(key);
    if (image === undefined) {
      image = new Image();
      image.addEventListener("load", () => this.redraw());
      image.addEventListener("error", () => {
        this.failed++;
        this.redraw();
      });
      image.src = this.basemap.url
        .replace(/\{([zxy])\}/g, (_, name) => ({ z: zoom, x: column, y: row })[name]);
    }
    this.tiles.delete(key); // the oldest use first
    this.tiles.set(key, image);
    return image;
  }
}

// Round degrees between two values, about `most` of them: [{value, text}].
function ticks(from, to, most, [positive, negative]) {
  const rough = (to - from) / Math.max(most, 2);
  if (!(rough > 0)) return [];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * (1 - 1e-9));
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const made = [];
  for (let k = Math.ceil(from / step - 1e-9); k * step <= to + step * 1e-9; k++) {
    const side = k === 0 ? "" : ` ${k > 0 ? positive : negative}`;
    made.push({ value: k * step, text: `${Math.abs(k * step).toFixed(digits)}°${side}` });
  }
  return made;
}
