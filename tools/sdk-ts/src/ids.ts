/** Ids that every client derives for itself. They are 32 hexadecimal digits here. */

import { deriveKey } from "./blake3.js";
import { compare, concat, fromHex, toHex, u16, utf8 } from "./bytes.js";

/** A user's id, 32 hexadecimal digits. */
export type UserId = string & { readonly of?: "user" };
/** A conversation's id, 32 hexadecimal digits. */
export type ConversationId = string & { readonly of?: "conversation" };

/** No id. */
export const NONE = "0".repeat(32);
/** The tenant of tokens that name none. */
export const DEFAULT_TENANT = "default";

/** The id of a user by its name. */
export function userId(name: string, tenant: string = DEFAULT_TENANT): UserId {
  const owner = utf8(tenant);
  const digest = deriveKey("tidings v1 user id", concat(u16(owner.length), owner, utf8(name)));
  const ofTenant = deriveKey("tidings v1 tenant id", owner);
  return toHex(concat(digest.subarray(0, 2), ofTenant.subarray(0, 4), digest.subarray(6, 16)));
}

/** The conversation of two users, in either order. */
export function directConversation(one: UserId, other: UserId): ConversationId {
  const [lesser, greater] = [fromHex(one), fromHex(other)].sort(compare) as [Uint8Array, Uint8Array];
  const digest = deriveKey("tidings v1 direct conversation id", concat(lesser, greater)).slice(0, 16);
  digest.set(lesser.subarray(0, 2));
  digest[15] = (digest[15]! & 0xfc) | 1;
  return toHex(digest);
}

/** The group that a user makes under a nonce of 16 bytes. */
export function groupId(creator: UserId, nonce: Uint8Array): ConversationId {
  const digest = deriveKey("tidings v1 group id", concat(fromHex(creator), nonce)).slice(0, 16);
  digest[15] = (digest[15]! & 0xfc) | 2;
  return toHex(digest);
}

/** True of a group's id. */
export const isGroup = (conversation: ConversationId): boolean => (parseInt(conversation.slice(-1), 16) & 3) === 2;

/** What the server is told of the secret by which others join a group. */
export function linkDigest(group: ConversationId, secret: Uint8Array): Uint8Array {
  return deriveKey("tidings v1 group link", concat(fromHex(group), secret)).slice(0, 16);
}
