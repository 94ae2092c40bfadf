// Mouse, fingers, wheel and keys, told as moves of the view, taps and pointing.
"use strict";

const STEADY = 6; // pixels that a tap may wander
const TWICE_MS = 350; // between the taps of a double tap
const TWICE_APART = 30; // pixels
const NEAR = { pen: 14, touch: 22 }; // pixels around a survey that are still it
const near = (event) => NEAR[event.pointerType] ?? 12; // of a mouse, or what does not say

class Gestures {
  // told: { move(ranges), tap(pixel, reach), point(pixel or null, reach), rest() }
  constructor(box, view, told) {
    Object.assign(this, { box, view, told, fingers: new Map(), tapped: null, steady: true });
    const on = (name, act, options) => box.addEventListener(name, act, options);
    on("pointerdown", (event) => this.down(event));
    on("pointermove", (event) => this.moved(event));
    on("pointerup", (event) => this.up(event, true));
    on("pointercancel", (event) => this.up(event, false));
    on("pointerleave", () => this.told.point(null));
    on("wheel", (event) => this.wheel(event), { passive: false });
    on("keydown", (event) => this.key(event));
  }

  get pressed() {
    return this.fingers.size > 0;
  }

  pixel(event) {
    const { left, top } = this.box.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  }

  down(event) {
    if (event.button !== 0) return;
    this.box.setPointerCapture(event.pointerId);
    this.steady = this.fingers.size === 0;
    this.fingers.set(event.pointerId, this.pixel(event));
    this.start = this.pixel(event);
  }

  moved(event) {
    const pixel = this.pixel(event);
    const before = this.fingers.get(event.pointerId);
    if (before === undefined) {
      if (event.pointerType !== "touch") this.told.point(pixel, near(event));
      return;
    }
    if (this.steady && Math.hypot(pixel.x - this.start.x, pixel.y - this.start.y) < STEADY) return;
    this.steady = false;
    const others = [...this.fingers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    this.fingers.set(event.pointerId, pixel);
    if (others.length) this.pinch(others[0], before, pixel);
    else this.told.move(this.view.shifted(pixel.x - before.x, pixel.y - before.y));
  }

  // One of two fingers has moved; the places below both stay below them.
  pinch(other, before, after) {
    const apart = (a, b) => Math.max(Math.hypot(a.x - b.x, a.y - b.y), 10);
    const half = (a, b) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
    const from = half(other, before), to = half(other, after);
    this.told.move(this.view.shifted(to.x - from.x, to.y - from.y));
    this.told.move(this.view.zoomed(apart(other, before) / apart(other, after), to));
  }

  up(event, ended) {
    if (!this.fingers.delete(event.pointerId)) return;
    if (this.pressed) return;
    this.told.rest();
    if (!ended || !this.steady) return;
    const pixel = this.pixel(event);
    const last = this.tapped;
    const again = last && event.timeStamp - last.time < TWICE_MS
      && Math.hypot(pixel.x - last.pixel.x, pixel.y - last.pixel.y) < TWICE_APART;
    this.tapped = again ? null : { pixel, time: event.timeStamp };
    if (again) this.told.move(this.view.zoomed(event.shiftKey ? 2 : 0.5, pixel));
    else this.told.tap(pixel, near(event));
  }

  wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    const pinched = event.ctrlKey ? 5 : 1; // two fingers on a touch pad turn a wheel with Ctrl
    const turned = Math.max(-300, Math.min(300, event.deltaY * lines * pinched));
    this.told.move(this.view.zoomed(Math.exp(turned / 500), this.pixel(event)));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return; // the browser's own
    const { width, height } = this.view.area;
    const shift = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (shift) this.told.move(this.view.shifted((shift[0] * width) / 5, (shift[1] * height) / 5));
    else if (event.key === "+" || event.key === "=") this.told.move(this.view.zoomed(0.5));
    else if (event.key === "-") this.told.move(this.view.zoomed(2));
    else if (event.key === "0") this.told.move(this.view.whole());
    else return;
    event.preventDefault();
  }
}
