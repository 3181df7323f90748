"use strict";
// The picture and the mask over it: where they are on the screen, and how large.
//
// The picture is an image of the browser; the mask is drawn for the part that is in view, in stripes of two colours, so
// that it is seen on every picture.
(() => {
  const CRISP_FROM = 2; // pixels of the screen for each pixel of the picture
  const LEAST = 0.02;
  const MOST = 64;
  const STEP = 1.25;
  const KEPT_IN_VIEW_PX = 40;
  const DARK = 0xa06a00d8; // ABGR: the stripes of the mask
  const LIGHT = 0x70ffffff;

  const board = document.getElementById("board");
  const photo = document.getElementById("photo");
  const canvas = document.getElementById("mask");
  const context = canvas.getContext("2d");

  let mask = null;
  let at = { x: 0, y: 0, scale: 1 }; // of the picture's corner, in CSS pixels of the board; CSS pixels for a pixel
  let frame = null;
  let dirty = null; // in pixels of the screen
  let waiting = false;
  let isHidden = false;
  const listeners = [];

  const ratio = () => devicePixelRatio;
  const everything = () => ({ left: 0, top: 0, right: canvas.width, bottom: canvas.height });

  function resize() {
    const [width, height] = [board.clientWidth, board.clientHeight].map((side) => Math.max(1, Math.round(side * ratio())));
    if (frame && canvas.width === width && canvas.height === height) return;
    Object.assign(canvas, { width, height });
    canvas.style.width = `${width / ratio()}px`;
    canvas.style.height = `${height / ratio()}px`;
    frame = context.createImageData(width, height);
    draw();
  }

  /** Asks for a part of the screen to be drawn before the next frame. */
  function draw(area = everything()) {
    dirty = dirty
      ? {
          left: Math.min(dirty.left, area.left),
          top: Math.min(dirty.top, area.top),
          right: Math.max(dirty.right, area.right),
          bottom: Math.max(dirty.bottom, area.bottom),
        }
      : area;
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const { left, top, right, bottom } = dirty;
      dirty = null;
      const clipped = [Math.max(0, left), Math.max(0, top), Math.min(canvas.width, right), Math.min(canvas.height, bottom)];
      if (frame && clipped[0] < clipped[2] && clipped[1] < clipped[3]) fill(...clipped);
    });
  }

  /** Draws the mask into a part of the canvas, from the map whose pixels are at most as large as those of the screen. */
  function fill(left, top, right, bottom) {
    const pixels = new Uint32Array(frame.data.buffer);
    const across = frame.width;
    const perPixel = 1 / (at.scale * ratio()); // pixels of the picture for one of the screen
    let level = 0;
    while (mask && level + 1 < mask.maps.length && 2 ** (level + 1) <= perPixel) level++;
    const map = isHidden ? null : mask?.maps[level];
    const shrunk = perPixel / 2 ** level;
    const [startX, startY] = [at.x * ratio(), at.y * ratio()];
    const columns = new Int32Array(right - left);
    for (let x = left; x < right; x++) {
      const column = Math.floor((x + 0.5 - startX) * shrunk);
      columns[x - left] = map && column >= 0 && column < map.width ? column : -1;
    }
    for (let y = top; y < bottom; y++) {
      const row = Math.floor((y + 0.5 - startY) * shrunk);
      const start = map && row >= 0 && row < map.height ? row * map.width : -1;
      for (let x = left; x < right; x++) {
        const column = columns[x - left];
        const isHole = start >= 0 && column >= 0 && map.data[start + column];
        pixels[y * across + x] = isHole ? ((x + y) & 15 ? ((x + y) & 8 ? LIGHT : DARK) : DARK) : 0;
      }
    }
    context.putImageData(frame, 0, 0, left, top, right - left, bottom - top);
  }

  /** Draws what has changed of the mask. */
  function changed({ left, top, right, bottom }) {
    const onScreen = (side, start) => (side * at.scale + start) * ratio();
    draw({
      left: Math.floor(onScreen(left, at.x)) - 2,
      top: Math.floor(onScreen(top, at.y)) - 2,
      right: Math.ceil(onScreen(right, at.x)) + 2,
      bottom: Math.ceil(onScreen(bottom, at.y)) + 2,
    });
  }

  function move({ x, y, scale }) {
    const [width, height] = mask ? [mask.width * scale, mask.height * scale] : [1, 1];
    const keep = KEPT_IN_VIEW_PX;
    at = {
      x: Math.min(board.clientWidth - keep, Math.max(keep - width, x)),
      y: Math.min(board.clientHeight - keep, Math.max(keep - height, y)),
      scale,
    };
    photo.style.transform = `translate(${at.x}px, ${at.y}px) scale(${scale})`;
    photo.classList.toggle("crisp", scale * ratio() >= CRISP_FROM);
    draw();
    for (const listener of listeners) listener(scale * ratio());
  }

  function fit() {
    if (!mask) return;
    const [wide, high] = [board.clientWidth, board.clientHeight];
    const scale = Math.max(LEAST, Math.min(wide / mask.width, high / mask.height, MOST / ratio()));
    move({ x: (wide - mask.width * scale) / 2, y: (high - mask.height * scale) / 2, scale });
  }

  /** Zooms to a scale, so that the point of the board stays where it is. */
  function zoomAt(scale, x = board.clientWidth / 2, y = board.clientHeight / 2) {
    const to = Math.max(LEAST, Math.min(MOST, scale));
    move({ x: x - ((x - at.x) * to) / at.scale, y: y - ((y - at.y) * to) / at.scale, scale: to });
  }

  /** Shows a picture with its mask. */
  function show(address, newMask) {
    mask = newMask;
    photo.hidden = !mask;
    if (mask) {
      photo.src = address;
      photo.style.width = `${mask.width}px`;
      photo.style.height = `${mask.height}px`;
    } else {
      photo.removeAttribute("src");
    }
    resize();
    if (mask) fit();
    draw();
  }

  new ResizeObserver(resize).observe(board);

  adacode.view = {
    show,
    fit,
    changed,
    zoomAt,
    zoomBy: (steps, x, y) => zoomAt(at.scale * STEP ** steps, x, y),
    zoomTo: (wanted, x, y) => zoomAt(wanted / ratio(), x, y),
    pan: (dx, dy) => move({ ...at, x: at.x + dx, y: at.y + dy }),
    scale: () => at.scale,
    onMove: (listener) => listeners.push(listener),
    setHidden: (hidden) => {
      isHidden = hidden;
      draw();
    },
    /** The point of the picture at a point of the board, and the other way round. */
    toPicture: ({ x, y }) => ({ x: (x - at.x) / at.scale, y: (y - at.y) / at.scale }),
    toBoard: ({ x, y }) => ({ x: x * at.scale + at.x, y: y * at.scale + at.y }),
  };
})();
