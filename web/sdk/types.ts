// What the core says and hears, as cmd/sotto-wasm/api.md describes it. Ids are UUIDs, bytes are base64, times are
// milliseconds since 1970.

export type ID = string;

export interface Position { epoch: number; seq: number }

export interface Failure { code: string; message: string; retry_after?: number /* seconds */ }

export interface Account { id: ID; username: string; device: ID; wire_device: number }

export interface Conversation {
  id: ID;
  kind: "self" | "direct";
  state: "requested" | "accepted" | "blocked";
  peer: ID; // the own account of kind self
  username: string; // of peer; empty when it was never looked up
  verified: boolean;
  changed: boolean; // the peer's identity has changed and was not accepted yet
  stopped: boolean; // nothing is sent until `decide`
  read: Position; // 0, 0: nothing
  peer_read?: Position;
  settings: Settings;
  expiry?: number; // seconds after which messages go; 0: never
  profile?: Profile; // of the peer; no picture unless accepted
}

// Settings of a conversation, on all devices of the account. What is absent is not set.
export interface Settings { muted_until?: number; pinned?: boolean; hidden?: boolean }

// Profile is how an account shows itself. The picture's name changes with the picture.
export interface Profile { display_name: string; status?: string; picture?: string }

export interface Body { kind: number; bytes: string }

export interface Message {
  conversation: ID;
  id: ID;
  position: Position | null; // null until it is stored
  sender: ID;
  sender_device: number;
  own: boolean;
  sent_at: number; // by the sender's clock
  server_time: number; // 0 until it is stored
  state: "queued" | "stored" | "delivered" | "read" | "failed";
  failed?: string; // code, of state failed
  text?: string;
  body: Body;
  showable: boolean; // false: a newer version is needed to show it
  edited?: boolean;
  reactions?: { account: ID; emoji: string }[];
  expires?: number;
  once?: boolean; // seen once: until `viewed`
  erased?: "deleted" | "expired" | "viewed"; // it is not shown any more; its place remains
}

export interface Presence { account_id: ID; online: boolean; last_seen: number }

// Choice is what the account keeps of its history on the server.
export interface Choice { archive: "everything" | "days" | "nothing"; days?: number }

// History is how far the restoring of older messages on a new device is, in records.
export interface History { done: number; of: number; complete: boolean }

export interface Notice { conversation: ID; message_id: ID; sender: ID; server_time: number; code: string }

export interface Device {
  device_id: ID;
  wire_device_id: number;
  name: string;
  added_at: number;
  seen_at: number;
  state: "active" | "signed_out" | "dormant";
  current: boolean;
}

export interface IdentityChange { at: number; old_key: string; verified?: boolean; accepted?: boolean }

export interface Safety {
  account: ID;
  username: string;
  digits: string; // 60
  scannable: string;
  verified: boolean;
  stopped: boolean;
  changes: IdentityChange[] | null; // oldest first
}

export type EventType =
  | "queued" // added by the SDK: a message of this device was put into the queue, by any tab
  | "resync" | "connected" | "disconnected" | "message" | "changed" | "sent" | "failed" | "delivered" | "read" | "typing" | "presence"
  | "conversation" | "ephemeral"
  | "devices" | "identity" | "alert" | "notice" | "profile"
  | "history" | "notification"; // older messages were restored: read again

export interface Event {
  type: EventType;
  account?: ID;
  conversation?: ID;
  message?: Message;
  message_ids?: ID[];
  notice?: Notice;
  history?: History;
  position?: Position; // of read: up to there
  typing?: boolean; // absent: has stopped
  presence?: Presence;
  notification?: Notification;
  error?: Failure;
}

export interface Credentials { username: string; password: string; device_name: string }

export interface NewCredentials { new_password: string; new_recovery_code: string; device_name: string }

// Notification is something that the account should learn of. It never says who wrote or what.
export interface Notification { id: number; kind: string; conversation_id?: ID; count: number; at: number; read: boolean }

// NotificationPage is newest first; next is the "before" of the following page.
export interface NotificationPage { notifications: Notification[]; next?: number; unread: number }

export interface Channels { app: boolean; mail: boolean; push: boolean }

// NotificationSettings: quiet hours are minutes of the day in time_zone, equal ones mean none.
export interface NotificationSettings {
  channels: Channels;
  muted_until?: number;
  time_zone: string;
  quiet_from: number;
  quiet_to: number;
  language: string; // of mail
  mail_minutes: number; // at most one mail about messages in this time
}

// ConversationNotifications without channels use those of the account.
export interface ConversationNotifications { channels?: Channels; muted_until?: number; mentions_only: boolean }

// PushSubscription is what PushManager.subscribe returns, its keys in base64.
export interface PushSubscription { endpoint: string; p256dh: string; auth: string }

// Operations are what a page may ask for: name to [arguments, result]. The SDK itself opens, runs, fetches events and
// closes.
export interface Operations {
  register: [Credentials, { recovery_code: string }];
  login: [Credentials, { account: Account }];
  logout: [object, object];
  conversation: [{ username: string }, Conversation];
  conversations: [object, { conversations: Conversation[] }];
  accept: [{ conversation: ID }, object];
  block: [{ conversation: ID }, object];
  markRead: [{ conversation: ID; position: Position }, object];
  configure: [{ conversation: ID; settings: Settings }, object];
  profile: [object, { profile: Profile }];
  setProfile: [{ profile: Profile }, object];
  picture: [{ account: ID }, { picture: string }];
  setPicture: [{ picture: string /* empty: none */ }, object];
  send: [{ conversation: ID; text: string } | { conversation: ID; body: Body }, { message_id: ID }];
  edit: [{ conversation: ID; message_id: ID; text: string }, { message_id: ID }];
  react: [{ conversation: ID; message_id: ID; emoji: string /* empty: take it away */ }, { message_id: ID }];
  delete: [{ conversation: ID; message_id: ID; for_all?: boolean }, object];
  viewed: [{ conversation: ID; message_id: ID }, object];
  setExpiry: [{ conversation: ID; seconds: number }, { message_id: ID }];
  typing: [{ conversation: ID; started: boolean }, object];
  presence: [object, { presence: Presence[] }];
  find: [{ prefix: string }, { accounts: { account_id: ID; username: string }[] }];
  historyChoice: [object, Choice];
  keepHistory: [Choice, object];
  waitSent: [{ message_id: ID }, { position: Position }];
  messages: [{ conversation: ID; before?: Position; limit: number }, { messages: Message[] }];
  history: [object, History];
  notices: [object, { notices: Notice[] }];
  queue: [object, { waiting: number }];
  devices: [object, { devices: Device[] }];
  renameDevice: [{ wire_device_id: number; name: string }, object];
  removeDevice: [{ wire_device_id: number; password: string }, { pending: boolean }];
  safety: [{ username: string }, Safety];
  decide: [{ account: ID; digits: string; verified?: boolean }, object];
  changePassword: [
    { password: string; new_password: string; recovery_code?: string; sign_out_others?: boolean }, { pending: boolean },
  ];
  newRecoveryCode: [object, { recovery_code: string }];
  confirmRecoveryCode: [{ recovery_code: string; groups?: Record<string, string> }, object];
  recoveryState: [object, { state: "" | "unconfirmed" | "confirmed" }];
  recover: [NewCredentials & { username: string; recovery_code: string }, { account: Account }];
  reset: [NewCredentials & { code: string }, { account: Account }];
  mailReset: [{ name: string /* or address */ }, object];
  notifications: [{ before?: number; limit: number }, NotificationPage];
  readNotification: [{ id: number }, object];
  readNotifications: [{ id: number /* every one up to it */ }, { unread: number }];
  deleteNotification: [{ id: number }, object];
  notificationSettings: [object, NotificationSettings];
  setNotificationSettings: [NotificationSettings, object];
  conversationNotifications: [{ conversation: ID }, ConversationNotifications];
  setConversationNotifications: [{ conversation: ID; set?: ConversationNotifications /* none: like the account */ }, object];
  pushState: [object, { key: string /* base64, for PushManager.subscribe */; subscribed: boolean }];
  subscribe: [{ subscription: PushSubscription | null }, object];
  counters: [object, Record<string, number>];
}

export type Operation = keyof Operations;
