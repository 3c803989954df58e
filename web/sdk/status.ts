import type { Account, Failure } from "./types";

// Role: the leader's worker runs the core; views ask the leader. Until one has answered a tab is waiting.
export type Role = "waiting" | "view" | "leader";

export type Phase = "starting" | "ready" | "failed";

// Connection of the core to the server. stopped: signed out, or `problem` says why only a person can help.
export type Connection = "stopped" | "connecting" | "online" | "offline";

export interface Status {
  role: Role;
  phase: Phase;
  account: Account | null;
  connection: Connection;
  failure?: Failure | undefined; // of phase failed: the core or its store could not start
  problem?: Failure | undefined; // of connection stopped
}

export const initial: Status = { role: "waiting", phase: "starting", account: null, connection: "stopped" };
