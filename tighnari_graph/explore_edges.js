// Edges, on canvases above the points: all at close zoom, and those of the survey pointed at.
"use strict";

const MOST_IN_VIEW = 3000; // nodes in view up to which all edges are drawn
const MOST_EDGES = 40000;

class Edges {
  constructor(graph, view, all, marks) {
    Object.assign(this, { graph, view, all, marks, found: [], drawnAt: view.now });
  }

  // Rows in view of each layer shown.
  rowsIn({ x, y }, shown) {
    const rowsOf = {};
    let total = 0;
    for (const [kind, { lon, up, count: size }] of Object.entries(this.graph.layers)) {
      if (!shown[kind]) continue;
      const rows = [];
      for (let i = 0; i < size; i++) {
        if (up[i] >= y[0] && up[i] <= y[1] && lon[i] >= x[0] && lon[i] <= x[1]) rows.push(i);
      }
      rowsOf[kind] = rows;
      total += rows.length;
    }
    return { rowsOf, total };
  }

  // Finds and draws the edges of all nodes in view where they are few enough; says how many.
  draw(shown) {
    this.drawnAt = this.view.now;
    const { rowsOf, total } = this.rowsIn(this.view.now, shown);
    const found = total && total <= MOST_IN_VIEW ? this.graph.edgesAt(rowsOf, MOST_EDGES) : [];
    this.found = found || [];
    // a canvas in memory: beside a busy WebGL, Chromium left a cleared one on the screen
    const pen = wiped(this.all, this.view.area, { willReadFrequently: true });
    this.stroke(pen, this.found, style("--soft"), 0.6, this.found.length > 1000 ? 0.25 : 0.5);
    this.follow();
    if (found === null) return `${count(total)} in view, more than ${count(MOST_EDGES)} edges: too many to draw`;
    return total > MOST_IN_VIEW
      ? `${count(total)} in view: zoom in to see all edges` : `${count(total)} in view, ${count(found.length)} edges`;
  }

  // A ring and the edges of these nodes.
  mark(nodes, shown) {
    const pen = wiped(this.marks, this.view.area, { willReadFrequently: true });
    for (const node of nodes) {
      const found = this.graph.neighbors(node.kind, node.row).filter((other) => shown[other.kind]);
      const ends = found.map((other) => [node.kind, node.row, other.kind, other.row]);
      this.stroke(pen, ends, style("--accent"), 1.4, 0.9);
      const { x, y } = this.view.pixel(this.graph.layers[node.kind], node.row);
      pen.beginPath();
      pen.arc(x - this.view.area.left, y - this.view.area.top, 9, 0, 2 * Math.PI);
      pen.lineWidth = 2.5;
      pen.stroke();
    }
  }

  // While the map moves, the drawn edges move with it as a picture.
  follow() {
    const was = this.view.toArea(this.drawnAt), is = this.view.toArea();
    const across = is.across / was.across, down = is.down / was.down;
    const move = [across, 0, 0, down, is.left - was.left * across, is.top - was.top * down];
    this.all.style.transform = `matrix(${move.join(",")})`;
  }

  stroke(pen, edges, color, width, opacity) {
    const { across, left, down, top } = this.view.toArea();
    const line = (lonA, upA, lonB, upB) => {
      pen.moveTo(left + lonA * across, top + upA * down);
      pen.lineTo(left + lonB * across, top + upB * down);
    };
    pen.beginPath();
    for (const [kind, i, other, j] of edges) {
      const a = this.graph.layers[kind], b = this.graph.layers[other];
      const turn = 360 * Math.round((b.lon[j] - a.lon[i]) / 360); // over the antimeridian: the short way
      line(a.lon[i], a.up[i], b.lon[j] - turn, b.up[j]);
      if (turn !== 0) line(a.lon[i] + turn, a.up[i], b.lon[j], b.up[j]);
    }
    pen.strokeStyle = color;
    pen.lineWidth = width;
    pen.globalAlpha = opacity;
    pen.stroke();
    pen.globalAlpha = 1;
  }
}
