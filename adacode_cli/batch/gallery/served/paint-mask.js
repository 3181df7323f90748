"use strict";
// A mask: one byte for each pixel of the picture, 1 in the hole, with the steps that can be undone.
//
// It is no canvas of the browser, because those have grey edges, limits of size, and no exact values. For display it has
// smaller maps too: a pixel of the next map is in the hole if one of four is, so that thin lines are seen at any zoom.
(() => {
  const TILE = 256;
  const MAX_UNDO_BYTES = 256 << 20;
  const SMALLEST_MAP = 256;

  class Mask {
    /** bits: one for each pixel, row by row. onChange: gets the rectangle {left, top, right, bottom} that has changed. */
    constructor(width, height, bits, onChange) {
      this.width = width;
      this.height = height;
      this.onChange = onChange;
      this.maps = [{ width, height, data: unpacked(bits, width * height) }];
      for (let one = this.maps[0]; Math.max(one.width, one.height) > SMALLEST_MAP; one = this.maps.at(-1)) {
        const [wide, high] = [(one.width + 1) >> 1, (one.height + 1) >> 1];
        this.maps.push({ width: wide, height: high, data: new Uint8Array(wide * high) });
      }
      this.done = [];
      this.undone = [];
      this.step = null;
      this.first = null; // the last step that is too old to be undone
      this.savedAt = null; // the last step when it was saved
      this.refresh(this.all());
    }

    all() {
      return { left: 0, top: 0, right: this.width, bottom: this.height };
    }

    data() {
      return this.maps[0].data;
    }

    isEmpty() {
      return this.data().indexOf(1) < 0;
    }

    bits() {
      return packed(this.data());
    }

    /** Begins what is undone as a whole. */
    begin() {
      this.step = { tiles: new Map(), bytes: 0 };
    }

    end() {
      const { step } = this;
      this.step = null;
      if (!step?.tiles.size) return;
      this.done.push(step);
      this.undone = [];
      let bytes = this.done.reduce((sum, one) => sum + one.bytes, 0);
      while (bytes > MAX_UNDO_BYTES && this.done.length > 1) {
        this.first = this.done.shift();
        bytes -= this.first.bytes;
      }
    }

    /** Takes back the step that is not ended yet. */
    cancel() {
      const { step } = this;
      this.step = null;
      if (step) this.swap(step);
    }

    undo() {
      this.move(this.done, this.undone);
    }

    redo() {
      this.move(this.undone, this.done);
    }

    move(from, to) {
      this.end();
      const step = from.pop();
      if (!step) return;
      this.swap(step);
      to.push(step);
    }

    /** What the mask is now: the last step that is done. */
    now() {
      return this.done.at(-1) ?? this.first;
    }

    hasChanged() {
      return this.savedAt !== this.now();
    }

    /** The mask as it was at `now` counts as saved. */
    saved(now) {
      this.savedAt = now;
    }

    /**
     * Sets the pixels whose centres are at most half of `diameter` from the line between two points. The points are
     * moved to the middle of a pixel, or with an even diameter to the corner of four, so that brushes are symmetric.
     */
    line(from, to, diameter, value) {
      const snap = (at) => (diameter % 2 ? Math.floor(at) + 0.5 : Math.round(at));
      const [x0, y0, x1, y1] = [snap(from.x), snap(from.y), snap(to.x), snap(to.y)];
      const radius = diameter / 2;
      const area = this.clipped({
        left: Math.floor(Math.min(x0, x1) - radius),
        top: Math.floor(Math.min(y0, y1) - radius),
        right: Math.ceil(Math.max(x0, x1) + radius),
        bottom: Math.ceil(Math.max(y0, y1) + radius),
      });
      if (!area) return;
      this.keep(area);
      const [dx, dy] = [x1 - x0, y1 - y0];
      const length = dx * dx + dy * dy;
      const most = radius * radius + 1e-9;
      const data = this.data();
      for (let y = area.top; y < area.bottom; y++) {
        const py = y + 0.5 - y0;
        for (let x = area.left; x < area.right; x++) {
          const px = x + 0.5 - x0;
          const along = length ? Math.max(0, Math.min(1, (px * dx + py * dy) / length)) : 0;
          const ax = px - along * dx;
          const ay = py - along * dy;
          if (ax * ax + ay * ay <= most) data[y * this.width + x] = value;
        }
      }
      this.refresh(area);
    }

    /** Adds to all holes (value 1), or takes away from them (0), the pixels within `radius` of their edges. */
    spread(radius, value) {
      const { width, height } = this;
      const before = this.data();
      const after = before.slice();
      const reach = Array.from({ length: radius + 1 }, (_, dy) => Math.floor(Math.sqrt(radius * radius - dy * dy)));
      for (let y = 0; y < height; y++) {
        const row = before.subarray(y * width, (y + 1) * width);
        for (let start = row.indexOf(value); start >= 0; ) {
          const other = row.indexOf(1 - value, start);
          const end = other < 0 ? width : other;
          for (let dy = -Math.min(radius, y); dy <= Math.min(radius, height - 1 - y); dy++) {
            const half = reach[Math.abs(dy)];
            const line = (y + dy) * width;
            after.fill(value, line + Math.max(0, start - half), line + Math.min(width, end + half));
          }
          start = other < 0 ? -1 : row.indexOf(value, other);
        }
      }
      this.replace(after);
    }

    clear() {
      this.replace(new Uint8Array(this.width * this.height));
    }

    /** Replaces all pixels, as one step. */
    replace(after) {
      this.begin();
      const before = this.data();
      for (let top = 0; top < this.height; top += TILE) {
        for (let left = 0; left < this.width; left += TILE) {
          const area = this.clipped({ left, top, right: left + TILE, bottom: top + TILE });
          if (differs(before, after, area, this.width)) this.keep(area);
        }
      }
      before.set(after);
      this.refresh(this.all());
      this.end();
    }

    clipped({ left, top, right, bottom }) {
      const area = {
        left: Math.max(0, left),
        top: Math.max(0, top),
        right: Math.min(this.width, right),
        bottom: Math.min(this.height, bottom),
      };
      return area.left < area.right && area.top < area.bottom ? area : null;
    }

    /** Keeps the tiles of an area for the present step, as they are before it. */
    keep({ left, top, right, bottom }) {
      const across = Math.ceil(this.width / TILE);
      for (let row = Math.floor(top / TILE); row * TILE < bottom; row++) {
        for (let column = Math.floor(left / TILE); column * TILE < right; column++) {
          const number = row * across + column;
          if (this.step.tiles.has(number)) continue;
          const copy = this.tile(number);
          this.step.tiles.set(number, copy);
          this.step.bytes += copy.length;
        }
      }
    }

    areaOf(number) {
      const across = Math.ceil(this.width / TILE);
      const [left, top] = [(number % across) * TILE, Math.floor(number / across) * TILE];
      return this.clipped({ left, top, right: left + TILE, bottom: top + TILE });
    }

    tile(number) {
      const { left, top, right, bottom } = this.areaOf(number);
      const copy = new Uint8Array((right - left) * (bottom - top));
      for (let y = top; y < bottom; y++) {
        copy.set(this.data().subarray(y * this.width + left, y * this.width + right), (y - top) * (right - left));
      }
      return copy;
    }

    /** Exchanges the tiles of a step with the present ones. */
    swap(step) {
      for (const [number, other] of step.tiles) {
        const area = this.areaOf(number);
        const { left, top, right, bottom } = area;
        step.tiles.set(number, this.tile(number));
        for (let y = top; y < bottom; y++) {
          const row = other.subarray((y - top) * (right - left), (y - top + 1) * (right - left));
          this.data().set(row, y * this.width + left);
        }
        this.refresh(area);
      }
    }

    /** Brings the smaller maps up to date in an area, and tells of it. */
    refresh(area) {
      let { left, top, right, bottom } = area;
      for (let level = 1; level < this.maps.length; level++) {
        const [from, to] = [this.maps[level - 1], this.maps[level]];
        [left, top, right, bottom] = [left >> 1, top >> 1, (right + 1) >> 1, (bottom + 1) >> 1];
        for (let y = top; y < bottom; y++) {
          const upper = 2 * y * from.width;
          const lower = Math.min(2 * y + 1, from.height - 1) * from.width;
          for (let x = left; x < right; x++) {
            const one = 2 * x;
            const two = Math.min(one + 1, from.width - 1);
            const { data } = from;
            to.data[y * to.width + x] = data[upper + one] | data[upper + two] | data[lower + one] | data[lower + two];
          }
        }
      }
      this.onChange(area);
    }
  }

  function differs(before, after, { left, top, right, bottom }, width) {
    for (let y = top; y < bottom; y++) {
      for (let at = y * width + left; at < y * width + right; at++) if (before[at] !== after[at]) return true;
    }
    return false;
  }

  function unpacked(bits, count) {
    const data = new Uint8Array(count);
    for (let at = 0; at < count; at++) data[at] = (bits[at >> 3] >> (7 - (at & 7))) & 1;
    return data;
  }

  function packed(data) {
    const bits = new Uint8Array(Math.ceil(data.length / 8));
    for (let at = 0; at < data.length; at++) bits[at >> 3] |= data[at] << (7 - (at & 7));
    return bits;
  }

  adacode.Mask = Mask;
})();
