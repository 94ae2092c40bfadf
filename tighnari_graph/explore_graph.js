// The graph in the page: arrays, a grid of cells, and the rule that decides which pairs are edges.
"use strict";

const ARRAYS = { float64: Float64Array, int64: BigInt64Array, int32: Int32Array };
const LINKS = [ // source, target, and the group that both ends share
  ["survey", "survey", "group"],
  ["survey", "test", "group"],
  ["po", "test", "po_group"],
];

function decoded({ dtype, data }) {
  const text = atob(data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new ARRAYS[dtype](bytes.buffer);
}

// Points of the unit sphere in cubes whose side is the radius: neighbours are in 27 cubes.
class Cells {
  constructor(vector, chordSquare) {
    this.vector = vector;
    this.side = Math.max(Math.sqrt(chordSquare) * (1 + 1e-9), 1e-4);
    this.across = Math.ceil(2 / this.side) + 3;
    const count = vector.length / 3;
    const cellOf = new Uint32Array(count);
    this.number = new Map();
    const sizes = [];
    for (let i = 0; i < count; i++) {
      const key = this.key(...this.place(i));
      let cell = this.number.get(key);
      if (cell === undefined) {
        cell = this.number.size;
        this.number.set(key, cell);
        sizes.push(0);
      }
      cellOf[i] = cell;
      sizes[cell]++;
    }
    this.begin = new Uint32Array(sizes.length + 1);
    sizes.forEach((size, cell) => { this.begin[cell + 1] = this.begin[cell] + size; });
    const next = this.begin.slice();
    this.rows = new Uint32Array(count);
    for (let i = 0; i < count; i++) this.rows[next[cellOf[i]]++] = i;
  }

  place(i, vector = this.vector) {
    return [0, 1, 2].map((axis) => Math.floor((vector[3 * i + axis] + 1) / this.side) + 1);
  }

  key(x, y, z) {
    return (x * this.across + y) * this.across + z;
  }

  // Calls visit(row, squared chord) for each point within; visit may return false to stop.
  within(vector, i, chordSquare, visit) {
    const [cx, cy, cz] = this.place(i, vector);
    const own = this.vector;
    for (let x = cx - 1; x <= cx + 1; x++) for (let y = cy - 1; y <= cy + 1; y++) {
      for (let z = cz - 1; z <= cz + 1; z++) {
        const cell = this.number.get(this.key(x, y, z));
        if (cell === undefined) continue;
        for (let at = this.begin[cell]; at < this.begin[cell + 1]; at++) {
          const row = this.rows[at];
          // the same three squares in the same order as in the library: the same edges
          const dx = own[3 * row] - vector[3 * i];
          const dy = own[3 * row + 1] - vector[3 * i + 1];
          const dz = own[3 * row + 2] - vector[3 * i + 2];
          const square = dx * dx + dy * dy + dz * dz;
          if (square <= chordSquare && visit(row, square) === false) return false;
        }
      }
    }
    return true;
  }
}

class SurveyMapGraph {
  constructor(page) {
    this.page = page;
    this.layers = {};
    for (const [kind, arrays] of Object.entries(page.layers)) {
      const layer = {};
      for (const [name, array] of Object.entries(arrays)) layer[name] = decoded(array);
      layer.count = layer.survey_id.length;
      layer.cells = new Cells(layer.vector, page.chord_square);
      this.layers[kind] = layer;
    }
  }

  // Calls visit(kind, row, squared chord) for each node that shares an edge with this one.
  eachNeighbor(kind, i, visit) {
    const here = this.layers[kind];
    for (const [source, target, group] of LINKS) {
      const other = kind === target ? source : kind === source ? target : null;
      if (other === null || !(other in this.layers) || here[group][i] < 0) continue;
      const there = this.layers[other];
      const more = there.cells.within(here.vector, i, this.page.chord_square, (row, square) => {
        if (there[group][row] !== here[group][i] || (other === kind && row === i)) return true;
        return visit(other, row, square);
      });
      if (more === false) return;
    }
  }

  // [{kind, row, km}], nearest first.
  neighbors(kind, i) {
    const found = [];
    this.eachNeighbor(kind, i, (other, row, square) => {
      found.push({ kind: other, row, km: this.km(square) });
    });
    return found.sort((a, b) => a.km - b.km || a.row - b.row);
  }

  // Edges with an end among the rows (kind → array of rows), or null if more than `most`.
  edgesAt(rowsOf, most) {
    const edges = [];
    const inView = {};
    for (const [kind, rows] of Object.entries(rowsOf)) {
      inView[kind] = new Uint8Array(this.layers[kind].count);
      for (const row of rows) inView[kind][row] = 1;
    }
    const order = Object.keys(this.layers);
    for (const [kind, rows] of Object.entries(rowsOf)) for (const row of rows) {
      this.eachNeighbor(kind, row, (other, j) => {
        if (!(other in rowsOf)) return true; // that layer is switched off
        const first = kind === other ? row < j : order.indexOf(kind) < order.indexOf(other);
        if (inView[other][j] && !first) return true; // found from the other end
        edges.push([kind, row, other, j]);
        return edges.length <= most;
      });
      if (edges.length > most) return null;
    }
    return edges;
  }

  // Other nodes at this very place, of any year and layer.
  samePlace(kind, i) {
    const found = [];
    for (const [other, layer] of Object.entries(this.layers)) {
      layer.cells.within(this.layers[kind].vector, i, 0, (row) => {
        if (other !== kind || row !== i) found.push({ kind: other, row });
      });
    }
    return found;
  }

  // Nodes with a survey id given as text; surveys before test nodes before PO.
  find(text) {
    if (!/^\s*-?\d{1,19}\s*$/.test(text)) return [];
    const id = BigInt(text.trim());
    return Object.entries(this.layers)
      .map(([kind, layer]) => ({ kind, row: layer.survey_id.indexOf(id) }))
      .filter(({ row }) => row >= 0);
  }

  km(square) {
    const arc = square > 2
      ? Math.PI - 2 * Math.asin(Math.sqrt(Math.max(1 - square / 4, 0)))
      : 2 * Math.asin(Math.min(Math.sqrt(square) / 2, 1));
    return Math.min(arc * this.page.earth_radius_km, this.page.radius_km);
  }
}
