import { t, words } from "../state/language.svelte";
import { SottoError } from "sotto-sdk";

// explain says in the person's language what went wrong and what to do. Codes without a text of ours show the core's own
// sentence, which is English but always says something.
export function explain(e: unknown): string {
  if (!(e instanceof SottoError)) {
    return t("error.internal");
  }
  const key = `error.${e.code}`;
  if (!words.has(key)) {
    return e.message;
  }
  return t(key, { seconds: e.retryAfter ?? 60 });
}
