/** Loading what was said before: page by page upward as somebody scrolls, up to a message that is quoted, and the last ones of what the list shows. */

import type { Client, Message } from "tidings";
import type { Talk } from "./talk.js";

/** Messages of a page. */
export const PAGE = 100;
/** Pages that are loaded to show what a message answers. */
const REACH_PAGES = 50;
/** The list shows the last message of a conversation: so many are loaded, of so many conversations at once. */
const PREVIEW = 20;
const PREVIEWS_MAX = 4;
/** After a page that could not be had: doubled each time, up to the most. From the third failure on it is told. */
const WAIT_MS = 1_000;
const WAIT_MAX_MS = 60_000;
const TOLD_FROM = 3;

/** Whom it loads for. */
interface Reader {
  readonly client: Client;
  readonly isUp: boolean;
  readonly isSynced: boolean;
  takeAll(talk: Talk, messages: readonly Message[]): void;
  /** Something was loaded. */
  loaded(): void;
  complain(what: string, error: unknown): void;
}

/** What is loaded, and what waits for that. */
export class Past {
  private readonly previews: Talk[] = [];
  private previewing = 0;

  constructor(private readonly reader: Reader) {}

  /** Nothing that waits means anything any more. */
  clear(): void {
    this.previews.length = 0;
  }

  /** Loads older messages. */
  async loadOlder(talk: Talk): Promise<void> {
    const { thread } = talk;
    const { client, isUp, isSynced } = this.reader;
    if (talk.isLoading || thread.isWhole || !isUp || performance.now() < talk.loadAfter) return;
    if (talk.head === 0 && thread.last === 0) {
      thread.isWhole = isSynced;
      return;
    }
    const isEmpty = thread.first > thread.last;
    const upto = isEmpty ? 0 : thread.first - 1;
    if (!isEmpty && upto <= thread.cleared) {
      thread.isWhole = true;
      return;
    }
    talk.isLoading = true;
    try {
      const page = await client.history(talk.id, BigInt(upto), PAGE);
      this.reader.takeAll(talk, page.messages);
      if (page.from > 0n) thread.reach(Number(page.from));
      thread.isWhole = page.from <= BigInt(thread.cleared) + 1n || page.from <= page.oldest || page.messages.length === 0;
      talk.loadFailures = 0;
    } catch (error) {
      // Without a connection it is asked for again once there is one.
      if (this.reader.isUp) this.postpone(talk, error);
    }
    talk.isLoading = false;
    this.reader.loaded();
  }

  /** Loads older messages until one is there. Whether it is. */
  async loadTo(talk: Talk, seq: number): Promise<boolean> {
    for (let pages = 0; pages < REACH_PAGES && talk.thread.first > seq && !talk.thread.isWhole; pages++) {
      const before = talk.thread.first;
      await this.loadOlder(talk);
      if (talk.thread.first === before) break;
    }
    return talk.thread.indexOf(seq) >= 0;
  }

  /** Loads the last messages of a conversation that the list shows. */
  wantPreview(talk: Talk): void {
    if (talk.newest || talk.head === 0 || talk.isPreviewed || !this.reader.isUp) return;
    talk.isPreviewed = true;
    this.previews.push(talk);
    void this.loadPreviews();
  }

  private async loadPreviews(): Promise<void> {
    if (this.previewing >= PREVIEWS_MAX) return;
    this.previewing += 1;
    for (let talk = this.previews.shift(); talk; talk = this.previews.shift()) {
      if (talk.thread.last > 0) continue;
      try {
        const page = await this.reader.client.history(talk.id, 0n, PREVIEW);
        // Meanwhile it may have been opened, or heard of: what is loaded has no holes.
        if (talk.thread.last === 0 || talk.thread.first <= Number(page.head) + 1) this.reader.takeAll(talk, page.messages);
        this.reader.loaded();
      } catch {
        talk.isPreviewed = false; // it is asked for again when it is looked at
      }
    }
    this.previewing -= 1;
  }

  private postpone(talk: Talk, error: unknown): void {
    const wait = Math.min(WAIT_MS * 2 ** talk.loadFailures, WAIT_MAX_MS);
    talk.loadFailures += 1;
    talk.loadAfter = performance.now() + wait;
    setTimeout(() => this.reader.loaded(), wait);
    if (talk.loadFailures >= TOLD_FROM) this.reader.complain("Older messages cannot be loaded", error);
  }
}
