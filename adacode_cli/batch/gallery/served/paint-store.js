"use strict";
// What the page of masks asks the server for, and sends to it.
(() => {
  const { saidBy, text } = adacode;

  /** An error that the server has said. kind: "changed", "empty" or "failed". */
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

  const imageOf = (id) => `paint/${id}/image`;

  /** The mask of a picture: its size, its bits, and the digest of its file, "" if there is none. */
  async function load(id) {
    const answer = await ask(`paint/${id}/mask`);
    const [width, height] = answer.headers.get("Adacode-Size").split("x").map(Number);
    const bits = new Uint8Array(await answer.arrayBuffer());
    return { width, height, bits, digest: answer.headers.get("Adacode-Digest") };
  }

  /** Saves a mask, and returns the digest of its file. digest: of the file that was loaded. */
  async function save(id, bits, digest, mayBeEmpty) {
    const headers = { "Content-Type": "application/octet-stream", "Adacode-Loaded": digest };
    if (mayBeEmpty) headers["Adacode-Empty"] = "1";
    return (await (await ask(`paint/${id}/mask`, { method: "POST", headers, body: bits })).json()).digest;
  }

  adacode.masks = { pictures, imageOf, load, save, Refusal };
})();
