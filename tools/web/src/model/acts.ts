/** What somebody did to a conversation, as the rest of a sentence that begins with its name. */

import { CONTROL, type Message, type UserId } from "tidings";
import { tameName } from "./tame.js";

const SHOWN = 5;

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const u16 = (bytes: Uint8Array, at: number): number => (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);

/** Ids, one behind the other. */
function usersAt(bytes: Uint8Array, at: number, count: number): UserId[] {
  const there = Math.min(count, Math.floor((bytes.length - at) / 16));
  return Array.from({ length: Math.max(there, 0) }, (_, index) => hex(bytes.subarray(at + 16 * index, at + 16 * (index + 1))));
}

/** The title that a message gives its group, if it does. */
export function titleOf({ control, body }: Message): string | undefined {
  if (control === CONTROL.create) return text(body.subarray(24, 24 + u16(body, 20)));
  if (control === CONTROL.settings) return text(body.subarray(6, 6 + u16(body, 4)));
  return undefined;
}

/** Whom a message takes into its group, removes, or gives a role. */
export function named({ control, body }: Message): UserId[] {
  if (control === CONTROL.create) return usersAt(body, 24 + u16(body, 20), u16(body, 22));
  if (control === CONTROL.add || control === CONTROL.remove) return usersAt(body, 2, u16(body, 0));
  return control === CONTROL.role ? usersAt(body, 0, 1) : [];
}

/** The seconds of a timer. */
export const secondsOf = ({ body }: Pick<Message, "body">): number => (body.length < 4 ? 0 : new DataView(body.buffer, body.byteOffset).getUint32(0, true));

/** Seconds in words. */
export function duration(seconds: number): string {
  const units: [number, string][] = [[604_800, "week"], [86_400, "day"], [3_600, "hour"], [60, "minute"], [1, "second"]];
  const [length, name] = units.find(([length]) => seconds % length === 0) ?? [1, "second"];
  const count = seconds / length;
  return `${count} ${name}${count === 1 ? "" : "s"}`;
}

/** The sentence; `undefined` if nothing was done that is told. */
export function said(message: Message, call: (user: UserId) => string): string | undefined {
  const users = named(message);
  const first = users.slice(0, SHOWN).map(call).join(", ");
  const all = users.length > SHOWN ? `${first} and ${users.length - SHOWN} more` : first;
  const title = tameName(titleOf(message) ?? "");
  switch (message.control) {
    case CONTROL.create:
      return `made the group “${title}” with ${all}`;
    case CONTROL.add:
      return `added ${all}`;
    case CONTROL.remove:
      return `removed ${all}`;
    case CONTROL.leave:
      return "left";
    case CONTROL.role:
      return `made ${all} ${["a member", "a member", "an admin", "the owner"][message.body[16] ?? 0] ?? "a member"}`;
    case CONTROL.settings:
      return `changed the group: it is called “${title}”`;
    case CONTROL.delete:
      return "deleted the group";
    case CONTROL.link:
      return message.body.every((byte) => byte === 0) ? "ended the link by which others joined" : "made a new link by which others join";
    case CONTROL.join:
      return "joined by the link";
    case CONTROL.timer: {
      const seconds = secondsOf(message);
      return seconds === 0 ? "lets messages stay" : `lets messages disappear after ${duration(seconds)}`;
    }
    default:
      return undefined;
  }
}
