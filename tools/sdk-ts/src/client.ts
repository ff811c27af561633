/** The client: a session over a WebSocket, which connects and reconnects by itself and keeps what must be kept. */

import { devicesOf, membersOf, type Description, type Device, type Member } from "./changed.js";
import { Backoff } from "./backoff.js";
import { concat, fromHex, text as textOf, u16, u32, utf8 } from "./bytes.js";
import { crc32c } from "./crc32c.js";
import { Refused } from "./errors.js";
import { PAYLOAD_MAX } from "./frames.js";
import { DEFAULT_TENANT, directConversation, groupId, isGroup, NONE, userId, type ConversationId, type UserId } from "./ids.js";
import { CONTROL, FLAG } from "./message.js";
import type { Outgoing } from "./outbox.js";
import type { Event, Page } from "./events.js";
import type { ClientOptions, Handler, Sent, Socket, Stream, To } from "./api.js";
import { Session } from "./session.js";
import { MemoryStore, type Store } from "./store.js";

/** In REVOKE: all devices. */
const REVOKE_ALL = 1;
/** An administrator waits as long for an answer, in milliseconds. */
const ANSWER_WITHIN_MS = 3000;

/** What was asked, or an error if there is no answer in time. */
async function answered<T>(asked: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("no answer: ask again")), ANSWER_WITHIN_MS);
  });
  try {
    return await Promise.race([asked, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Whom an act names, for those who read of it: the server knows ids alone. */
const listOf = (names: readonly string[]): Uint8Array => utf8(names.join("\n"));

const SUBPROTOCOL = "tidings.v1";
/** What is written at messages goes out at most so often, in milliseconds, and in pieces of so many bytes; a pause is told after so long. */
const PACE_MS = 40;
const FRAGMENT_MAX = 4_096;
const STILL_WRITING_MS = 20_000;
/** From connecting to being let in. */
const CONNECT_MS = 20_000;
/** When what could not be kept is tried again. */
const SAVE_AGAIN_MS = 1_000;
/** The longest that a browser's timer is asked to wait. */
const TIMER_MAX_MS = 60_000;

interface Writing {
  readonly conversation: ConversationId;
  bytes: Uint8Array;
  seq: bigint | undefined;
  shown: number;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** A device of a user. */
export class Client {
  readonly me: UserId;
  private readonly session: Session;
  private readonly store: Store;
  private readonly handlers = new Set<Handler>();
  private readonly backoff = new Backoff();
  private readonly waiting = new Map<bigint, { resolve: (sent: Sent) => void; reject: (error: Error) => void }>();
  private readonly writing = new Set<Writing>();
  private socket: Socket | undefined;
  private open = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private reconnectTimer: ReturnType<typeof setTimeout> | undefined;
  /** Messages are kept one after the other, so that their order is that of their ids. */
  private keeping: Promise<void> = Promise.resolve();
  private saving: Promise<void> = Promise.resolve();
  private saveWaits = false;
  private stopped = false;
  /** What handlers are still doing. */
  private handling: Promise<void>[] = [];
  private deadline: ReturnType<typeof setTimeout> | undefined;
  private started: Promise<void> | undefined;
  private hadFreshToken = false;
  private closed = false;

  constructor(private readonly options: ClientOptions) {
    this.me = userId(options.user, options.tenant ?? DEFAULT_TENANT);
    this.store = options.store ?? new MemoryStore();
    const { device, deviceName, history } = options;
    this.session = new Session({ user: this.me, device, ...(deviceName === undefined ? {} : { deviceName }), ...(history === undefined ? {} : { history }) });
  }

  /** Calls `handler` with everything that happens; what is given back ends that. Messages are acknowledged once all handlers are done, also with what they promised, and the store kept how far the device is. */
  on(handler: Handler): () => void {
    this.handlers.add(handler);
    return () => void this.handlers.delete(handler);
  }

  /** Begins: loads what was kept, and connects. It stays connected until {@link close}. */
  start(): Promise<void> {
    this.started ??= (async () => {
      const [saved, unsent] = await Promise.all([this.store.load(), this.store.outbox()]);
      this.session.restore(saved, unsent);
      void this.connect();
    })().catch((error: unknown) => {
      this.started = undefined;
      throw error;
    });
    return this.started;
  }

  /** Ends: what is unsent stays in the store. */
  async close(): Promise<void> {
    this.closed = true;
    this.session.close();
    this.flush();
    for (const timer of [this.timer, this.reconnectTimer, this.deadline, ...[...this.writing].map((writing) => writing.timer)]) clearTimeout(timer);
    this.socket?.close();
    await Promise.all([this.keeping, this.saving]);
    this.giveUp(new Error("the client was closed: what is unsent is kept, and goes out with the next one of this store"));
  }

  /** Nobody will hear any more what becomes of what is unsent. */
  private giveUp(error: Error): void {
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }

  /** Tries to connect now, if that is waited with: the network may be back. */
  wake(): void {
    if (this.socket || this.reconnectTimer === undefined) return;
    clearTimeout(this.reconnectTimer);
    this.reconnectTimer = undefined;
    void this.connect();
  }

  /** True while there is a session. */
  get isConnected(): boolean {
    return this.session.isUp;
  }

  /** Messages that the server has not acknowledged. */
  get unsent(): number {
    return this.session.outbox.size;
  }

  /** A user's id by name. */
  userNamed(name: string): UserId {
    return userId(name, this.options.tenant ?? DEFAULT_TENANT);
  }

  /** The conversation with somebody. */
  conversationOf(to: To): ConversationId {
    return "user" in to ? directConversation(this.me, this.userNamed(to.user)) : to.conversation;
  }

  /** Sends text. Resolves once it is durable; it is sent again as often as it takes, also after a reload. */
  send(to: To, text: string, options: { readonly answers?: bigint; readonly expiresAt?: bigint } = {}): Promise<Sent> {
    return this.post(to, { payload: utf8(text), target: options.answers ?? 0n, expiresAt: options.expiresAt ?? 0n, flags: FLAG.compressible });
  }

  /** Sends bytes, which are not compressed on the way: they may be encrypted, and how well that goes would tell of what they say. */
  sendBytes(to: To, payload: Uint8Array): Promise<Sent> {
    return this.post(to, { payload });
  }

  /** Replaces what an own message says. */
  edit(conversation: ConversationId, seq: bigint, text: string): Promise<Sent> {
    return this.post({ conversation }, { payload: utf8(text), control: CONTROL.edit, target: seq, flags: FLAG.compressible });
  }

  /** Withdraws a message for everyone. */
  erase(conversation: ConversationId, seq: bigint): Promise<Sent> {
    return this.post({ conversation }, { control: CONTROL.erase, target: seq });
  }

  /** Says what the user thinks of a message; empty: nothing any more. */
  react(conversation: ConversationId, seq: bigint, reaction: string): Promise<Sent> {
    return this.post({ conversation }, { payload: utf8(reaction), control: CONTROL.react, target: seq });
  }

  /** Lets messages disappear that are written from now on, after so many seconds; 0: they stay. */
  setTimer(conversation: ConversationId, seconds: number): Promise<Sent> {
    return this.post({ conversation }, { control: CONTROL.timer, body: u32(seconds) });
  }

  /** Makes a group, with this user as its owner. */
  async createGroup(title: string, members: readonly string[]): Promise<ConversationId> {
    const nonce = crypto.getRandomValues(new Uint8Array(16));
    const conversation = groupId(this.me, nonce);
    const [named, ids] = [utf8(title), members.map((name) => fromHex(this.userNamed(name)))];
    // Members write, admins add and edit, new members see what is said from then on.
    const settings = Uint8Array.of(1, 2, 2, 0);
    const body = concat(nonce, settings, u16(named.length), u16(ids.length), named, ...ids);
    await this.post({ conversation }, { control: CONTROL.create, body, payload: listOf(members) });
    return conversation;
  }

  /** Takes users into a group. */
  addMembers(group: ConversationId, names: readonly string[]): Promise<Sent> {
    return this.post({ conversation: group }, { control: CONTROL.add, body: this.named(names), payload: listOf(names) });
  }

  /** Removes users from a group. */
  removeMembers(group: ConversationId, names: readonly string[]): Promise<Sent> {
    return this.post({ conversation: group }, { control: CONTROL.remove, body: this.named(names), payload: listOf(names) });
  }

  /** Leaves a group. */
  leave(group: ConversationId): Promise<Sent> {
    return this.post({ conversation: group }, { control: CONTROL.leave });
  }

  /** Gives a member of a group a role. */
  setRole(group: ConversationId, name: string, role: number): Promise<Sent> {
    return this.post({ conversation: group }, { control: CONTROL.role, body: concat(fromHex(this.userNamed(name)), Uint8Array.of(role)), payload: listOf([name]) });
  }

  /** Calls a group something else. */
  async rename(group: ConversationId, title: string): Promise<Sent> {
    const { write, add, edit, history } = (await this.describe(group, 1)).settings;
    const named = utf8(title);
    return this.post({ conversation: group }, { control: CONTROL.settings, body: concat(Uint8Array.of(write, add, edit, history), u16(named.length), named) });
  }

  /** Deletes a group for everybody. */
  deleteGroup(group: ConversationId): Promise<Sent> {
    return this.post({ conversation: group }, { control: CONTROL.delete });
  }

  /** Begins a message that is shown while it is written. */
  openStream(to: To): Stream {
    const conversation = this.conversationOf(to);
    const writing: Writing = { conversation, bytes: new Uint8Array(), seq: undefined, shown: 0, timer: undefined };
    this.writing.add(writing);
    const opened = this.post(to, { control: CONTROL.open });
    opened.then(
      ({ seq }) => {
        writing.seq = seq;
        this.show(writing);
      },
      () => this.writing.delete(writing),
    );
    const write = (text: string): void => {
      const more = utf8(text);
      if (writing.bytes.length + more.length > PAYLOAD_MAX) throw new Refused("PAYLOAD_TOO_LARGE", `a message has at most ${PAYLOAD_MAX} bytes`);
      writing.bytes = concat(writing.bytes, more);
      this.planShow(writing, PACE_MS);
    };
    const end = async (): Promise<Sent> => {
      const { seq } = await opened;
      clearTimeout(writing.timer);
      this.writing.delete(writing);
      return this.post({ conversation }, { payload: writing.bytes, control: CONTROL.end, target: seq });
    };
    return { opened, write, end };
  }

  /** The user has read a message, and all before it. */
  read(conversation: ConversationId, seq: bigint, ordinal: bigint): void {
    void this.start().then(() => {
      this.session.read(conversation, seq, ordinal, now());
      this.after();
    });
  }

  /** Says that the user is typing (1), or not any more (0). It may be lost. */
  typing(conversation: ConversationId, doing = 1): void {
    this.session.say("typing", { conversation, user: NONE, doing });
    this.flush();
  }

  /** Says whether somebody looks at this device. */
  setActive(active: boolean): void {
    this.session.setActive(active);
    this.flush();
  }

  /** Asks who is there, for two minutes: of users, or of a group's members. */
  watch(who: readonly (string | { readonly id: UserId })[] | ConversationId): void {
    const idOf = (one: string | { readonly id: UserId }): UserId => (typeof one === "string" ? this.userNamed(one) : one.id);
    const watch = typeof who === "string" ? { conversation: who, users: new Uint8Array() } : { conversation: NONE, users: concat(...who.map((one) => fromHex(idOf(one)))) };
    this.session.say("watch", watch);
    this.flush();
  }

  /** Stored messages, oldest first: the last `limit` of those up to `upto` (0: the newest). */
  history(conversation: ConversationId, upto = 0n, limit = 50): Promise<Page> {
    const page = this.session.history(conversation, upto, limit);
    this.flush();
    return page;
  }

  /** What a conversation is, and who is in it: the first `most` of them, also of those who left. */
  async describe(conversation: ConversationId, most = Infinity): Promise<Description> {
    const members: Member[] = [];
    for (;;) {
      const asked = this.session.ask("describe", { conversation, first: members.length, limit: 0, counted: 0n }, "described");
      this.flush();
      const described = await asked;
      const part = membersOf(described);
      members.push(...part);
      if (part.length > 0 && members.length < Math.min(described.members, most)) continue;
      const { current, timer, deleted, settings } = described;
      const [write = 1, add = 2, edit = 2, history = 0] = settings;
      return {
        title: textOf(described.title), members, current, timer, deleted, isLarge: described.isLarge !== 0, hasLink: described.hasLink !== 0,
        settings: { write, add, edit, history },
      };
    }
  }

  /** The user's devices; those of another user of the tenant for an administrator (`scope` *admin* in the token), to whom an answer may be lost: after three seconds that is an error, and what was wanted may have been done. */
  async devices(of?: string): Promise<Device[]> {
    const asked = this.session.ask("devices", { reserved: 0, user: of === undefined ? NONE : this.userNamed(of) }, "deviceList");
    this.flush();
    return devicesOf(await (of === undefined ? asked : answered(asked)));
  }

  /** Lets a device in no more, or `"all"` but this one and every token of before; `of` as in `devices`. The devices that are left. */
  async revoke(device: number | "all", of?: string): Promise<Device[]> {
    const which = device === "all" ? { device: 0, flags: REVOKE_ALL } : { device, flags: 0 };
    const asked = this.session.ask("revoke", { ...which, user: of === undefined ? NONE : this.userNamed(of) }, "deviceList");
    this.flush();
    return devicesOf(await (of === undefined ? asked : answered(asked)));
  }

  /** Changes a setting of the user's (docs/protocol.md, SET); resolves once it is durable. */
  async set(conversation: ConversationId, key: number, value: bigint, peer: UserId = NONE): Promise<void> {
    const asked = this.session.ask("set", { conversation, key, value, peer }, "setting");
    this.flush();
    await asked;
  }

  /** Messages that the user does not want to see any more. */
  async forget(conversation: ConversationId, first: bigint, last: bigint): Promise<void> {
    const asked = this.session.ask("forget", { conversation, first, last }, "forgotten");
    this.flush();
    await asked;
  }

  private named(names: readonly string[]): Uint8Array {
    return concat(u16(names.length), ...names.map((name) => fromHex(this.userNamed(name))));
  }

  private post(to: To, what: Partial<Pick<Outgoing, "payload" | "control" | "target" | "body" | "flags" | "expiresAt">>): Promise<Sent> {
    return new Promise((resolve, reject) => {
      const keep = async (): Promise<void> => {
        if (this.closed || this.session.isClosed) throw new Error("the client is closed");
        await this.start();
        const conversation = this.conversationOf(to);
        const peer = "user" in to ? this.userNamed(to.user) : NONE;
        const message = this.session.message(isGroup(conversation) ? { conversation } : { conversation, peer }, what, wallUs());
        // Kept first: what was sent and is forgotten would be repeated by nobody.
        await this.store.put(message);
        this.waiting.set(message.clientMsgId, { resolve, reject });
        this.session.post(message, now());
        this.after();
      };
      this.keeping = this.keeping.then(keep).catch((error: unknown) => reject(error instanceof Error ? error : new Error(String(error))));
    });
  }

  private planShow(writing: Writing, wait: number): void {
    if (writing.timer !== undefined && wait > PACE_MS) return;
    clearTimeout(writing.timer);
    writing.timer = setTimeout(() => this.show(writing), wait);
  }

  /** Says what was written and not said, or that it is still being written. */
  private show(writing: Writing): void {
    clearTimeout(writing.timer);
    writing.timer = undefined;
    const { conversation, bytes, seq } = writing;
    if (seq === undefined || this.closed || !this.writing.has(writing)) return;
    if (this.session.isUp) {
      do {
        const piece = bytes.slice(writing.shown, writing.shown + FRAGMENT_MAX);
        this.session.say("fragment", { conversation, seq, offset: writing.shown, crc: crc32c(piece), bytes: piece });
        writing.shown += piece.length;
      } while (writing.shown < bytes.length);
      this.flush();
    }
    this.planShow(writing, STILL_WRITING_MS);
  }

  private async connect(): Promise<void> {
    if (this.closed || this.session.isClosed) return;
    let token: string;
    try {
      token = typeof this.options.token === "string" ? this.options.token : await this.options.token();
    } catch {
      return this.reconnect(0);
    }
    if (this.closed || this.session.isClosed) return;
    const { url } = this.options;
    const make = this.options.webSocket ?? ((url: string, protocol: string) => new WebSocket(url, protocol) as unknown as Socket);
    let socket: Socket;
    try {
      socket = make(url, SUBPROTOCOL);
    } catch {
      return this.reconnect(0);
    }
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    this.deadline = setTimeout(() => this.drop(socket), CONNECT_MS);
    socket.onopen = () => {
      this.open = true;
      this.session.connected(token, wallUs(), now());
      this.after();
    };
    socket.onmessage = ({ data }) => {
      try {
        this.session.received(new Uint8Array(data as ArrayBuffer), now());
      } catch (error) {
        // What a server says that makes no sense is not listened to any further.
        console.error("tidings: the server said something that makes no sense", error);
        return this.drop(socket);
      }
      this.after();
    };
    socket.onclose = socket.onerror = () => this.drop(socket);
  }

  /** A connection is over, whoever ended it: what comes of it later is nobody's. */
  private drop(socket: Socket): void {
    if (this.socket !== socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    // An error of one that is given up is of no interest, and must be heard by somebody.
    socket.onerror = () => undefined;
    clearTimeout(this.deadline);
    [this.socket, this.open] = [undefined, false];
    const asked = this.session.disconnected();
    this.reconnect(asked);
    this.after();
    socket.close();
  }

  private reconnect(askedMs: number): void {
    if (this.closed || this.session.isClosed) return;
    this.reconnectTimer = setTimeout(() => {
      this.reconnectTimer = undefined;
      void this.connect();
    }, this.backoff.next(askedMs));
  }

  /** Tells, keeps, sends, and plans when to look again. */
  private after(): void {
    for (const event of this.session.takeEvents()) this.tell(event);
    if (this.session.takeDirty()) this.save();
    this.flush();
    this.plan();
  }

  /** Keeps how far the device is: one save at a time, and what comes meanwhile with the next. */
  private save(): void {
    if (this.saveWaits || this.closed || this.stopped) return;
    this.saveWaits = true;
    const keep = async (): Promise<void> => {
      this.saveWaits = false;
      const [saved, handling] = [this.session.saved(), this.handling];
      this.handling = [];
      try {
        await Promise.all(handling);
      } catch (error) {
        // What a handler could not do is not acknowledged, and so nothing after it: it comes again at the next start.
        console.error("tidings: a handler failed; nothing more is acknowledged before the next start", error);
        this.stopped = true;
        return;
      }
      await this.store.save(saved);
      this.session.stored(saved, now());
      this.flush();
      this.plan();
    };
    this.saving = this.saving.then(keep).catch((error: unknown) => {
      console.error("tidings: what must be kept cannot be, and is tried again", error);
      this.session.notStored();
      setTimeout(() => this.after(), SAVE_AGAIN_MS);
    });
  }

  private plan(): void {
    clearTimeout(this.timer);
    if (this.closed || !this.open) return;
    const wait = Math.min(Math.max(this.session.nextTick() - now(), 1), TIMER_MAX_MS);
    this.timer = setTimeout(() => {
      if (this.session.isDead(now()) && this.socket) return this.drop(this.socket);
      this.session.tick(now());
      this.after();
    }, wait);
  }

  private flush(): void {
    const output = this.session.takeOutput();
    if (output && this.open) {
      // The server takes messages of a mebibyte.
      for (let at = 0; at < output.length; at += 1 << 19) this.socket?.send(output.subarray(at, at + (1 << 19)));
    }
  }

  private tell(event: Event): void {
    if (event.type === "sent") {
      void this.store.remove(event.message).catch((error: unknown) => console.error("tidings: what was sent cannot be forgotten", error));
      this.waiting.get(event.message.clientMsgId)?.resolve({ conversation: event.message.conversation, seq: event.seq, ts: event.ts });
      this.waiting.delete(event.message.clientMsgId);
    } else if (event.type === "sendFailed") {
      void this.store.remove(event.message).catch((error: unknown) => console.error("tidings: what was refused cannot be forgotten", error));
      this.waiting.get(event.message.clientMsgId)?.reject(event.error);
      this.waiting.delete(event.message.clientMsgId);
    } else if (event.type === "wanted") {
      for (const writing of this.writing) {
        if (writing.conversation !== event.conversation || writing.seq !== event.seq) continue;
        writing.shown = Math.min(writing.shown, event.offset);
        this.planShow(writing, PACE_MS);
      }
    } else if (event.type === "pieceRefused") {
      for (const writing of this.writing) {
        if (writing.conversation !== event.conversation) continue;
        writing.shown = 0;
        clearTimeout(writing.timer);
        writing.timer = setTimeout(() => this.show(writing), Math.max(event.until - now(), PACE_MS));
      }
    } else if (event.type === "connected") {
      this.hadFreshToken = false;
      clearTimeout(this.deadline);
      for (const writing of this.writing) this.planShow(writing, PACE_MS);
    } else if (event.type === "synced") {
      this.backoff.reset();
    } else if (event.type === "tokenNeeded") {
      void this.renew();
    } else if (event.type === "rejected") {
      if (event.error.code.startsWith("TOKEN_") && typeof this.options.token === "function" && !this.hadFreshToken) {
        // The token ended with its session: a new one may do.
        this.hadFreshToken = true;
        this.session.reopen();
        return;
      }
      this.giveUp(event.error);
    }
    for (const handler of this.handlers) {
      // One that fails keeps nobody else from hearing of it.
      try {
        const handling = handler(event);
        if (handling) this.handling.push(handling);
      } catch (error) {
        this.handling.push(Promise.reject(error));
      }
    }
  }

  private async renew(): Promise<void> {
    if (typeof this.options.token !== "function") return;
    try {
      const token = await this.options.token();
      const asked = this.session.ask("reauth", { token: utf8(token) }, "reauthOk");
      this.flush();
      this.session.renewed((await asked).tokenUntil, now());
      this.plan();
    } catch {
      // The session ends with its token, and the next begins with another.
    }
  }
}

/** Milliseconds of a clock that never goes back. */
const now = (): number => performance.now();
/** Microseconds since 1970. */
const wallUs = (): bigint => BigInt(Date.now()) * 1000n;

