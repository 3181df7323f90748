"use strict";
// The pages of a document: a strip of thumbnails beside the picture, and each page as a picture of its own.
(() => {
  const { make, number, text } = adacode;
  const strip = document.getElementById("pages");
  const THUMB_PX = 72;
  let turn = () => {};
  let drawn = null; // the details of which the strip shows the pages

  const nameOf = (entry, page) => (page > 1 ? `${entry.picture}-p${page}` : entry.picture);

  const sizesOf = (entry, details) => [
    [entry.resultWidth, entry.resultHeight],
    ...(details?.pages ?? []).map((page) => page.size),
  ];

  /** The page that is shown for a number in the address: from 1 to the last one that has a picture. */
  const valid = (details, wanted) => Math.max(1, Math.min(Number.parseInt(wanted, 10) || 1, (details?.pages.length ?? 0) + 1));

  /**
   * A page as an entry and details of its own, with what is known of it. Originals and results as files show their first
   * page alone, and bases, maps and holes are those of the first page.
   */
  function pageOf(entry, details, page) {
    if (page === 1) return [entry, details];
    const { size, change, drift, before, after } = details.pages[page - 2];
    const [width, height] = size;
    const shape = { resultWidth: width, resultHeight: height, change, drift };
    const one = { ...entry, ...shape, picture: nameOf(entry, page), original: null, result: null };
    const side = (ofFile, facts) => ofFile && { format: ofFile.format, ...facts, preview: true, turned: false };
    const sides = { before: side(details.before, before), after: side(details.after, after ?? { width, height }) };
    return [one, { ...details, ...sides, page, basis: [], maps: false, hole: false }];
  }

  function buttonOf(entry, page, [width, height]) {
    const image = make("img", { alt: "", loading: "lazy", draggable: "false", src: `${nameOf(entry, page)}.webp` });
    const frame = make("span", { class: entry.hasBefore ? "frame both" : "frame" }, image);
    const scale = Math.min((1.2 * THUMB_PX) / width, THUMB_PX / height);
    frame.style.width = `${Math.max(1, width * scale)}px`;
    frame.style.height = `${Math.max(1, height * scale)}px`;
    const label = text("page", { number: number(page) });
    const button = make("button", { type: "button" }, make("span", { class: "thumb" }, frame), label);
    button.addEventListener("click", () => turn(page));
    return button;
  }

  /** Draws the strip, if there are several pages. current: the page that is shown. */
  function draw(entry, details, current) {
    const sizes = sizesOf(entry, details);
    strip.hidden = sizes.length < 2;
    if (details !== drawn) fill(entry, details, sizes);
    drawn = details;
    for (const [index, button] of [...strip.querySelectorAll("button")].entries()) {
      if (index + 1 === current) button.setAttribute("aria-current", "page");
      else button.removeAttribute("aria-current");
    }
    strip.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  function fill(entry, details, sizes) {
    if (sizes.length < 2) {
      strip.replaceChildren();
      return;
    }
    const count = details.after?.pages ?? sizes.length;
    const more = { shown: number(sizes.length), count: number(count) };
    strip.replaceChildren(
      ...sizes.map((size, index) => buttonOf(entry, index + 1, size)),
      ...(count > sizes.length ? [make("p", {}, text("morePages", more))] : []),
    );
  }

  adacode.pages = {
    draw,
    pageOf,
    valid,
    onTurn: (listener) => {
      turn = listener;
    },
  };
})();
