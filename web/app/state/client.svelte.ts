import searchWorker from "sotto-sdk/search-worker?worker&url";
import { Sotto, SottoError, type Operation, type Operations, type Status } from "sotto-sdk";
import { wipe } from "./vault";

declare const __CORE__: string; // address of the core's worker, filled in by the build

export const sotto = new Sotto({ core: __CORE__, search: searchWorker });

class Client {
  status = $state.raw<Status>(sotto.status);
  // codeToKeep is the recovery code of an account that was just made, until the person has confirmed it. Memory only.
  codeToKeep = $state<string | undefined>();
  // offlineSince is set two seconds after the connection was lost: shorter breaks are nobody's business.
  offline = $state(false);
  signedOut: (() => Promise<void>) | undefined; // what else there is to take away then
  clockOff = $state(0); // hours by which this device's clock differs from the server's; 0 when it is right enough
  #strip: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    sotto.onStatus((s) => {
      const signedOut = this.status.account !== null && s.account === null && s.phase === "ready";
      this.status = s;
      if (signedOut) {
        this.codeToKeep = undefined;
        void wipe();
        void this.signedOut?.();
      }
      if (s.connection === "online" && this.status.account) {
        void this.#compareClocks();
      }
      const away = s.account !== null && (s.connection === "offline" || s.connection === "connecting");
      if (!away) {
        clearTimeout(this.#strip);
        this.#strip = undefined;
        this.offline = false;
      } else {
        this.#strip ??= setTimeout(() => { this.offline = true; }, 2_000);
      }
    });
  }

  // compareClocks notices a clock that is wrong by more than ten minutes. Nothing depends on it but what is shown.
  async #compareClocks(): Promise<void> {
    const date = await fetch("/api/info", { cache: "no-store" }).then((r) => Date.parse(r.headers.get("date") ?? ""), () => NaN);
    const off = Date.now() - date;
    this.clockOff = Math.abs(off) > 600_000 ? Math.max(1, Math.round(Math.abs(off) / 3_600_000)) : 0;
  }

  // codeKept confirms the code that is shown.
  codeKept(groups: Record<string, string>): void {
    const code = this.codeToKeep;
    this.codeToKeep = undefined;
    if (code !== undefined) {
      this.ask("confirmRecoveryCode", { recovery_code: code, groups }).catch(() => undefined); // asked again in the settings
    }
  }

  ask<O extends Operation>(operation: O, args: Operations[O][0], signal?: AbortSignal): Promise<Operations[O][1]> {
    return sotto.ask(operation, args, signal);
  }
}

export const client = new Client();

export const codeOf = (e: unknown): string => (e instanceof SottoError ? e.code : "internal");
