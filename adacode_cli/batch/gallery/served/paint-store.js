"use strict";
// What the page of masks asks the server for, and sends to it.
(() => {
  const { saidBy, text } = adacode;

  /** An error that the server has said. kind: "changed", "empty", "grey", "photograph", "gone" or "failed". */
  class Refusal extends Error {
    constructor(message, kind) {
      super(message);
      this.kind = kind;
    }
  }

  async function ask(address, options = {}) {
    let answer;
    try {
      answer = await fetch(address, options);
    } catch {
      throw new Refusal(text("serverGone"), "gone");
    }
    if (answer.ok) return answer;
    const isJson = answer.headers.get("Content-Type") === "application/json";
    const kind = isJson ? (await answer.clone().json()).kind : "failed";
    throw new Refusal(await saidBy(answer), kind);
  }

  /** The folder of masks, and the pictures. */
  const pictures = async () => (await ask("paint/pictures.json")).json();

  /** The address of a picture. photograph: the digest of its file, as `load` gave it. */
  const imageOf = (id, photograph) => `paint/${id}/image-${photograph}`;

  /** The mask of a picture: its size, its bits, and the digests of its file ("" if there is none) and of the picture's. */
  async function load(id) {
    const answer = await ask(`paint/${id}/mask`);
    const [width, height] = answer.headers.get("Adacode-Size").split("x").map(Number);
    const bits = new Uint8Array(await answer.arrayBuffer());
    const of = (name) => answer.headers.get(name);
    return { width, height, bits, digest: of("Adacode-Digest"), photograph: of("Adacode-Picture") };
  }

  /**
   * Saves a mask, and returns the digest of its file. loaded: what `load` gave, with the digest of the last save.
   * may: what the person has agreed to, "empty" or "grey".
   */
  async function save(id, bits, loaded, may) {
    const headers = {
      "Content-Type": "application/octet-stream",
      "Adacode-Loaded": loaded.digest,
      "Adacode-Picture": loaded.photograph,
    };
    if (may.has("empty")) headers["Adacode-Empty"] = "1";
    if (may.has("grey")) headers["Adacode-Grey"] = "1";
    return (await (await ask(`paint/${id}/mask`, { method: "POST", headers, body: bits })).json()).digest;
  }

  adacode.masks = { pictures, imageOf, load, save, Refusal };
})();
