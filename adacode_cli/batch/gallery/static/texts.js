"use strict";
// Every text of the page, in one table, so that it can be translated. {name} is replaced by a value.
window.adacode = {};

adacode.TEXTS = {
  skip: "Skip to the pictures",
  title: "{name}",
  search: "Search names",
  folder: "Folder",
  outcome: "Outcome",
  note: "Notes",
  basis: "Basis",
  sort: "Sort by",
  descending: "Descending",
  originals: "Show originals",
  judged: "Judged",
  judge: "Judgement",
  "judged.keep": "keep",
  "judged.redo": "redo",
  "judged.doubtful": "doubtful",
  "judged.none": "not judged",
  "judge.keep": "Keep",
  "judge.redo": "Redo",
  "judge.doubtful": "Doubtful",
  // `adacode view --serve`
  serverGone: "adacode view does not answer any more. Start it again, and open the address that it prints.",
  notSaved: "The judgement was not kept. {reason}",
  paint: "Paint a mask",
  backToRun: "Back to the run",
  pictureToPaint: "Picture",
  onlyWithout: "Only pictures without a mask",
  withoutMask: "without a mask: {count}",
  save: "Save",
  tool: "Tool",
  draw: "Paint",
  erase: "Erase",
  brush: "Brush",
  pixels: "{count} px",
  steps: "Steps",
  undo: "Undo",
  redoStep: "Redo",
  whole: "The whole mask",
  grow: "Grow",
  shrink: "Shrink",
  by: "by",
  clear: "Clear",
  hideMask: "Hide the mask",
  board: "The picture with its mask. Arrow keys move the brush, Space paints.",
  unsaved: "not saved",
  savedMask: "saved",
  noMask: "no mask yet",
  savingMask: "saving …",
  masksIn: "Masks are saved in {folder}.",
  noPictureToPaint: "There is no picture of this address on which a mask can be painted.",
  "ask.empty": "There is a mask for this picture, and you have removed all of it. Save the mask without any hole?",
  saveEmpty: "Save it without a hole",
  "ask.changed": "Somebody else has changed the mask of this picture since you opened it.",
  loadTheirs: "Load the other mask, and drop mine",
  replaceTheirs: "Replace the other mask",
  "ask.grey":
    "The file of this mask holds more than a black and white image: greys, strokes on a layer, or metadata. Saving keeps only black and white.",
  replaceGrey: "Keep only black and white",
  "ask.photograph": "The photograph has changed since you opened it, so what you have painted may not fit any more.",
  loadPhotograph: "Load it again, and drop what I have painted",
  photographGone: "The picture cannot be shown any more: its file may have changed. Load the page again.",
  cancel: "Cancel",
  paintKeys:
    "B paints, E erases; the right mouse button, Alt and the end of a pen erase too. [ and ] change the size of the brush.\n" +
    "Arrow keys move the brush by a quarter of its size; Space or Enter paints there, also while the brush moves.\n" +
    "U or Ctrl+Z takes a step back, Shift+U or Ctrl+Y does it again. G grows the mask, Shift+G shrinks it, C clears it.\n" +
    "+ and − or the wheel zoom, 0 fits, Z shows 1:1 and X 8:1. Shift with arrow keys, the middle mouse button or two " +
    "fingers move the picture. H hides the mask.\n" +
    "S saves. Page Up and Page Down save too, and show the previous and the next picture.",
  // of the page of files, too
  unlisted: "Pictures that are in no list, because their originals are at addresses: {count}. Each one shows a command that makes it again.",
  export: "Redo list ({count})",
  exportTitle: "Pictures to make again",
  exportHint:
    "The list names the originals. Save it, change the options if you like, and run the command: it replaces these results.",
  exportCount: "On this list: {count}",
  download: "Save {name}",
  notKept: "This browser does not keep judgements after the page is closed.",
  reset: "Show all",
  all: "all",
  "outcome.done": "restored",
  "outcome.failed": "failed",
  "outcome.copied": "copied, as large already",
  "outcome.shrunk": "made smaller",
  "note.any": "with notes",
  "note.none": "without notes",
  "sort.target": "name",
  "sort.line": "order of the run",
  "number.change": "change (%)",
  "number.drift": "drift of colours (%)",
  "number.guard": "distance by the guard (% of its limit)",
  "number.pixels": "size of the result (megapixels)",
  "number.bytes": "size of its file (MB)",
  "number.seconds": "seconds",
  "number.step": "step",
  "number.psnr": "PSNR (dB)",
  "number.ssim": "SSIM",
  numbers: "Numbers",
  numbersUsed: "Numbers ({count})",
  numbersLabel: "Ranges of numbers",
  least: "{name}: at least",
  largest: "{name}: at most",
  hits: "pictures: {count}",
  top: "(top)",
  count: "{shown} of {all} pictures",
  countAll: "{all} pictures",
  empty: "No picture matches these filters.",
  none: "There are no results yet.",
  loading: "Loading …",
  missing: "The data of this page cannot be read: {file} is missing. Run adacode view on the directory of results.",
  goingOn: "The run is going on; the page follows it. Last look at the journal: {time}.",
  stopped: "The run was going on at {time}. If it has ended, adacode view brings the page up to date.",
  summary: "Last run: {done} restored, {skipped} skipped, {failed} failed in {duration}",
  ended: "ended {time}",
  stoppedBy: "stopped: {message}",
  grid: "Pictures",
  cell: "{name}, {outcome}{notes}",
  cellNotes: ", {count} notes",
  notes: "{count} notes",
  oneNote: "1 note",
  failed: "failed",
  noPicture: "no thumbnail",
  previous: "Previous",
  next: "Next",
  close: "Close",
  place: "{number} of {count}",
  modes: "How both are shown",
  zooms: "Zoom",
  "mode.slider": "Slider",
  "mode.side": "Side by side",
  "mode.difference": "Difference",
  "mode.before": "Before",
  "mode.after": "After",
  fit: "Fit",
  "zoom.1": "1:1",
  "zoom.8": "8:1",
  zoomed: "{percent} % of the result's pixels",
  gain: "Brighter by",
  over: "Draw over it",
  "over.none": "nothing",
  "over.hole": "hole",
  "over.bases": "basis that weighs most",
  "over.basis": "weight of {name}",
  overNothing: "Nothing is drawn over the difference.",
  hole: "hole that was filled",
  legend: "{name}: most in {value} %",
  legendLabel: "Key to what is drawn over the picture",
  pagesLabel: "Pages of this document",
  page: "Page {number}",
  morePages: "This page shows the first {shown} of {count} pages.",
  stage: "Before and after",
  before: "Before",
  after: "After",
  divider: "Divider between before and after",
  info: "About this picture",
  unreachable: "{side}: the file cannot be shown here, so its thumbnail is shown.",
  notShown: "{side}: the file cannot be shown here.",
  noResult: "{side}: there is no result, because the file failed.",
  copyShown: "{side}: browsers cannot show {format}, so a copy of the same size is shown.",
  copyReduced: "{side}: browsers cannot show {format}, so a reduced copy is shown.",
  turnedShown: "{side}: not all browsers turn a {format} as it states, so a copy of the same size is shown.",
  turnedReduced: "{side}: not all browsers turn a {format} as it states, so a reduced copy is shown.",
  onlyAfter: "There is no image to compare with.",
  property: "Property",
  format: "Format",
  size: "Pixels",
  bits: "Bits per channel",
  colours: "Colours",
  grey: "grey",
  rgb: "RGB",
  withAlpha: "{colours} with alpha",
  profile: "Colour profile",
  bytes: "Bytes",
  pages: "Pages",
  xmp: "XMP",
  iptc: "IPTC",
  byteCount: "{count} bytes",
  absent: "–",
  about: "This picture",
  aboutPage: "This page",
  aboutFile: "The whole file",
  source: "Original",
  result: "Result",
  open: "Open",
  seconds: "Seconds of work",
  precision: "Computed in",
  made: "Made",
  changeOf: "Change",
  driftOf: "Drift of colours",
  ofScale: "{value} % of full scale",
  bases: "Mixing weights: where each basis weighs most",
  share: "{value} %",
  codesUsed: "{used} of its {size} codes are used",
  histogram: "Histogram",
  histogramText: "Distribution of red, green and blue values, {side}",
  metadata: "Before and after",
  exif: "EXIF",
  error: "Error",
  notesTitle: "Notes",
  notesOfFile: "Notes on the whole file",
  command: "Make it again",
  commandOfFile: "Make the whole file again",
  copy: "Copy",
  copied: "Copied",
  keys: "Keys",
  keysText:
    "In the grid and in a picture: K, R and D judge: keep, redo, doubtful. In the grid: arrow keys, Home, End, Page Up and Page Down move, Enter opens, B shows originals, / searches. " +
    "In a picture: ← and → go on, Space shows the other one, 1 to 5 choose how both are shown, + and − zoom, " +
    "W draws the basis that weighs most over it, H the hole, < and > turn the pages of a document, " +
    "0 fits, Z shows 1:1 and X 8:1, Shift with arrow keys moves, [ and ] move the divider, Esc closes.",
};

/** The text of a key, with values in it. */
adacode.text = (key, values = {}) =>
  adacode.TEXTS[key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));

/**
 * A text from outside in visible characters: controls, characters that change the direction of others, bytes of names
 * that are no UTF-8, and halves of surrogate pairs are shown as escapes.
 */
adacode.shown = (text) =>
  String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Cn}]/gu, (char) => {
    const code = char.codePointAt(0);
    if (code >= 0xdc80 && code <= 0xdcff) return `\\x${(code - 0xdc00).toString(16)}`;
    if (code <= 0xff) return `\\x${code.toString(16).padStart(2, "0")}`;
    return `\\u{${code.toString(16)}}`;
  });

/** The name of a side of a picture: that of a folder, where results of several runs are compared. */
adacode.sideOf = (entry, side) => {
  const named = entry.sides.length === 2 ? entry.sides[side === "before" ? 0 : 1] : "";
  return named ? adacode.shown(named) : adacode.text(side);
};

/** An element with attributes and children; strings become text, never markup. */
adacode.make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

/** A small square of a colour, for keys to drawings. */
adacode.swatch = (color) => {
  const square = adacode.make("span", { class: "swatch" });
  if (color) square.style.background = color;
  else square.hidden = true;
  return square;
};

/** A command and a button that copies it. */
adacode.commandLine = (words) => {
  const code = adacode.make("code", { tabindex: 0 }, adacode.shown(words));
  const button = adacode.make("button", { type: "button" }, adacode.text("copy"));
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(words);
      button.textContent = adacode.text("copied");
    } catch {
      getSelection().selectAllChildren(code);
    }
  });
  return [adacode.make("pre", {}, code), button];
};

adacode.number = (value) => (value === null || value === undefined ? "" : value.toLocaleString("en"));

adacode.time = (iso) => {
  const moment = new Date(iso);
  return Number.isNaN(moment.getTime()) ? adacode.shown(iso) : moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
};

/** What an answer of the server says that refuses something, for people. */
adacode.saidBy = async (answer) => {
  if (answer.headers.get("Content-Type") !== "application/json") return (await answer.text()).trim();
  const { error, hint } = await answer.json();
  return [error, hint].filter(Boolean).join(". ");
};
