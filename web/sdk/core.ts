import type { Failure } from "./types";

// SottoError is every refusal: of the core, of the server, or of this package. Codes are in cmd/sotto-wasm/api.md;
// this package adds `interrupted`: the leading tab went away before it answered, so the request may have been worked on.
export class SottoError extends Error {
  readonly code: string;
  readonly retryAfter: number | undefined;

  constructor(f: Failure) {
    super(f.message);
    this.name = "SottoError";
    this.code = f.code;
    this.retryAfter = f.retry_after;
  }

  toJSON(): Failure {
    const f: Failure = { code: this.code, message: this.message };
    return this.retryAfter === undefined ? f : { ...f, retry_after: this.retryAfter };
  }
}

export const failureOf = (e: unknown): Failure =>
  e instanceof SottoError ? e.toJSON() : { code: "internal", message: String(e) };

interface Pending { resolve: (value: unknown) => void; reject: (e: SottoError) => void }

type FromCore =
  | { ready: { api: number; protocol: number } }
  | { failed: Failure }
  | { id: number; ok?: unknown; error?: Failure };

const startPatience = 60_000; // milliseconds for downloading and starting the program

// Core is the worker with the program, as request and answer. When it has failed everything is refused.
export class Core {
  readonly ready: Promise<void>;
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #last = 0;
  #failed: SottoError | undefined;
  #refuse: (e: SottoError) => void = () => {};

  // onFailed is called once when a core that was ready is lost.
  constructor(worker: Worker, onFailed: (e: SottoError) => void) {
    this.#worker = worker;
    this.ready = new Promise((resolve, reject) => {
      const late = setTimeout(() => this.#fail({ code: "core", message: "The program did not start in time." }), startPatience);
      let started = false;
      this.#refuse = (e) => {
        clearTimeout(late);
        started ? onFailed(e) : reject(e);
      };
      worker.onmessage = ({ data }: MessageEvent<Uint8Array>) => {
        const m = JSON.parse(new TextDecoder().decode(data)) as FromCore;
        if ("ready" in m) {
          clearTimeout(late);
          started = true;
          resolve();
        } else if ("failed" in m) {
          this.#fail(m.failed);
        } else {
          this.#answer(m.id, m.ok, m.error);
        }
      };
      worker.onerror = (e) => this.#fail({ code: "core", message: e.message || "The program could not be loaded." });
    });
  }

  // request gives the core's answer. An aborted request is cancelled; it still ends with the core's answer.
  request<T>(operation: string, args: object = {}, signal?: AbortSignal): Promise<T> {
    if (this.#failed) {
      return Promise.reject(this.#failed);
    }
    const id = ++this.#last;
    return new Promise<T>((resolve, reject) => {
      const cancel = () => this.#post(++this.#last, "cancel", { request: id });
      this.#pending.set(id, {
        resolve: (value) => { signal?.removeEventListener("abort", cancel); resolve(value as T); },
        reject: (e) => { signal?.removeEventListener("abort", cancel); reject(e); },
      });
      this.#post(id, operation, args);
      if (signal?.aborted) {
        cancel();
      } else {
        signal?.addEventListener("abort", cancel);
      }
    });
  }

  stop(): void {
    this.#worker.terminate();
    this.#refuse = () => {};
    this.#fail({ code: "canceled", message: "The core was stopped." });
  }

  #post(id: number, operation: string, args: object): void {
    const bytes = new TextEncoder().encode(JSON.stringify({ id, do: operation, args }));
    this.#worker.postMessage(bytes, [bytes.buffer]);
  }

  #answer(id: number, ok: unknown, error: Failure | undefined): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id); // the answer to a cancel belongs to nobody
    error ? pending?.reject(new SottoError(error)) : pending?.resolve(ok);
  }

  #fail(f: Failure): void {
    if (this.#failed) {
      return;
    }
    this.#failed = new SottoError(f);
    const all = [...this.#pending.values()];
    this.#pending.clear();
    all.forEach((p) => p.reject(this.#failed!));
    this.#refuse(this.#failed);
  }
}
