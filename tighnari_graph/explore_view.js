// The view: what part of the earth is in the box, and where on the screen a place lies.
"use strict";

const MARGIN = { left: 62, right: 8, top: 8, bottom: 28 }; // of the map box, for the degrees
const SMALLEST_SPAN = 1e-5; // degrees, about a metre

// Latitude ↔ height on the map. Tiles are in Web Mercator: as wide as high at every place.
// Without tiles it is plain degrees, stretched so that lengths are equal in the middle.
const MERCATOR_TOP = 180; // where tiles end, 85.05° north
const mercator = {
  up: (lat) => {
    const height = (Math.asinh(Math.tan((lat * Math.PI) / 180)) * 180) / Math.PI;
    return Math.max(-MERCATOR_TOP, Math.min(MERCATOR_TOP, height));
  },
  latitude: (up) => (Math.atan(Math.sinh((up * Math.PI) / 180)) * 180) / Math.PI,
};
const degrees = { up: (lat) => lat, latitude: (up) => up };

class SurveyMapView {
  constructor(graph, box) {
    this.box = box;
    this.radius = (180 / Math.PI) * (graph.page.radius_km / graph.page.earth_radius_km); // degrees
    this.shape = graph.page.basemap ? mercator : degrees;
    const limits = [Infinity, -Infinity, Infinity, -Infinity];
    for (const layer of Object.values(graph.layers)) {
      const { lat, lon, count: size } = layer;
      layer.up = lat.map(this.shape.up);
      for (let i = 0; i < size; i++) {
        limits[0] = Math.min(limits[0], layer.up[i]);
        limits[1] = Math.max(limits[1], layer.up[i]);
        limits[2] = Math.min(limits[2], lon[i]);
        limits[3] = Math.max(limits[3], lon[i]);
      }
    }
    this.limits = limits[0] <= limits[1] ? limits : [-60, 60, -180, 180];
    const middle = (this.limits[0] + this.limits[1]) / 2;
    this.stretch = graph.page.basemap ? 1 : 1 / Math.max(Math.cos((middle * Math.PI) / 180), 0.1);
    this.measure();
    this.now = this.whole();
  }

  // The plot area in pixels of the map box, read again when the box changes.
  measure() {
    const { width, height } = this.box.getBoundingClientRect();
    this.size = { width, height };
    this.area = {
      left: MARGIN.left, top: MARGIN.top,
      width: Math.max(width - MARGIN.left - MARGIN.right, 50),
      height: Math.max(height - MARGIN.top - MARGIN.bottom, 50),
    };
  }

  // Ranges around a point of the map so that `tall` and `wide` fit.
  around(lon, up, tall, wide) {
    const aspect = (this.area.width / this.area.height) * this.stretch;
    const half = Math.max(tall, wide / aspect, SMALLEST_SPAN) / 2;
    return { x: [lon - half * aspect, lon + half * aspect], y: [up - half, up + half] };
  }

  whole() {
    const [south, north, west, east] = this.limits;
    const fit = (span) => Math.max(span, 0.05) * 1.06;
    return this.around((west + east) / 2, (south + north) / 2, fit(north - south), fit(east - west));
  }

  // Around a place, four radii high.
  near(lat, lon) {
    const half = Math.min(2 * this.radius, 85);
    const { up } = this.shape;
    return this.around(lon, up(lat), up(Math.min(lat + half, 90)) - up(Math.max(lat - half, -90)), 0);
  }

  // The same middle and height in a box of another shape.
  refit({ x, y }) {
    return this.around((x[0] + x[1]) / 2, (y[0] + y[1]) / 2, y[1] - y[0], 0);
  }

  // Ranges after zooming by `factor`, while what lies at this pixel stays there.
  zoomed(factor, pixel = { x: this.area.left + this.area.width / 2, y: this.area.top + this.area.height / 2 }) {
    const { x, y } = this.now;
    const most = Math.max(this.whole().y[1] - this.whole().y[0], 180) * 2;
    const tall = Math.max(Math.min((y[1] - y[0]) * factor, most), SMALLEST_SPAN);
    const exact = tall / (y[1] - y[0]);
    const point = this.place(pixel);
    const about = ([low, high], fixed) => [fixed - (fixed - low) * exact, fixed + (high - fixed) * exact];
    return { x: about(x, point.lon), y: about(y, point.up) };
  }

  // Ranges after the picture is shifted by pixels.
  shifted(right, down) {
    const { x, y } = this.now;
    const dx = (right / this.area.width) * (x[1] - x[0]);
    const dy = (down / this.area.height) * (y[1] - y[0]);
    return { x: x.map((value) => value - dx), y: y.map((value) => value + dy) };
  }

  // Pixel of the map box → place on the map.
  place(pixel) {
    const { x, y } = this.now;
    return {
      lon: x[0] + ((pixel.x - this.area.left) / this.area.width) * (x[1] - x[0]),
      up: y[1] - ((pixel.y - this.area.top) / this.area.height) * (y[1] - y[0]),
    };
  }

  // Longitude and height → pixels of the plot area, as scale and shift of each axis.
  toArea({ x, y } = this.now) {
    const across = this.area.width / (x[1] - x[0]);
    const down = -this.area.height / (y[1] - y[0]);
    return { across, left: -x[0] * across, down, top: -y[1] * down };
  }

  // Where a node is, in pixels of the map box.
  pixel(layer, row) {
    const { across, left, down, top } = this.toArea();
    return { x: this.area.left + left + layer.lon[row] * across, y: this.area.top + top + layer.up[row] * down };
  }
}

// A canvas of this many CSS pixels, sharp on the screen, wiped; returns its pen.
function wiped(canvas, { width, height }, options = {}) {
  const sharp = window.devicePixelRatio || 1;
  const sides = { width: Math.round(width * sharp), height: Math.round(height * sharp) };
  for (const [side, size] of Object.entries(sides)) if (canvas[side] !== size) canvas[side] = size;
  const pen = canvas.getContext("2d", options);
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
