import type { Message } from "sotto-sdk";
import { sameDay } from "./time";

// Line is something that the page says between messages. Settled: the person need not do anything any more.
export interface Line { kind: "identity" | "unreadable"; at: number; settled: boolean }

export interface Row {
  message: Message;
  lines: Line[]; // that stand above it
  first: boolean; // of a group
  last: boolean; // of a group
}

export interface Day { at: number; rows: Row[] }

const none: Line[] = [];

export const groupGap = 5 * 60_000; // milliseconds between messages of one group

export const timeOf = (m: Message): number => m.server_time || m.sent_at;

// days puts messages from..to into days and groups. A group is what one author wrote within five minutes.
export function days(messages: Message[], from: number, to: number, unreadFrom: string | undefined, lines: Line[] = none): Day[] {
  const out: Day[] = [];
  let next = from === 0 ? 0 : lines.findIndex((l) => l.at > timeOf(messages[from - 1]!));
  next = next < 0 ? lines.length : next;
  for (let i = from; i < to; i++) {
    const m = messages[i]!, before = messages[i - 1], after = messages[i + 1];
    const newDay = out.length === 0 || !before || !sameDay(timeOf(before), timeOf(m));
    if (newDay) {
      out.push({ at: timeOf(m), rows: [] });
    }
    const above = next;
    while (next < lines.length && lines[next]!.at <= timeOf(m)) {
      next++;
    }
    out.at(-1)!.rows.push({
      message: m,
      lines: above === next ? none : lines.slice(above, next),
      first: newDay || above < next || m.id === unreadFrom || !together(before!, m),
      last: !after || after.id === unreadFrom || !together(m, after),
    });
  }
  return out;
}

const together = (a: Message, b: Message): boolean =>
  a.sender === b.sender && Math.abs(timeOf(b) - timeOf(a)) < groupGap && sameDay(timeOf(a), timeOf(b));

// after are the lines that stand below the newest message.
export function after(messages: Message[], lines: Line[]): Line[] {
  const newest = messages.at(-1);
  return newest ? lines.filter((l) => l.at > timeOf(newest)) : lines;
}
