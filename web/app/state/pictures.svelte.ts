import type { ID } from "sotto-sdk";
import { SvelteMap } from "svelte/reactivity";
import { bytesOf } from "../lib/base64";
import { client, sotto } from "./client.svelte";

const most = 1_000; // pictures held; of more people the letters are shown

// Pictures are those that people show, read from the core one after the other and held as blob: URLs. The core lets
// nothing through but JPEG and PNG of a bounded size; what the browser cannot decode all the same is given up.
class Pictures {
  #urls = new SvelteMap<string, string>(); // by name; empty: it cannot be shown
  #asked = new Set<string>();
  #round = $state(0); // raised when what could not be read is asked for again
  #queue = Promise.resolve();

  constructor() {
    sotto.onEvent((e) => {
      if (e.type === "connected") {
        this.#round++;
      }
    });
  }

  url(name: string): string { return this.#urls.get(name) ?? ""; }

  refuse(name: string): void { this.#urls.set(name, ""); }

  // want has a picture read that is not here.
  want(account: ID, name: string): void {
    void this.#round;
    if (name === "" || this.#asked.has(name) || this.#asked.size >= most) {
      return;
    }
    this.#asked.add(name);
    this.#queue = this.#queue.then(() => client.ask("picture", { account })).then(({ picture }) => {
      this.#urls.set(name, URL.createObjectURL(blobOf(picture)));
    }, () => { this.#asked.delete(name); }); // the letters stay, until the next connection
  }

  forget(): void {
    this.#urls.forEach((url) => URL.revokeObjectURL(url));
    this.#urls.clear();
    this.#asked.clear();
  }
}

function blobOf(picture: string): Blob {
  const bytes = bytesOf(picture);
  return new Blob([bytes], { type: bytes[0] === 0xff ? "image/jpeg" : "image/png" });
}

export const pictures = new Pictures();
