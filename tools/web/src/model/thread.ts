/**
 * The messages of one conversation, with what was said about them put where they are: edits and withdrawals in their place, reactions beside it. What is
 * loaded has no holes: it begins somewhere and goes on to the newest.
 */

import { CONTROL, FLAG, hasContent, type Message, type UserId } from "tidings";
import { secondsOf } from "./acts.js";

/** One line of the conversation. */
export interface Row {
  readonly seq: number;
  readonly message: Message;
  /** Its height on the page, once that was measured. */
  height: number;
  /** Rises when it looks different. */
  version: number;
}

/** How a message looks now. */
export interface Look {
  readonly kind: "text" | "act" | "gone";
  readonly text: string;
  readonly edited: boolean;
  readonly growing: boolean;
  /** Its writer fell silent before it was done. */
  readonly brokenOff: boolean;
  readonly reactions: ReadonlyMap<string, readonly UserId[]>;
}

interface Said {
  readonly seq: number;
  readonly by: UserId;
  readonly text: string;
}

const number = (value: bigint): number => Number(value);

/** The messages. */
export class Thread {
  /** What is shown, oldest first. */
  readonly rows: Row[] = [];
  /** The first number that is loaded, and the last; nothing is if the first is above the last. */
  first = 1;
  last = 0;
  /** There is nothing older to load. */
  isWhole = false;
  /** Seconds after which what is written from now on disappears. */
  timer = 0;
  private readonly known = new Map<number, Message>();
  private readonly edits = new Map<number, Said[]>();
  private readonly reactions = new Map<number, Said[]>();
  private readonly ends = new Map<number, { readonly text: string; readonly brokenOff: boolean }>();
  private readonly growing = new Map<number, string>();
  private readonly erased = new Set<number>();
  private unwanted: [number, number][] = [];
  /** Up to here nothing is shown. */
  cleared = 0;
  /** When the next message disappears, in milliseconds since 1970. */
  nextExpiry = Infinity;

  /** The message of a number, if it is loaded. */
  get(seq: number): Message | undefined {
    return this.known.get(seq);
  }

  /** The place of a row. */
  indexOf(seq: number): number {
    let [low, high] = [0, this.rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.rows[middle]!.seq < seq) low = middle + 1;
      else high = middle;
    }
    return this.rows[low]?.seq === seq ? low : -1;
  }

  /** The newest message that is shown. */
  newest(): Row | undefined {
    return this.rows.at(-1);
  }

  /** A new message, or several older ones. Those that are known change nothing. */
  take(messages: readonly Message[]): void {
    const fresh: Row[] = [];
    for (const message of messages) {
      const seq = number(message.seq);
      if (this.known.has(seq)) continue;
      this.known.set(seq, message);
      if (this.first > this.last) [this.first, this.last] = [seq, seq];
      else [this.first, this.last] = [Math.min(this.first, seq), Math.max(this.last, seq)];
      this.fold(message, seq);
      if (this.isShown(message, seq)) fresh.push({ seq, message, height: 0, version: 0 });
    }
    if (fresh.length === 0) return;
    const [oldest, newest] = [this.rows[0]?.seq ?? Infinity, this.rows.at(-1)?.seq ?? 0];
    if (fresh[0]!.seq > newest) this.rows.push(...fresh);
    else if (fresh.at(-1)!.seq < oldest) this.rows.unshift(...fresh);
    else {
      this.rows.push(...fresh);
      this.rows.sort((a, b) => a.seq - b.seq);
    }
  }

  /** Everything from this number on was loaded, although not every number has a message. */
  reach(from: number): void {
    if (from < this.first) this.first = from;
  }

  /** What a message says so far that is being written. */
  grew(seq: number, text: string): void {
    if (this.ends.has(seq)) return;
    this.growing.set(seq, text);
    this.touch(seq);
  }

  /** The user does not want to see messages up to here any more. */
  clear(upto: number): void {
    if (upto <= this.cleared) return;
    this.cleared = upto;
    this.drop();
  }

  /** The user does not want to see these any more. */
  forget(ranges: readonly [first: number, last: number][]): void {
    const all = [...this.unwanted, ...ranges].sort(([a], [b]) => a - b);
    this.unwanted = [];
    for (const [first, last] of all) {
      const before = this.unwanted.at(-1);
      if (before && first <= before[1] + 1) before[1] = Math.max(before[1], last);
      else this.unwanted.push([first, last]);
    }
    this.drop();
  }

  /** Whether the user does not want to see a message. */
  private isUnwanted(seq: number): boolean {
    let [low, high] = [0, this.unwanted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.unwanted[middle]![1] < seq) low = middle + 1;
      else high = middle;
    }
    return (this.unwanted[low]?.[0] ?? Infinity) <= seq;
  }

  /** True of what was withdrawn. */
  isErased(seq: number): boolean {
    return this.erased.has(seq) || ((this.known.get(seq)?.flags ?? 0) & FLAG.emptied) !== 0;
  }

  /** Takes out what disappeared. Whether anything did. */
  expire(nowMs: number): boolean {
    if (nowMs < this.nextExpiry) return false;
    this.nextExpiry = Infinity;
    const before = this.rows.length;
    this.drop(nowMs);
    for (const { message } of this.rows) this.noteExpiry(message);
    return this.rows.length !== before;
  }

  /** How a message looks. */
  look({ seq, message }: Row): Look {
    const nothing = { text: "", edited: false, growing: false, brokenOff: false, reactions: new Map<string, UserId[]>() };
    if (!hasContent(message.control)) return { ...nothing, kind: "act" };
    if (this.isErased(seq)) return { ...nothing, kind: "gone" };
    const edit = this.edits.get(seq)?.filter((edit) => !this.isErased(edit.seq)).reduce((a, b) => (a.seq > b.seq ? a : b), { seq: 0, by: "", text: "" });
    const end = this.ends.get(seq);
    const isOpen = message.control === CONTROL.open && (message.flags & FLAG.ended) === 0 && !end;
    const text = (edit?.seq ? edit.text : undefined) ?? end?.text ?? (isOpen ? this.growing.get(seq) : undefined) ?? message.text;
    const reactions = new Map<string, UserId[]>();
    for (const { by, text } of this.reactionsTo(seq).values()) if (text) reactions.set(text, [...(reactions.get(text) ?? []), by]);
    return { kind: "text", text, edited: Boolean(edit?.seq), growing: isOpen, brokenOff: end?.brokenOff ?? (message.flags & FLAG.aborted) !== 0, reactions };
  }

  /** The last reaction of each user to a message. */
  reactionsTo(seq: number): Map<UserId, Said> {
    const last = new Map<UserId, Said>();
    for (const said of this.reactions.get(seq) ?? []) {
      if (!this.isErased(said.seq) && said.seq > (last.get(said.by)?.seq ?? 0)) last.set(said.by, said);
    }
    return last;
  }

  private fold(message: Message, seq: number): void {
    const { control, sender: by, text, flags } = message;
    const target = number(message.target);
    const emptied = (flags & FLAG.emptied) !== 0;
    if (control === CONTROL.edit && !emptied) append(this.edits, target, { seq, by, text });
    if (control === CONTROL.react && !emptied) append(this.reactions, target, { seq, by, text });
    if (control === CONTROL.erase) this.erase(target);
    if (control === CONTROL.end && !emptied) {
      this.ends.set(target, { text, brokenOff: (flags & FLAG.aborted) !== 0 });
      this.growing.delete(target);
    }
    if (control === CONTROL.timer && seq === this.last) this.timer = secondsOf(message);
    this.noteExpiry(message);
    this.touch(target);
  }

  private erase(target: number): void {
    this.erased.add(target);
    // What was withdrawn may be an edit or a reaction: then what it was about looks different.
    const about = this.known.get(target)?.target;
    if (about) this.touch(number(about));
  }

  private noteExpiry({ expiresAt }: Message): void {
    if (expiresAt > 0n) this.nextExpiry = Math.min(this.nextExpiry, number(expiresAt / 1000n));
  }

  private touch(seq: number): void {
    const row = this.rows[this.indexOf(seq)];
    if (row) row.version += 1;
  }

  private isShown({ control, flags, expiresAt }: Message, seq: number, nowMs = Date.now()): boolean {
    const isAbout = [CONTROL.edit, CONTROL.erase, CONTROL.react, CONTROL.end].includes(control as 10);
    const isKnown = control <= CONTROL.end;
    const isUnwanted = seq <= this.cleared || (flags & (FLAG.withheld | FLAG.forgotten)) !== 0 || this.isUnwanted(seq);
    const isOver = expiresAt > 0n && number(expiresAt / 1000n) <= nowMs;
    return isKnown && !isAbout && !isUnwanted && !isOver;
  }

  private drop(nowMs = Date.now()): void {
    let kept = 0;
    for (const row of this.rows) if (this.isShown(row.message, row.seq, nowMs)) this.rows[kept++] = row;
    this.rows.length = kept;
  }
}

function append<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (list) list.push(value);
  else lists.set(key, [value]);
}
