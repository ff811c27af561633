/** A client of the tidings messaging server. */

export type { Conversation, Description, Device, Member } from "./changed.js";
export { Client } from "./client.js";
export { ERROR_NAMES, Refused } from "./errors.js";
export { PAYLOAD_MAX, ProtocolError } from "./frames.js";
export { DEFAULT_TENANT, directConversation, groupId, isGroup, NONE, userId, type ConversationId, type UserId } from "./ids.js";
export { IndexedDbStore } from "./indexeddb.js";
export { CONTROL, FLAG, hasContent, type Message } from "./message.js";
export { ROLE, SETTING, type ClientOptions, type Handler, type Sent, type Socket, type Stream, type To } from "./api.js";
export type { Outgoing } from "./outbox.js";
export type { Event, Page, SessionOptions } from "./events.js";
export { Session } from "./session.js";
export { MemoryStore, type Saved, type SavedConversation, type Store } from "./store.js";
