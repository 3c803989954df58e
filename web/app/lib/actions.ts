import type { ID, Message } from "sotto-sdk";

// What can be done with a message.
export const stored = (m: Message): boolean => m.position !== null && m.state !== "failed" && m.state !== "queued";
export const editable = (m: Message): boolean => m.own && stored(m) && m.text !== undefined && !m.once;

export const quick = ["👍", "❤️", "😂", "😮", "😢", "🙏"];

export interface Reactions { emoji: string; n: number; own: boolean }

// grouped counts the reactions to a message, most frequent first.
export function grouped(m: Message, me: ID): Reactions[] {
  const all = new Map<string, Reactions>();
  for (const { account, emoji } of m.reactions ?? []) {
    const r = all.get(emoji) ?? { emoji, n: 0, own: false };
    all.set(emoji, { emoji, n: r.n + 1, own: r.own || account === me });
  }
  return [...all.values()].sort((a, b) => b.n - a.n);
}

// effect tells what acts on other messages, or on devices, and is no message of its own: reactions, edits, deletions, …
// (docs/protocol.md lists the kinds). Attachments are messages.
const firstEffect = 18, lastEffect = 29, attachments = 23;
export const effect = (m: Message): boolean =>
  m.text === undefined && m.body.kind >= firstEffect && m.body.kind <= lastEffect && m.body.kind !== attachments;
