import type { Profile } from "sotto-sdk";
import { displayed } from "../lib/text";
import { client, sotto } from "./client.svelte";

// Own is how this account shows itself, also after another of its devices has changed it.
class Own {
  shown = $state.raw<Profile | undefined>(); // undefined until it was read

  constructor() {
    sotto.onEvent((e) => {
      if (e.type === "profile" && !e.account || e.type === "resync") {
        this.load().catch(() => undefined); // read again with the next event, or by the settings
      }
    });
  }

  get display(): string { return displayed(this.shown?.display_name ?? ""); }
  get picture(): string { return this.shown?.picture ?? ""; }

  async load(): Promise<void> {
    this.shown = (await client.ask("profile", {})).profile;
  }

  forget(): void { this.shown = undefined; }
}

export const own = new Own();
