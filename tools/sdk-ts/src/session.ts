/**
 * One device's session, without a connection and without a clock: bytes go in and come out, and it says when it wants to be looked at again. What it does
 * is what docs/sdk.md asks of every SDK: it sends with retry under ids that stay, releases messages of a conversation one after the other, fetches what is
 * missing, repeats receipts until they are durable, and resumes.
 */

import { conversationsOf, rangesOf } from "./changed.js";
import { concat, join, text } from "./bytes.js";
import type { Event, Page, SessionOptions } from "./events.js";
import { ERROR_NAMES, RETRY, Refused } from "./errors.js";
import { decode, encode, FRAME_MAX, KINDS, PAYLOAD_MAX, ProtocolError, VERSION, wholeFrame, WINDOW, type Fixed, type Frame, type FrameOf, type KindName } from "./frames.js";
import { NONE, type ConversationId, type UserId } from "./ids.js";
import { CONTROL, FLAG, frameOf, messageOf, type Message, type Packs } from "./message.js";
import { Outbox, type Outgoing } from "./outbox.js";
import { Forgetting } from "./forgetting.js";
import { Growing } from "./growing.js";
import { newPlace, type Item, type Place } from "./place.js";
import type { Saved, SavedConversation } from "./store.js";

/** What HELLO and WELCOME say: what is pushed is acknowledged, and payloads may be packed. */
const ACKNOWLEDGES = 1n;
const UNPACKS = 2n;
/** FETCHes under way. */
const FETCHES_MAX = 8;
/** Messages of one FETCH. */
const FETCH_PAGE = 64;
/** When a receipt is repeated that is not durable yet. */
const RECEIPT_REPEAT_MS = 5_000;
/** How long before a token ends another is asked for. */
const RENEW_MS = 60_000;
/** How long something waits whose refusal says no time. */
const PAUSE_MS = 100;

interface Fetching {
  readonly conversation: ConversationId;
  readonly messages: Message[];
  /** A gap that is filled; else somebody waits for a page. */
  readonly gap?: { first: bigint; last: bigint };
  readonly resolve?: (page: Page) => void;
  readonly reject?: (error: Error) => void;
}

interface Asking {
  readonly resolve: (frame: Frame) => void;
  readonly reject: (error: Error) => void;
}

function itemOf(message: Message): Item {
  const { conversation, seq, ts, ordinal, control } = message;
  return { conversation, seq, ts, ordinal, control, message };
}

/** The state of a session. */
export class Session {
  /** The user, once the server said who that is. */
  user: UserId | undefined;
  readonly outbox = new Outbox();
  private readonly places = new Map<ConversationId, Place>();
  private readonly growing = new Growing();
  private readonly forgetting = new Forgetting();
  private readonly events: Event[] = [];
  private readonly output: Uint8Array[] = [];
  private input: Uint8Array = new Uint8Array();
  /** Conversations of which something is missing, and those of which a receipt may be due. */
  private readonly gapped = new Set<ConversationId>();
  private readonly due = new Set<ConversationId>();
  private state: "down" | "greeting" | "up" | "closed" = "down";
  private lineage = NONE;
  private uv = 0n;
  private lastMsgId = 0n;
  private requests = 0n;
  private window = WINDOW;
  private frameMax = FRAME_MAX;
  private idleMs = 90_000;
  private heardAt = 0;
  private pingAt = 0;
  private renewAt = Infinity;
  private fetchAt = 0;
  private resumeRequest: bigint | undefined;
  private resumeAt = Infinity;
  private below = 0n;
  private active = true;
  private activityAt = Infinity;
  /** The server's clock in microseconds, when ours was this. */
  private clock = { serverUs: 0n, at: 0 };
  private cursor: bigint | undefined;
  private listOpen = false;
  private listAgain = false;
  private hasSynced = false;
  private askedRetryMs = 0;
  private readonly fetches = new Map<bigint, Fetching>();
  private readonly asks = new Map<bigint, Asking>();
  private dirty = false;
  private toldConnected = false;
  private packs: Packs = "does not";

  constructor(private readonly options: SessionOptions) {}

  /** What was kept in an earlier run; before the first connection. */
  restore(saved: Saved | undefined, unsent: readonly Outgoing[]): void {
    if (saved) {
      ({ lineage: this.lineage, uv: this.uv } = saved);
      if (saved.lastMsgId > this.lastMsgId) this.lastMsgId = saved.lastMsgId;
      for (const [id, { last, acknowledged, read, readOrdinal, readKnown, ordinal, seen }] of saved.conversations) {
        const place = this.place(id, last);
        place.unread.hear(ordinal ?? 0n, seen ?? 0n);
        [place.delivered, place.deliveredOk, place.read, place.readOrdinal, place.readOk] = [last, acknowledged, read, readOrdinal, readKnown];
        this.due.add(id);
      }
    }
    for (const message of unsent) {
      this.outbox.push(message);
      if (message.clientMsgId > this.lastMsgId) this.lastMsgId = message.clientMsgId;
    }
  }

  /** What is to be kept now. Once it is, call {@link stored} with it. */
  saved(): Saved {
    const conversations = new Map<ConversationId, SavedConversation>();
    for (const [id, { order, deliveredOk, read, readOrdinal, readOk, unread }] of this.places) {
      const { ordinal, seen } = unread;
      conversations.set(id, { last: order.last, acknowledged: deliveredOk, read, readOrdinal, readKnown: readOk, ordinal, seen });
    }
    return { lineage: this.lineage, uv: this.uv, lastMsgId: this.lastMsgId, conversations };
  }

  /** True if something is to be kept that was not. */
  takeDirty(): boolean {
    const dirty = this.dirty;
    this.dirty = false;
    return dirty;
  }

  /** What was to be kept could not be. */
  notStored(): void {
    this.dirty = true;
  }

  /** This was kept: what the application was given is acknowledged. */
  stored(saved: Saved, now: number): void {
    for (const [id, { last }] of saved.conversations) {
      const place = this.places.get(id);
      if (place && last > place.delivered && last <= place.order.last) {
        place.delivered = last;
        this.due.add(id);
      }
    }
    this.tick(now);
  }

  get isUp(): boolean {
    return this.state === "up";
  }

  get isClosed(): boolean {
    return this.state === "closed";
  }

  /** There is a connection. */
  connected(token: string, wallUs: bigint, now: number): void {
    if (this.state === "closed") return;
    this.state = "greeting";
    this.requests = 0n;
    this.input = new Uint8Array();
    this.output.length = 0;
    this.heardAt = now;
    const { device, deviceName = "" } = this.options;
    const encoder = new TextEncoder();
    this.put("hello", {
      versionMin: VERSION, versionMax: VERSION, device, user: this.options.user, capabilities: ACKNOWLEDGES | UNPACKS, token: encoder.encode(token), connectionNumber: wallUs,
      deviceName: encoder.encode(deviceName),
    });
  }

  /** The connection is gone. What the server said about when to come again, in milliseconds. */
  disconnected(): number {
    if (this.state !== "closed") this.state = "down";
    if (this.toldConnected) this.events.push({ type: "disconnected" });
    this.toldConnected = false;
    this.outbox.disconnected();
    for (const { reject } of [...this.asks.values(), ...this.fetches.values()]) reject?.(new Error("the connection was lost"));
    this.asks.clear();
    this.fetches.clear();
    for (const place of this.places.values()) place.fetching = false;
    [this.resumeAt, this.activityAt] = [Infinity, Infinity];
    [this.resumeRequest, this.cursor, this.listOpen, this.listAgain, this.hasSynced] = [undefined, undefined, false, false, false];
    const wait = this.askedRetryMs;
    this.askedRetryMs = 0;
    return wait;
  }

  /** It was turned away, and is to try again all the same. */
  reopen(): void {
    this.state = "down";
  }

  /** The application is done. */
  close(): void {
    if (this.state === "up") this.put("bye", { reason: 0, retryAfterMs: 0 });
    this.state = "closed";
  }

  /** Takes bytes of the server. Throws a ProtocolError if they are nonsense: then the connection is to be dropped. */
  received(bytes: Uint8Array, now: number): void {
    this.heardAt = now;
    this.input = this.input.length ? concat(this.input, bytes) : bytes;
    for (let length = wholeFrame(this.input, this.frameMax); length !== undefined; length = wholeFrame(this.input, this.frameMax)) {
      const frame = decode(this.input.subarray(0, length));
      this.input = this.input.subarray(length);
      if (frame) this.take(frame, now);
    }
    this.tick(now);
  }

  /** What is to be sent; `undefined`: nothing. */
  takeOutput(): Uint8Array | undefined {
    if (this.output.length === 0) return undefined;
    const all = join(this.output);
    this.output.length = 0;
    return all;
  }

  /** What the application is to be told. */
  takeEvents(): Event[] {
    return this.events.splice(0);
  }

  /** Does what is due. */
  tick(now: number): void {
    if (this.state !== "up") return;
    if (now >= this.renewAt) {
      this.renewAt = Infinity;
      this.events.push({ type: "tokenNeeded" });
    }
    if (now >= this.pingAt) {
      this.pingAt = now + this.idleMs / 3;
      this.put("ping", { opaque: 0n });
    }
    if (now >= this.resumeAt) {
      this.resumeAt = Infinity;
      this.resume(this.below);
    }
    if (now >= this.activityAt) this.setActive(this.active);
    for (const conversation of this.forgetting.take(now)) this.put("forget", { conversation, first: 0n, last: 0n });
    for (const { request, message, prev } of this.outbox.take(this.window, now, () => ++this.requests)) this.output.push(frameOf(request, message, prev, this.packs));
    for (const conversation of this.due) this.repeatReceipts(conversation, now);
    this.fillGaps(now);
  }

  /** True if nothing was heard for so long that the connection is dead. */
  isDead(now: number): boolean {
    return this.state !== "down" && now - this.heardAt > this.idleMs;
  }

  /** When to call {@link tick} next. */
  nextTick(): number {
    if (this.state !== "up") return this.heardAt + this.idleMs + 1;
    let next = Math.min(this.pingAt, this.renewAt, this.heardAt + this.idleMs + 1, this.outbox.nextTime(), this.resumeAt, this.activityAt, this.forgetting.next());
    if (this.fetchAt > 0 && this.gapped.size > 0) next = Math.min(next, this.fetchAt);
    for (const conversation of this.due) next = Math.min(next, this.places.get(conversation)!.repeatAt);
    return next;
  }

  /** Whether somebody looks at this device. */
  setActive(active: boolean): void {
    [this.active, this.activityAt] = [active, Infinity];
    this.say("activity", { activity: active ? 1 : 0 });
  }

  /** Makes a message; it is to be kept before it is handed to {@link post}. Throws what is wrong with it. */
  message(to: { conversation: ConversationId; peer?: string }, what: Partial<Pick<Outgoing, "payload" | "control" | "target" | "body" | "flags" | "expiresAt">>, wallUs: bigint): Outgoing {
    this.lastMsgId = this.lastMsgId + 1n > wallUs ? this.lastMsgId + 1n : wallUs;
    this.dirty = true;
    const nothing = new Uint8Array();
    const message = { peer: NONE, payload: nothing, control: CONTROL.text, target: 0n, body: nothing, flags: 0, expiresAt: 0n, ...what, ...to, clientMsgId: this.lastMsgId };
    if (message.payload.length + message.body.length > PAYLOAD_MAX) throw new Refused("PAYLOAD_TOO_LARGE", `at most ${PAYLOAD_MAX} bytes`);
    // What cannot be written as a frame would stand in the way of all that is behind it.
    frameOf(1n, message, 0n, "does not");
    return message;
  }

  /** Sends a message, now or once there is a connection. */
  post(message: Outgoing, now: number): void {
    this.outbox.push(message);
    this.tick(now);
  }

  /** The user has read a message, and all before it. */
  read(conversation: ConversationId, seq: bigint, ordinal: bigint, now: number): void {
    const place = this.place(conversation);
    if (seq <= place.read) return;
    const counted = seq >= place.order.head || ordinal > place.unread.ordinal ? place.unread.ordinal : ordinal;
    [place.read, place.readOrdinal, this.dirty] = [seq, counted > place.readOrdinal ? counted : place.readOrdinal, true];
    place.unread.hear(0n, counted);
    this.tellUnread(conversation, place);
    this.due.add(conversation);
    this.tick(now);
  }

  /** Asks something that has one answer. */
  ask<K extends KindName, A extends KindName>(kind: K, values: Fixed<K>, answer: A): Promise<FrameOf<A>> {
    if (this.state !== "up") return Promise.reject(new Error("there is no connection"));
    const request = this.put(kind, values);
    return new Promise((resolve, reject) => {
      const take = (frame: Frame): void => {
        if (frame.kind === answer) resolve(frame as FrameOf<A>);
        else reject(new ProtocolError(`${frame.kind} came where ${answer} was due`));
      };
      this.asks.set(request, { resolve: take, reject });
    });
  }

  /** Says something that nobody answers; without a connection it is lost. */
  say<K extends KindName>(kind: K, values: Fixed<K>): void {
    if (this.state === "up") this.put(kind, values);
  }

  /** Stored messages: the last `limit` of those up to `upto` (0: the newest). */
  history(conversation: ConversationId, upto: bigint, limit: number): Promise<Page> {
    if (this.state !== "up") return Promise.reject(new Error("there is no connection"));
    const request = this.put("fetch", { conversation, from: 1n, upto, limit, order: 1 });
    return new Promise((resolve, reject) => this.fetches.set(request, { conversation, messages: [], resolve, reject }));
  }

  /** The last number of a conversation that the application was given. */
  last(conversation: ConversationId): bigint {
    return this.places.get(conversation)?.order.last ?? 0n;
  }

  private put<K extends KindName>(kind: K, values: Fixed<K>): bigint {
    const request = ++this.requests;
    this.output.push(encode(kind, request, values));
    return request;
  }

  private place(conversation: ConversationId, last = 0n): Place {
    let place = this.places.get(conversation);
    if (!place) {
      place = newPlace(last);
      this.places.set(conversation, place);
    }
    return place;
  }

  /** A conversation of which there is something up to `head`: a device that begins to know it is given the last ones alone, if it wants that. */
  private hear(conversation: ConversationId, head: bigint): Place {
    const known = this.places.has(conversation);
    const place = this.place(conversation);
    const { history } = this.options;
    if (!known && history !== undefined && head > BigInt(history)) {
      place.order.last = head - BigInt(history);
      this.dirty = true;
    }
    place.order.hear(head);
    if (place.order.last < place.order.head) this.gapped.add(conversation);
    return place;
  }

  private take(frame: Frame, now: number): void {
    switch (frame.kind) {
      case "welcome":
        return this.welcomed(frame, now);
      case "message":
        return this.takeMessage(frame);
      case "sent":
        return this.takeSent(frame);
      case "error":
        return this.takeError(frame, now);
      case "changed":
        return this.takeChanged(frame);
      case "fetched":
        return this.takeFetched(frame);
      case "receipt":
        this.events.push({ type: "receipt", conversation: frame.conversation, member: frame.member, delivered: frame.delivered, read: frame.read });
        return;
      case "receiptOk":
        return this.takeReceiptOk(frame);
      case "pong":
        return this.takeCursor(frame.uv);
      case "typing":
        this.events.push({ type: "typing", conversation: frame.conversation, user: frame.user, doing: frame.doing });
        return;
      case "presence":
        this.events.push({ type: "presence", user: frame.user, state: frame.state, lastSeen: frame.lastSeen });
        return;
      case "fragment":
        return this.takeFragment(frame);
      case "more":
        this.events.push({ type: "wanted", conversation: frame.conversation, seq: frame.seq, offset: frame.offset });
        return;
      case "bye":
        this.askedRetryMs = frame.retryAfterMs;
        return;
      case "setting":
        this.events.push({ type: "setting", conversation: frame.conversation, key: frame.key, value: frame.value, peer: frame.peer });
        break;
      case "forgotten":
        this.takeForgotten(frame);
        break;
    }
    const asking = this.asks.get(frame.requestId);
    this.asks.delete(frame.requestId);
    asking?.resolve(frame);
  }

  private welcomed(frame: FrameOf<"welcome">, now: number): void {
    [this.state, this.user, this.window, this.frameMax] = ["up", frame.user, frame.window, frame.frameMax];
    this.idleMs = frame.idleTimeoutS * 1000;
    this.packs = (frame.capabilities & UNPACKS) !== 0n ? "packs" : "does not";
    this.pingAt = now + this.idleMs / 3;
    this.clock = { serverUs: frame.serverTime, at: now };
    this.renewed(frame.tokenUntil, now);
    if (frame.lineage !== this.lineage) this.beginAnew(frame.lineage);
    this.forgetting.connected();
    this.toldConnected = true;
    this.events.push({ type: "connected", user: frame.user });
    for (const [id, place] of this.places) {
      [place.told, place.readTold, place.repeatAt] = [place.deliveredOk, place.readOk, now];
      if (place.delivered > place.told || place.read > place.readTold) this.due.add(id);
    }
    if (!this.active) this.setActive(false);
    this.resume(0n);
  }

  /** Another history, of a server that was restored, or of one that is met for the first time: numbers may be others there. */
  private beginAnew(lineage: string): void {
    if (this.lineage !== NONE) {
      this.places.clear();
      this.gapped.clear();
      this.due.clear();
      this.growing.clear();
      this.forgetting.clear();
      this.events.push({ type: "lineage" });
    }
    [this.lineage, this.uv, this.dirty] = [lineage, 0n, true];
  }

  /** A new token is good until then. */
  renewed(tokenUntil: bigint, now: number): void {
    const serverMs = Number(this.clock.serverUs / 1000n) + (now - this.clock.at);
    const leftMs = Number(tokenUntil / 1000n) - serverMs;
    this.renewAt = tokenUntil === 0n ? Infinity : now + Math.max(leftMs - RENEW_MS, leftMs / 2);
  }

  private resume(below: bigint): void {
    [this.listOpen, this.below] = [true, below];
    this.resumeRequest = this.put("resume", { lineage: this.lineage, uv: this.uv, below, page: 0, tails: 0, tail: 0 });
  }

  private takeChanged(frame: FrameOf<"changed">): void {
    const answers = frame.requestId === this.resumeRequest;
    if (frame.lineage !== this.lineage) this.beginAnew(frame.lineage);
    if (frame.status === 2) {
      this.uv = 0n;
      this.cursor = undefined;
      return this.resume(0n);
    }
    for (const entry of conversationsOf(frame)) {
      const place = this.hear(entry.conversation, entry.head);
      if (entry.delivered > place.deliveredOk) place.deliveredOk = entry.delivered;
      if (entry.read > place.readOk) place.readOk = entry.read;
      if (entry.read > place.read) place.read = entry.read;
      place.unread.hear(entry.ordinal, entry.seen);
      this.events.push({ type: "conversation", conversation: entry });
      this.tellUnread(entry.conversation, place);
      this.askForgotten(entry.conversation, place, entry.forgotten);
    }
    this.events.push({ type: "preferences", readPrivate: (frame.settings & 1) !== 0, visibility: (frame.settings >> 1) & 3 });
    if (!answers && this.listOpen) {
      // It is taken anew after the one that is under way.
      if (frame.next !== 0n) this.listAgain = true;
      return;
    }
    this.cursor ??= frame.uv;
    if (frame.next !== 0n) return this.resume(frame.next);
    [this.listOpen, this.resumeRequest] = [false, undefined];
    if (this.listAgain) {
      [this.listAgain, this.cursor] = [false, undefined];
      return this.resume(0n);
    }
  }

  private hasGaps(): boolean {
    for (const id of this.gapped) {
      const place = this.places.get(id);
      if (place && place.order.last < place.order.head) return true;
      this.gapped.delete(id);
    }
    return false;
  }

  private takeCursor(uv: bigint): void {
    if (!this.listOpen && this.cursor === undefined && uv > this.uv && !this.hasGaps()) [this.uv, this.dirty] = [uv, true];
  }

  private takeMessage(frame: FrameOf<"message">): void {
    const message = messageOf(frame, this.packs);
    const fetching = this.fetches.get(frame.requestId);
    if (fetching) {
      fetching.messages.push(message);
      return;
    }
    if (frame.requestId !== 0n) return;
    // Of a conversation that is not known what was before is there; this one is to be told in any case.
    const place = this.hear(message.conversation, message.seq - 1n);
    place.isLarge ||= (message.flags & FLAG.large) !== 0;
    this.release(place, place.order.put(itemOf(message)));
    if (place.order.last < place.order.head) this.gapped.add(message.conversation);
  }

  private release(place: Place, items: readonly Item[]): void {
    for (const item of items) {
      const { message } = item;
      this.dirty = true;
      const before = place.unread.count;
      place.unread.release(item, this.user ?? NONE, place.read);
      if (place.unread.count !== before) this.tellUnread(item.conversation, place);
      if (!message) continue;
      if (message.control === CONTROL.end || message.control === CONTROL.erase) this.growing.end(message.conversation, message.target);
      // What it says so far is told to who asks.
      if (message.control === CONTROL.open && (message.flags & FLAG.ended) === 0) this.say("more", { conversation: message.conversation, seq: message.seq, offset: 0 });
      this.events.push({ type: "message", message });
    }
  }

  private takeSent(frame: FrameOf<"sent">): void {
    const message = this.outbox.sent(frame.requestId);
    if (!message) return;
    this.events.push({ type: "sent", message, seq: frame.seq, ts: frame.ts, ordinal: frame.ordinal });
    // A repeat was a message of an earlier connection: it may have come back as a MESSAGE, and stands where it stood.
    const place = this.hear(frame.conversation, frame.seq);
    const { conversation, seq, ts, ordinal } = frame;
    this.release(place, place.order.put({ conversation, seq, ts, ordinal, control: message.control }));
  }

  private takeError(frame: FrameOf<"error">, now: number): void {
    const error = new Refused(ERROR_NAMES[frame.code] ?? String(frame.code), text(frame.text));
    const until = now + (frame.retryAfterMs || PAUSE_MS);
    // The server knows of later names than this device remembers.
    if (frame.highest > this.lastMsgId) [this.lastMsgId, this.dirty] = [frame.highest, true];
    if (frame.retry === RETRY.stop) {
      this.state = "closed";
      this.events.push({ type: "rejected", error });
      return;
    }
    if (frame.retry === RETRY.reconnect) {
      this.askedRetryMs = frame.retryAfterMs;
      return;
    }
    const fetching = this.fetches.get(frame.requestId);
    if (fetching) {
      this.fetches.delete(frame.requestId);
      fetching.reject?.(error);
      const place = this.place(fetching.conversation);
      if (!fetching.gap) return;
      place.fetching = false;
      if (error.code === "NOT_MEMBER") this.lose(fetching.conversation, place, fetching.gap.last);
      else this.fetchAt = Math.max(until, frame.retry === RETRY.later ? 0 : now + RECEIPT_REPEAT_MS);
      return;
    }
    if (frame.requestId === this.resumeRequest) {
      this.resumeAt = until;
      return;
    }
    if (frame.ofKind === KINDS.activity.kind) {
      this.activityAt = until;
      return;
    }
    if (frame.ofKind === KINDS.forget.kind && !this.asks.has(frame.requestId) && this.forgetting.refused(frame.conversation, until)) return;
    if (frame.ofKind === KINDS.fragment.kind) {
      this.events.push({ type: "pieceRefused", conversation: frame.conversation, until });
      return;
    }
    const asking = this.asks.get(frame.requestId);
    if (asking) {
      this.asks.delete(frame.requestId);
      asking.reject(error);
      return;
    }
    if (frame.retry === RETRY.later) {
      this.outbox.refusedForNow(frame.requestId, frame.highest, until);
      return;
    }
    const message = this.outbox.refused(frame.requestId, frame.highest, now);
    if (message) this.events.push({ type: "sendFailed", message, error });
  }

  private takeReceiptOk(frame: FrameOf<"receiptOk">): void {
    const place = this.places.get(frame.conversation);
    if (place) {
      if (frame.delivered > place.deliveredOk) [place.deliveredOk, this.dirty] = [frame.delivered, true];
      if (frame.read > place.readOk) [place.readOk, this.dirty] = [frame.read, true];
      if (frame.read > place.read) place.read = frame.read;
      place.unread.hear(0n, frame.seen);
      if (frame.seen > place.seenOk) place.seenOk = frame.seen;
      this.tellUnread(frame.conversation, place);
    }
    if (this.user) this.events.push({ type: "receipt", conversation: frame.conversation, member: this.user, delivered: frame.delivered, read: frame.read });
    this.takeCursor(frame.uv);
  }

  /** Says what was not said on this connection, also where another device said it before: the server waits for each. What is not known for good is said again. */
  private repeatReceipts(conversation: ConversationId, now: number): void {
    const place = this.places.get(conversation)!;
    const again = now >= place.repeatAt;
    const delivers = !place.isLarge && (place.delivered > place.told || (again && place.delivered > place.deliveredOk));
    // A server of before the count says nothing of it.
    const isCounted = place.seenOk === 0n || place.seenOk >= place.readOrdinal;
    const reads = place.read > place.readTold || (again && (place.read > place.readOk || !isCounted));
    if (delivers) this.put("delivered", { conversation, upto: (place.told = place.delivered) });
    if (reads) this.put("read", { conversation, upto: (place.readTold = place.read), ordinal: place.readOrdinal });
    if (delivers || reads) place.repeatAt = now + RECEIPT_REPEAT_MS;
    const isDone = (place.isLarge || place.delivered <= place.deliveredOk) && place.read <= place.readOk && isCounted;
    if (isDone) this.due.delete(conversation);
  }

  private fillGaps(now: number): void {
    if (now < this.fetchAt) return;
    this.fetchAt = 0;
    for (const conversation of this.gapped) {
      if (this.fetches.size >= FETCHES_MAX) return;
      const place = this.places.get(conversation)!;
      if (place.fetching) continue;
      const gap = place.order.gap();
      if (!gap) {
        this.gapped.delete(conversation);
        continue;
      }
      place.fetching = true;
      const request = this.put("fetch", { conversation, from: gap.first, upto: gap.last, limit: FETCH_PAGE, order: 0 });
      this.fetches.set(request, { conversation, messages: [], gap });
    }
    if (!this.listOpen && !this.hasGaps()) {
      if (this.cursor !== undefined) {
        if (this.cursor > this.uv) [this.uv, this.dirty] = [this.cursor, true];
        this.cursor = undefined;
      }
      if (!this.hasSynced) {
        this.hasSynced = true;
        this.events.push({ type: "synced" });
      }
    }
  }

  private takeFetched(frame: FrameOf<"fetched">): void {
    const fetching = this.fetches.get(frame.requestId);
    if (!fetching) return;
    this.fetches.delete(frame.requestId);
    const { conversation, messages, gap } = fetching;
    if (!gap) {
      fetching.resolve?.({ messages, from: frame.from, oldest: frame.oldest, head: frame.head });
      return;
    }
    const place = this.place(conversation);
    place.fetching = false;
    if (frame.from > gap.first || frame.upto < gap.first) throw new ProtocolError(`FETCH did not answer for message ${gap.first}`);
    for (const message of messages) {
      this.lose(conversation, place, message.seq - 1n);
      this.release(place, place.order.put(itemOf(message)));
    }
    this.lose(conversation, place, frame.upto < gap.last ? frame.upto : gap.last);
  }

  /** What is not there up to `seq` is given up. */
  private lose(conversation: ConversationId, place: Place, seq: bigint): void {
    if (seq <= place.order.last) return;
    this.events.push({ type: "lost", conversation, first: place.order.last + 1n, last: seq });
    place.unread.pass();
    this.release(place, place.order.skipTo(seq));
    this.dirty = true;
  }

  private tellUnread(conversation: ConversationId, { unread }: Place): void {
    this.events.push({ type: "unread", conversation, count: unread.count });
  }

  private takeForgotten(frame: FrameOf<"forgotten">): void {
    const { conversation, changes } = frame;
    const place = this.places.get(conversation);
    // Of a conversation that the list has not told yet it is asked for with that.
    if (!place) return;
    const ranges = rangesOf(frame);
    if (ranges.length > 0) this.events.push({ type: "forgotten", conversation, ranges });
    // One that is not the next: something was said that this device did not hear.
    if (frame.requestId !== 0n) this.forgetting.answered(conversation);
    const isNext = frame.requestId !== 0n || changes <= place.forgotten + 1;
    if (isNext) place.forgotten = Math.max(place.forgotten, changes);
    else this.askForgotten(conversation, place, changes);
  }

  private askForgotten(conversation: ConversationId, place: Place, changes: number): void {
    if (changes > place.forgotten) this.forgetting.ask(conversation);
  }

  private takeFragment(frame: FrameOf<"fragment">): void {
    const { conversation, seq } = frame;
    const grew = this.growing.take(frame, this.heardAt);
    if (grew && "missing" in grew) this.say("more", { conversation, seq, offset: grew.missing });
    else if (grew) this.events.push({ type: "grew", conversation, seq, text: grew.text });
  }
}
