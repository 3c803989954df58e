// What a push message says and what the service worker shows for it. The server encrypts it, but it may be of another
// version, or cut off by a push service: whatever cannot be read is something new all the same.

export interface Pushed { kind: string; conversation: string | undefined; count: number | undefined; quiet: boolean }

// Words are the texts that a page left for the worker, in the language that it shows.
export interface Words { language: string; waiting: Record<string, string>; kinds: Record<string, string> }

export const plain: Words = {
  language: "en", waiting: { one: "{n} new message", other: "{n} new messages" }, kinds: { messages: "New messages", other: "Something is new" },
};

const id = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export function pushed(value: unknown): Pushed {
  const v = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  const { kind, conversation_id: conversation, count } = v;
  return {
    kind: typeof kind === "string" ? kind : "messages",
    conversation: typeof conversation === "string" && id.test(conversation) ? conversation : undefined,
    count: typeof count === "number" && Number.isSafeInteger(count) && count > 0 ? count : undefined,
    // Whether somebody was mentioned only a page can tell, and a push must show something: it shows, and makes no sound.
    quiet: v["mentions_only"] === true,
  };
}

// shown is the notification of a push message. Words that an earlier version left may lack something.
export function shown(p: Pushed, words: Words): { body: string; lang: string; tag: string; silent: boolean; path: string } {
  const text = (kind: string) => (Object.hasOwn(words.kinds, kind) ? words.kinds[kind] : undefined);
  const { count: n } = p;
  const form = p.kind === "messages" && n !== undefined ? words.waiting[new Intl.PluralRules(words.language).select(n)] ?? words.waiting["other"] : undefined;
  const news = p.kind === "messages" ? "/" : "/settings/notices";
  return {
    body: form?.replace("{n}", (n ?? 1).toLocaleString(words.language)) ?? text(p.kind) ?? text("other") ?? plain.kinds["other"]!,
    lang: words.language, tag: p.conversation ?? p.kind, silent: p.quiet, path: p.conversation ? `/c/${p.conversation}` : news,
  };
}
