import type { Message, Position } from "sotto-sdk";
import { before } from "../state/order";
import type { Progress } from "../parts/Ticks.svelte";

// progressOf says how far an own message has come: what it says of itself, or further when the peer has read beyond it.
export function progressOf(m: Message, peerRead: Position): Progress {
  const stored = m.state === "stored" || m.state === "delivered";
  return stored && m.position && !before(peerRead, m.position) ? "read" : m.state;
}
