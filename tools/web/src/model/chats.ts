/** All that the page knows, and what can be done with it. Views look at it, and are told when it changes. */

import { CONTROL, Client, SETTING, hasContent, isGroup, Refused, type ConversationId, type Event, type Message, type Outgoing, type UserId } from "tidings";
import { named, titleOf } from "./acts.js";
import { Names } from "./names.js";
import { PAGE, Past } from "./past.js";
import { Presences, WATCH_MS } from "./presence.js";
import { PageStore } from "./store.js";
import { Talk } from "./talk.js";
import { beginning, tameName } from "./tame.js";

/** Whether the server can be reached. */
export type Link = "connecting" | "up" | "lost";

/** Typing is said again so often, and is over after so long without a key. */
const TYPING_MS = 4_000;
const PAUSE_MS = 5_000;
/** A group is described again at most so often, and after a failure. */
const DESCRIBE_MS = 300;
const DESCRIBE_AGAIN_MS = 2_000;
/** A page that nobody looks at draws no frames; its title still counts. */
const HIDDEN_MS = 250;
/** More than there are messages in one connection. */
const RANKS = 2 ** 32;
const MEMBERS_SHOWN = 1_000;

const FOR_EVER = (1n << 64n) - 1n;

/** Who is signed in. */
export interface Account {
  readonly name: string;
  readonly tenant: string;
  readonly device: number;
  readonly token: string | (() => Promise<string>);
}

/** The conversations of a user. */
export class Chats {
  readonly client: Client;
  readonly me: UserId;
  readonly names: Names;
  readonly talks = new Map<ConversationId, Talk>();
  readonly presence: Presences;
  readonly past: Past;
  selected: Talk | undefined;
  link: Link = "connecting";
  isSynced = false;
  /** From the connection to the whole list, and from a message to its acknowledgement, in milliseconds. */
  resumeMs: number | undefined;
  latencyMs: number | undefined;
  /** Why the server wants nothing of this device any more. */
  rejected: Refused | undefined;
  readPrivate = false;
  visibility = 0;
  /** The last thing that went wrong, for a while. */
  notice: string | undefined;
  /** What was said last in the conversation that is open, for those who do not see it. */
  announcement = "";
  private readonly watchers = new Set<() => void>();
  private readonly began = new Map<bigint, number>();
  private readonly timers: ReturnType<typeof setInterval>[] = [];
  private connectedAt = 0;
  private typingAt = -Infinity;
  private pauseTimer: ReturnType<typeof setTimeout> | undefined;
  /** Connections, what was listed in this one, and what was heard live: they tell which conversation is newer. */
  private connections = 0;
  private listed = 0;
  private heard = 0;
  private noticeTimer: ReturnType<typeof setTimeout> | undefined;
  private isTold = false;
  private looks = true;
  private atEnd = true;

  constructor(readonly account: Account, store: PageStore, url: string) {
    const { name, tenant, device, token } = account;
    const kept = `tidings/names/${tenant}/${name}`;
    this.names = new Names(tenant, { get: () => localStorage.getItem(kept), set: (names) => localStorage.setItem(kept, names) });
    this.client = new Client({ url, user: name, tenant, device, token, store, history: 0, deviceName: "browser" });
    this.me = this.client.me;
    this.names.learn(this.me, name);
    this.presence = new Presences(this.client, this.me);
    this.past = new Past(this);
    store.onPut = (message) => this.wrote(message);
    this.client.on((event) => {
      this.take(event);
      this.changed();
    });
    this.timers.push(setInterval(() => this.watch(), WATCH_MS), setInterval(() => this.passTime(), 1_000));
  }

  /** Begins. */
  start(): Promise<void> {
    return this.client.start();
  }

  /** Ends. */
  async close(): Promise<void> {
    for (const timer of this.timers) clearInterval(timer);
    await this.client.close();
  }

  /** Calls `watcher` once after each burst of changes; what is given back ends that. */
  onChange(watcher: () => void): () => void {
    this.watchers.add(watcher);
    return () => void this.watchers.delete(watcher);
  }

  /** Something is to be drawn anew. */
  changed(): void {
    if (this.isTold) return;
    this.isTold = true;
    // A page that nobody looks at draws no frames, and its title still counts.
    const tell = (): void => {
      if (!this.isTold) return;
      this.isTold = false;
      for (const watcher of this.watchers) watcher();
    };
    requestAnimationFrame(tell);
    setTimeout(tell, HIDDEN_MS);
  }

  /** Conversations as the list shows them: what is kept at the top, then the newest. */
  list(filter: string, showsArchived: boolean): Talk[] {
    const wanted = filter.trim().toLowerCase();
    const shown = [...this.talks.values()].filter((talk) => {
      if (talk !== this.selected && (talk.isHidden || (talk.head === 0 && talk.pending.length === 0))) return false;
      return wanted ? this.title(talk).toLowerCase().includes(wanted) : talk.isArchived === showsArchived;
    });
    return shown.sort((a, b) => b.pinned - a.pinned || b.rank - a.rank);
  }

  /** All that is unread and not muted. */
  unread(): number {
    const now = wallUs();
    let sum = 0;
    for (const talk of this.talks.values()) if (!talk.isMuted(now) && !talk.isHidden) sum += talk.unread;
    return sum;
  }

  /** What a conversation is called. */
  title(talk: Talk): string {
    if (talk.isGroup) return tameName(talk.name) || `group ${talk.id.slice(0, 8)}`;
    return talk.peer ? this.names.of(talk.peer) : "?";
  }

  /** The conversation with somebody, which need not have begun. */
  talkWith(name: string): Talk {
    const peer = this.names.give(name);
    return this.talk(this.client.conversationOf({ user: name }), peer);
  }

  /** Opens a conversation; without one, none. */
  select(talk: Talk | undefined): void {
    if (this.selected === talk) return;
    this.stopTyping();
    // Whether the end of it can be seen its list says.
    [this.selected, this.atEnd] = [talk, false];
    if (talk) {
      [talk.readBefore, talk.openedAt] = [talk.read, talk.head];
      this.refresh(talk);
    }
    this.changed();
  }

  /** Asks for what is not known of a conversation that is looked at. */
  private refresh(talk: Talk): void {
    if (talk.thread.rows.length < PAGE && !talk.thread.isWhole) void this.past.loadOlder(talk);
    this.planDescribe(talk);
    this.watch();
  }

  /** Whether somebody looks at the page. */
  look(looks: boolean): void {
    if (looks === this.looks) return;
    this.looks = looks;
    this.client.setActive(looks);
    if (!looks) return;
    // Nothing of it was told meanwhile.
    this.presence.lapse();
    this.watch();
    this.readOn();
  }

  /** Whether the newest message of the open conversation can be seen. */
  seesEnd(atEnd: boolean): void {
    this.atEnd = atEnd;
    if (atEnd) this.readOn();
  }

  /** True while there is a session. */
  get isUp(): boolean {
    return this.link === "up";
  }

  /** Older messages came. */
  loaded(): void {
    this.readOn();
    this.changed();
  }

  /** Sends what is written. */
  async send(talk: Talk, text: string): Promise<void> {
    const { editing, answering } = talk;
    talk.draft = editing === undefined ? "" : talk.keptDraft;
    [talk.editing, talk.answering, talk.keptDraft] = [undefined, undefined, ""];
    this.stopTyping();
    this.changed();
    try {
      if (editing !== undefined) await this.client.edit(talk.id, BigInt(editing), text);
      else await this.post(talk, text, BigInt(answering ?? 0));
    } catch (error) {
      // Of a text that was refused there is a row; all else is given back.
      if (editing === undefined && error instanceof Refused) return;
      if (talk.draft === "") [talk.draft, talk.editing, talk.answering] = [text, editing, answering];
      this.complain(editing === undefined ? "The message was not sent" : "The message was not changed", error);
    }
  }

  private async post(talk: Talk, text: string, answers: bigint): Promise<void> {
    const name = talk.peer ? this.names.raw(talk.peer) : undefined;
    const to = talk.peer && name !== undefined && talk.head === 0 ? { user: name } : { conversation: talk.id };
    await this.client.send(to, text, { answers });
  }

  /** Sends again what was refused. */
  async sendAgain(talk: Talk, { clientMsgId, payload, target }: Outgoing): Promise<void> {
    this.dismiss(talk, clientMsgId);
    await this.post(talk, new TextDecoder().decode(payload), target).catch(() => undefined); // its row says so
  }

  /** Forgets what was refused. */
  dismiss(talk: Talk, clientMsgId: bigint): void {
    const at = talk.pending.findIndex(({ message }) => message.clientMsgId === clientMsgId);
    if (at >= 0) talk.pending.splice(at, 1);
    this.changed();
  }

  /** The user reacts to a message; the same again takes it back. */
  react(talk: Talk, seq: number, reaction: string): Promise<void> {
    const mine = talk.thread.reactionsTo(seq).get(this.me)?.text;
    return this.attempt("The reaction was not taken", this.client.react(talk.id, BigInt(seq), mine === reaction ? "" : reaction));
  }

  /** Withdraws a message for everybody. */
  erase(talk: Talk, seq: number): Promise<void> {
    return this.attempt("The message was not withdrawn", this.client.erase(talk.id, BigInt(seq)));
  }

  /** Takes a message out of what the user is shown. */
  async forget(talk: Talk, seq: number): Promise<void> {
    await this.attempt("The message was not removed", this.client.forget(talk.id, BigInt(seq), BigInt(seq)));
  }

  /** Changes what the user wants of a conversation, or (without one) of its account. */
  set(talk: Talk | undefined, key: number, value: bigint): Promise<void> {
    const none = "0".repeat(32);
    const peer = key === SETTING.blocked && talk?.peer ? talk.peer : none;
    return this.attempt("The setting was not taken", this.client.set(talk?.id ?? none, key, value, peer));
  }

  /** Mutes a conversation, or not any more. */
  mute(talk: Talk): Promise<void> {
    return this.set(talk, SETTING.muted, talk.isMuted(wallUs()) ? 0n : FOR_EVER);
  }

  /** Shows nothing of a conversation that is there now. */
  async clear(talk: Talk): Promise<void> {
    const last = talk.thread.get(talk.head);
    if (last) this.client.read(talk.id, last.seq, last.ordinal);
    await this.set(talk, SETTING.cleared, BigInt(talk.head));
  }

  /** Makes a group; `undefined` if that failed. */
  async createGroup(title: string, names: readonly string[]): Promise<Talk | undefined> {
    for (const name of names) this.names.give(name);
    let made: Talk | undefined;
    await this.attempt("The group was not made", this.client.createGroup(title, names).then((id) => (made = this.talk(id, undefined))));
    return made;
  }

  /** Says that the user is writing. */
  type(talk: Talk): void {
    clearTimeout(this.pauseTimer);
    this.pauseTimer = setTimeout(() => this.stopTyping(), PAUSE_MS);
    if (performance.now() - this.typingAt < TYPING_MS || talk.head === 0) return;
    this.typingAt = performance.now();
    this.client.typing(talk.id);
  }

  private stopTyping(): void {
    clearTimeout(this.pauseTimer);
    if (this.typingAt > 0 && this.selected) this.client.typing(this.selected.id, 0);
    this.typingAt = -Infinity;
  }

  /** Does something, and says so if it fails. */
  async attempt(what: string, done: Promise<unknown>): Promise<void> {
    try {
      await done;
    } catch (error) {
      this.complain(what, error);
    }
    this.changed();
  }

  /** Says what went wrong. */
  complain(what: string, error: unknown): void {
    this.notice = `${what}: ${inWords(error)}`;
    clearTimeout(this.noticeTimer);
    this.noticeTimer = setTimeout(() => this.hush(), 8_000);
    this.changed();
  }

  /** What went wrong was read. */
  hush(): void {
    this.notice = undefined;
    this.changed();
  }

  private talk(id: ConversationId, peer: UserId | undefined): Talk {
    let talk = this.talks.get(id);
    if (!talk) {
      talk = new Talk(id, isGroup(id) ? undefined : peer, this.me);
      this.talks.set(id, talk);
    }
    if (!talk.isGroup) talk.peer ??= peer;
    return talk;
  }

  private take(event: Event): void {
    switch (event.type) {
      case "connected":
        [this.link, this.connectedAt, this.isSynced, this.listed] = ["up", performance.now(), false, 0];
        this.connections += 1;
        for (const talk of this.talks.values()) talk.isOutdated = true;
        this.presence.lapse();
        return;
      case "disconnected":
        this.link = "lost";
        this.presence.forget();
        for (const talk of this.talks.values()) talk.typing.clear();
        return;
      case "rejected":
        this.rejected = event.error;
        return;
      case "lineage":
        // Numbers may be those of other messages now.
        this.talks.clear();
        this.past.clear();
        this.selected = undefined;
        return;
      case "synced":
        [this.isSynced, this.resumeMs] = [true, performance.now() - this.connectedAt];
        if (this.selected) this.refresh(this.selected);
        this.watch();
        return;
      case "conversation": {
        const { conversation, peer, name } = event.conversation;
        const talk = this.talk(conversation, peer);
        talk.listed(event.conversation);
        // The list has what changed last first; what comes live is newer than all of it.
        talk.rank = Math.max(talk.rank, this.connections * RANKS - ++this.listed);
        if (talk.peer) this.names.learn(talk.peer, name);
        return;
      }
      case "unread":
        this.talk(event.conversation, undefined).unread = event.count;
        return;
      case "message":
        return this.takeMessage(event.message);
      case "sent":
        return this.takeSent(event.message, event.seq, event.ts, event.ordinal);
      case "sendFailed": {
        this.began.delete(event.message.clientMsgId);
        const pending = this.talks.get(event.message.conversation)?.pending.find(({ message }) => message.clientMsgId === event.message.clientMsgId);
        if (pending) pending.failed = inWords(event.error);
        return;
      }
      case "receipt": {
        const talk = this.talk(event.conversation, undefined);
        talk.mark(event.member, Number(event.delivered), Number(event.read));
        if (event.member === this.me) talk.read = Math.max(talk.read, Number(event.read));
        return;
      }
      case "typing": {
        const { typing } = this.talk(event.conversation, undefined);
        if (event.doing > 0) typing.set(event.user, performance.now());
        else typing.delete(event.user);
        return;
      }
      case "presence":
        this.presence.hear(event.user, event.state, event.lastSeen);
        return;
      case "grew":
        this.talks.get(event.conversation)?.thread.grew(Number(event.seq), event.text);
        return;
      case "setting":
        return this.takeSetting(event.conversation, event.key, event.value);
      case "preferences":
        [this.readPrivate, this.visibility] = [event.readPrivate, event.visibility];
        return;
      case "forgotten":
        this.talk(event.conversation, undefined).thread.forget(event.ranges.map(([first, last]) => [Number(first), Number(last)]));
        return;
    }
  }

  private takeMessage(message: Message): void {
    const talk = this.talk(message.conversation, message.sender === this.me ? message.peer : message.sender);
    this.takeAll(talk, [message]);
    talk.rank = this.connections * RANKS + ++this.heard;
    talk.typing.delete(message.sender);
    if (message.control === CONTROL.erase) this.announcement = "";
    if (talk === this.selected) {
      if (hasContent(message.control) && message.sender !== this.me && talk.thread.indexOf(Number(message.seq)) >= 0) {
        // The same words again are another announcement.
        this.announcement = `${this.names.of(message.sender)}: ${beginning(message.text, 200)}${message.seq % 2n === 0n ? "" : "\u00A0"}`;
      }
      this.readOn();
    }
  }

  /** Messages came, live or from the past. */
  takeAll(talk: Talk, messages: readonly Message[]): void {
    for (const message of messages) {
      this.names.learn(message.sender, message.senderName);
      this.names.hear(message.text, named(message));
      if (message.seq > (talk.newest?.seq ?? 0n)) {
        talk.newest = message;
        talk.head = Math.max(talk.head, Number(message.seq));
        if (message.ts > talk.lastTs) talk.lastTs = message.ts;
        if (!talk.isGroup && message.sender !== this.me && message.senderName) talk.name = message.senderName;
        talk.name = titleOf(message) ?? talk.name;
        if (message.control < CONTROL.edit && !hasContent(message.control)) {
          talk.isOutdated = true;
          if (talk.isGroup) this.presence.changed(talk);
          if (talk === this.selected) this.planDescribe(talk);
        }
      }
    }
    talk.thread.take(messages);
  }

  /** An own message of this page: the server tells its number, and the rest is known here. */
  private takeSent(message: Outgoing, seq: bigint, ts: bigint, ordinal: bigint): void {
    const began = this.began.get(message.clientMsgId);
    this.began.delete(message.clientMsgId);
    if (began !== undefined && ts > 0n) this.latencyMs = performance.now() - began;
    const { conversation, peer, clientMsgId, control, target, payload, body, flags } = message;
    const talk = this.talk(conversation, /^0*$/.test(peer) ? undefined : peer);
    this.dismiss(talk, clientMsgId);
    const takenAt = ts > 0n ? ts : wallUs();
    const { timer } = talk.thread;
    const expiresAt = timer > 0 && hasContent(control) ? takenAt + BigInt(timer) * 1_000_000n : message.expiresAt;
    this.takeAll(talk, [{
      conversation, seq, ts: takenAt, sender: this.me, senderName: this.account.name, senderDevice: this.account.device, peer, clientMsgId, control, target,
      ordinal, flags, expiresAt, payload, body, text: new TextDecoder().decode(payload),
    }]);
    talk.rank = this.connections * RANKS + ++this.heard;
    if (talk === this.selected) this.readOn();
  }

  private takeSetting(id: ConversationId, key: number, value: bigint): void {
    if (key === SETTING.readPrivate) this.readPrivate = value === 1n;
    if (key === SETTING.visibility) this.visibility = Number(value);
    const talk = this.talks.get(id);
    if (!talk) return;
    if (key === SETTING.hidden) talk.hiddenUpto = Number(value);
    if (key === SETTING.muted) talk.mutedUntil = value;
    if (key === SETTING.archived) talk.isArchived = value === 1n;
    if (key === SETTING.pinned) talk.pinned = Number(value);
    if (key === SETTING.cleared) talk.thread.clear(Number(value));
    if (key === SETTING.blocked) talk.isBlocked = value === 1n;
  }

  private wrote(message: Outgoing): void {
    this.began.set(message.clientMsgId, performance.now());
    if (message.control === CONTROL.text) {
      const talk = this.talk(message.conversation, /^0*$/.test(message.peer) ? undefined : message.peer);
      talk.pending.push({ message });
      talk.lastTs = wallUs();
      talk.rank = (this.connections + 1) * RANKS - 1;
    }
    this.changed();
  }

  /** Reads what can be seen. */
  private readOn(): void {
    const talk = this.selected;
    if (!talk || !this.looks || !this.atEnd || talk.isLoading) return;
    const last = talk.thread.get(talk.thread.last);
    if (!last || talk.thread.last <= talk.read) return;
    talk.read = talk.thread.last;
    this.client.read(talk.id, last.seq, last.ordinal);
  }

  private planDescribe(talk: Talk): void {
    if (talk.isDescribing || !talk.isOutdated) return;
    talk.isDescribing = true;
    setTimeout(() => void this.describe(talk), talk.description ? DESCRIBE_MS : 0);
  }

  private async describe(talk: Talk): Promise<void> {
    talk.isDescribing = false;
    if (!talk.isOutdated || this.link !== "up" || talk.head === 0) return;
    talk.isOutdated = false;
    try {
      talk.described(await this.client.describe(talk.id, MEMBERS_SHOWN));
      talk.isOut = false;
    } catch (error) {
      // Who is in it no more is told nothing of it.
      talk.isOut = error instanceof Refused && error.code === "NOT_MEMBER";
      talk.isOutdated = !talk.isOut;
      if (talk.isOut) return this.changed();
      setTimeout(() => talk === this.selected && this.planDescribe(talk), DESCRIBE_AGAIN_MS);
    }
    if (talk === this.selected && talk.isGroup) this.watch();
    this.changed();
  }

  private watch(): void {
    if (this.isUp && this.looks) this.presence.ask(this.talks.values(), this.selected);
  }

  /** What happens by itself: messages disappear, people stop typing. */
  private passTime(): void {
    let happened = false;
    for (const talk of this.talks.values()) {
      const before = talk.typing.size;
      if (before > 0 && talk.typers(performance.now()).length !== before) happened = true;
      if (talk.thread.expire(Date.now())) happened = true;
    }
    if (happened) this.changed();
  }
}

/** Microseconds since 1970. */
export const wallUs = (): bigint => BigInt(Date.now()) * 1_000n;

const WORDS: Readonly<Record<string, string>> = {
  NOT_MEMBER: "you are not in this conversation", BAD_PEER: "there is nobody else of that name", NOT_ALLOWED: "your role does not allow it", TOO_LATE: "it is too long ago",
  TARGET_ERASED: "the message was withdrawn", TARGET_INVALID: "that cannot be said of this message", GONE: "the group was deleted", BLOCKED: "somebody of them has blocked you",
  ALREADY_MEMBER: "somebody of them is a member already", NO_SUCH_MEMBER: "somebody of them is no member", LAST_OWNER: "make somebody else the owner first",
  RATE_LIMITED: "that is too much at once: try again in a moment", PAYLOAD_TOO_LARGE: "it is too long",
};

/** An error as people read it. */
function inWords(error: unknown): string {
  const code = (error as { code?: unknown }).code;
  const known = typeof code === "string" ? WORDS[code] : undefined;
  return known ?? (error instanceof Error ? error.message : String(error));
}
