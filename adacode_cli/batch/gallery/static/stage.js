"use strict";
// One picture before and after, in the same place and at the same zoom: slider, side by side, difference.
//
// Both images have the size in which the result fits the stage. An invisible target of this size on top is what the
// library moves and enlarges; both images follow it, so they cannot come apart.
(() => {
  const { text } = adacode;
  const MODES = ["slider", "side", "difference", "before", "after"];
  const CRISP_FROM = 2; // pixels of the screen for each pixel of the result: from here on pixels are squares
  const PAN_PX = 60;
  const STEP = 1.25;

  const byId = (id) => document.getElementById(id);
  const stage = byId("stage");
  const glass = byId("glass");
  const target = byId("target");
  const divider = byId("divider");
  const message = byId("message");
  const sides = { before: byId("before"), after: byId("after") };

  let entry = null;
  let mode = "slider";
  let split = 50;
  let fitted = { width: 1, height: 1 };
  let transform = { x: 0, y: 0, scale: 1 };
  let onZoom = () => {};
  let flipped = false;

  const panzoom = Panzoom(target, {
    canvas: true,
    minScale: 0.02,
    maxScale: 2000,
    animate: false,
    setTransform: (_element, { x, y, scale }) => follow({ x, y, scale }),
  });

  const frameOf = (side) => sides[side].firstElementChild;

  /** Moves both images to where the target is. */
  function follow({ x, y, scale }) {
    transform = { x, y, scale };
    const style = `scale(${scale}) translate(${x}px, ${y}px)`;
    const ratio = scale / scaleFor(1);
    target.style.transform = style;
    for (const side of Object.keys(sides)) {
      const frame = frameOf(side);
      frame.style.transform = style;
      frame.classList.toggle("crisp", ratio >= CRISP_FROM);
    }
    onZoom(ratio);
  }

  /** The scale at which a pixel of the result has `ratio` pixels of the screen. */
  const scaleFor = (ratio) => (ratio * (entry?.resultWidth || 1)) / (fitted.width * devicePixelRatio);

  const room = () => {
    const { clientWidth, clientHeight } = stage;
    return { width: mode === "side" ? clientWidth / 2 : clientWidth, height: clientHeight };
  };

  /** Sizes frames and target to the stage, and shows all of the picture. */
  function fit() {
    if (!entry) return;
    const { width, height } = room();
    const [wide, high] = [entry.resultWidth || 1, entry.resultHeight || 1];
    const scale = Math.min(width / wide, height / high);
    fitted = { width: Math.max(1, wide * scale), height: Math.max(1, high * scale) };
    const left = (width - fitted.width) / 2;
    const top = (height - fitted.height) / 2;
    for (const element of [frameOf("before"), frameOf("after"), target]) {
      element.style.width = `${fitted.width}px`;
      element.style.height = `${fitted.height}px`;
      element.style.margin = `${top}px 0 0 ${left}px`; // The library knows of margins, not of left and top.
    }
    panzoom.reset({ animate: false, force: true });
    follow({ x: 0, y: 0, scale: 1 });
    drawSplit();
  }

  function drawSplit() {
    const shownSplit = mode === "slider" ? split : { before: 100, after: 0 }[mode];
    sides.after.style.clipPath = shownSplit === undefined ? "none" : `inset(0 0 0 ${shownSplit}%)`;
    divider.style.left = `${split}%`;
    divider.setAttribute("aria-valuenow", Math.round(split));
    divider.setAttribute("aria-valuetext", `${Math.round(split)} %`);
  }

  function setSplit(value) {
    split = Math.max(0, Math.min(100, value));
    drawSplit();
  }

  function setMode(name) {
    const before = mode;
    mode = MODES.includes(name) ? name : "slider";
    stage.dataset.mode = mode;
    if ((before === "side") !== (mode === "side")) fit();
    drawSplit();
  }

  /** Makes one side: the thumbnail at once, and the image over it as soon as it is loaded. */
  function fill(side, addresses, hasThumbnail) {
    const frame = document.createElement("div");
    frame.className = "frame";
    if (hasThumbnail) frame.append(sprite(side));
    sides[side].replaceChildren(frame);
    const shown = entry;
    const attempt = (rest) => {
      if (!rest.length) {
        const isNowhere = side === "after" && entry.outcome === "failed";
        say(side, isNowhere ? "noResult" : hasThumbnail ? "unreachable" : "notShown");
        return;
      }
      const image = document.createElement("img");
      image.className = "whole";
      image.alt = adacode.sideOf(entry, side);
      image.draggable = false;
      image.decoding = "async";
      image.addEventListener("load", () => {
        if (shown !== entry) return;
        frame.querySelector(":scope > img")?.remove();
        frame.prepend(image);
        frame.dataset.loaded = rest[0].kind;
        if (rest[0].kind === "preview") say(side, whyCopy(rest[0], image.naturalWidth), rest[0].format);
      });
      image.addEventListener("error", () => shown === entry && attempt(rest.slice(1)));
      image.src = rest[0].address;
    };
    attempt(addresses);
  }

  /** Why a copy is shown that is so many pixels wide. facts: of the file. */
  const whyCopy = (facts, width) => `${facts.turned ? "turned" : "copy"}${width === facts.width ? "Shown" : "Reduced"}`;

  /** The half of the thumbnail that shows one side. */
  function sprite(side) {
    const image = document.createElement("img");
    image.alt = "";
    image.draggable = false;
    image.className = entry.hasBefore ? `half ${side}` : "whole";
    image.src = `${entry.picture}.webp`;
    return image;
  }

  function say(side, key, format = "") {
    const line = document.createElement("span");
    line.textContent = text(key, { side: adacode.sideOf(entry, side), format: adacode.shown(format.toUpperCase()) });
    message.append(line);
  }

  /** Shows an entry; details: of it, if they are known. */
  function show(one, details) {
    entry = one;
    message.replaceChildren();
    for (const side of Object.keys(sides)) byId(`corner-${side}`).textContent = adacode.sideOf(one, side);
    const preview = (side) =>
      details?.[side]?.preview
        ? [{ kind: "preview", address: `${one.picture}-${side}.webp`, ...details[side] }]
        : [];
    const whole = (address) => (address ? [{ kind: "whole", address }] : []);
    fill("before", [...whole(one.original), ...preview("before")], Boolean(one.picture && one.hasBefore));
    fill("after", [...whole(one.result), ...preview("after")], Boolean(one.picture));
    fit();
    drawSplit();
  }

  function zoomTo(ratio) {
    panzoom.zoom(scaleFor(ratio), { animate: false, force: true });
  }

  /** Shows the other side while nothing else changes. */
  function flip() {
    flipped = !flipped;
    const one = mode === "before" ? "after" : mode === "after" ? "before" : flipped ? "before" : "after";
    return one;
  }

  // In side-by-side mode a place in the right half is the same place of the picture as in the left half.
  const placeOf = (event) => {
    const box = stage.getBoundingClientRect();
    const isRight = mode === "side" && event.clientX - box.left > box.width / 2;
    return { clientX: event.clientX - (isRight ? box.width / 2 : 0), clientY: event.clientY };
  };

  glass.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const amount = event.deltaY === 0 && event.deltaX ? event.deltaX : event.deltaY;
      const factor = Math.exp(-Math.sign(amount) * 0.2);
      panzoom.zoomToPoint(transform.scale * factor, placeOf(event), { animate: false });
    },
    { passive: false },
  );
  // The library adds to the scale for each pixel that two fingers move; so the more is shown, the more it adds.
  glass.addEventListener("pointerdown", () => panzoom.setOptions({ step: transform.scale }), { capture: true });
  glass.addEventListener("dblclick", (event) => {
    const near = Math.abs(transform.scale / scaleFor(1) - 1) < 0.01;
    if (near) fit();
    else panzoom.zoomToPoint(scaleFor(1), placeOf(event), { animate: false });
  });

  divider.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    event.stopPropagation();
    divider.setPointerCapture(event.pointerId);
    divider.focus({ preventScroll: true });
  });
  divider.addEventListener("pointermove", (event) => {
    if (!divider.hasPointerCapture(event.pointerId)) return;
    const box = stage.getBoundingClientRect();
    setSplit((100 * (event.clientX - box.left)) / box.width);
  });
  divider.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 10 : 1;
    const to = {
      ArrowLeft: split - step,
      ArrowDown: split - step,
      ArrowRight: split + step,
      ArrowUp: split + step,
      PageDown: split - 10,
      PageUp: split + 10,
      Home: 0,
      End: 100,
    }[event.key];
    if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    setSplit(to);
  });
  new ResizeObserver(fit).observe(stage);

  const pan = (x, y) => panzoom.pan(-x * PAN_PX / transform.scale, -y * PAN_PX / transform.scale, { relative: true });

  adacode.stage = {
    MODES,
    show,
    setMode,
    setSplit,
    fit,
    zoomTo,
    flip,
    pan,
    mode: () => mode,
    split: () => split,
    zoomBy: (steps) => panzoom.zoom(transform.scale * STEP ** steps, { animate: false }),
    setGain: (gain) => stage.style.setProperty("--gain", gain),
    onZoom: (listener) => {
      onZoom = listener;
    },
    clear: () => {
      entry = null;
      for (const side of Object.values(sides)) side.firstElementChild.replaceChildren();
    },
  };
})();
