/** One conversation as the page knows it. */

import { isGroup, type Conversation, type ConversationId, type Description, type Message, type Outgoing, type UserId } from "tidings";
import { Thread } from "./thread.js";

/** How far somebody is. */
export interface Marks {
  delivered: number;
  read: number;
}

/** How far an own message is. */
export type Tick = "pending" | "sent" | "delivered" | "read";

/** An own message that is not durable yet. */
export interface Pending {
  readonly message: Outgoing;
  /** Why it was refused, if it was. */
  failed?: string;
}

/** Typing is forgotten when nothing was heard for so long, in milliseconds. */
const TYPING_MS = 6_000;

/** One conversation. */
export class Talk {
  readonly isGroup: boolean;
  readonly thread = new Thread();
  readonly pending: Pending[] = [];
  readonly marks = new Map<UserId, Marks>();
  readonly typing = new Map<UserId, number>();
  name = "";
  head = 0;
  unread = 0;
  hiddenUpto = 0;
  mutedUntil = 0n;
  pinned = 0;
  isArchived = false;
  isBlocked = false;
  /** When something was last said in it, in microseconds since 1970. */
  lastTs = 0n;
  newest: Message | undefined;
  description: Description | undefined;
  /** The user is not in it any more. */
  isOut = false;
  /** The description is older than the conversation. */
  isOutdated = true;
  isDescribing = false;
  isLoading = false;
  /** A page of the past could not be had: not before then, and how often. */
  loadAfter = 0;
  loadFailures = 0;
  /** Its last messages were asked for. */
  isPreviewed = false;
  /** The highest is the newest. */
  rank = 0;
  /** What is being written in it, and about which message. */
  draft = "";
  /** The draft that makes way for an edit. */
  keptDraft = "";
  answering: number | undefined;
  editing: number | undefined;
  /** Up to where it was read, and what there was, when it was opened: what is in between is new. */
  readBefore = 0;
  openedAt = 0;
  read = 0;

  constructor(
    readonly id: ConversationId,
    /** One to one: the other user. */
    public peer: UserId | undefined,
    private readonly me: UserId,
  ) {
    this.isGroup = isGroup(id);
  }

  /** What the list says. */
  listed(entry: Conversation): void {
    this.head = Math.max(this.head, Number(entry.head));
    this.read = Math.max(this.read, Number(entry.read));
    if (!this.isGroup) this.peer = entry.peer;
    if (entry.name) this.name = entry.name;
    [this.hiddenUpto, this.mutedUntil, this.pinned, this.isArchived, this.isBlocked] = [Number(entry.hidden), entry.mutedUntil, Number(entry.pinned), entry.archived, entry.blocked];
    this.thread.clear(Number(entry.cleared));
    if (this.peer) this.mark(this.peer, Number(entry.peerDelivered), Number(entry.peerRead));
  }

  /** What a description says. */
  described(description: Description): void {
    this.description = description;
    this.thread.timer = description.timer;
    if (this.isGroup) this.name = description.title;
    for (const { user, delivered, read } of description.members) this.mark(user, Number(delivered), Number(read));
  }

  /** Somebody is so far. */
  mark(user: UserId, delivered: number, read: number): void {
    const marks = this.marks.get(user) ?? { delivered: 0, read: 0 };
    marks.delivered = Math.max(marks.delivered, delivered, read);
    marks.read = Math.max(marks.read, read);
    this.marks.set(user, marks);
  }

  /** The others who were there when a message was written. */
  private others(seq: number): UserId[] {
    if (!this.isGroup) return this.peer ? [this.peer] : [];
    const members = this.description?.members ?? [];
    return members.filter(({ user, role, joined }) => role !== 0 && user !== this.me && Number(joined) <= seq).map(({ user }) => user);
  }

  /** How many of the others have read a message, of how many. */
  readers(seq: number): [number, number] {
    const others = this.others(seq);
    return [others.filter((user) => (this.marks.get(user)?.read ?? 0) >= seq).length, others.length];
  }

  /** How far an own message is. */
  tick(seq: number): Tick {
    const others = this.others(seq);
    if (others.length === 0 || this.description?.isLarge) return "sent";
    const all = (reached: (marks: Marks) => number): boolean => others.every((user) => reached(this.marks.get(user) ?? { delivered: 0, read: 0 }) >= seq);
    if (all(({ read }) => read)) return "read";
    return all(({ delivered }) => delivered) ? "delivered" : "sent";
  }

  /** Who is typing. */
  typers(nowMs: number): UserId[] {
    for (const [user, since] of this.typing) if (nowMs - since > TYPING_MS) this.typing.delete(user);
    return [...this.typing.keys()];
  }

  /** The user does not want to see it now. */
  get isHidden(): boolean {
    return this.hiddenUpto > 0 && (this.head <= this.hiddenUpto || this.isBlocked);
  }

  /** Nobody is to be alerted. */
  isMuted(nowUs: bigint): boolean {
    return this.mutedUntil > nowUs;
  }

  /** The user's role in a group; 0: it is not in it any more. `undefined`: not known. */
  get role(): number | undefined {
    if (!this.isGroup || !this.description) return undefined;
    return this.description.members.find(({ user }) => user === this.me)?.role ?? (this.description.isLarge ? 1 : 0);
  }

  /** Whether the user may write here, as far as that is known. */
  get mayWrite(): boolean {
    if (this.isBlocked || this.isOut || (this.description && this.description.deleted > 0n)) return false;
    const { role, description } = this;
    return role === undefined || description === undefined || (role > 0 && role >= description.settings.write);
  }
}
