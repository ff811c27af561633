/** Who is there: it is asked for as long as somebody looks, and what was told counts for two minutes. */

import type { Client, UserId } from "tidings";
import type { Talk } from "./talk.js";

/** Whether somebody is there: 0 not, 1 yes, 2 it does not say; and when it was last. */
export interface Presence {
  readonly state: number;
  readonly lastSeen: bigint;
}

/** It is asked for again so often, of so many; that costs of what the user may ask. */
export const WATCH_MS = 60_000;
const WATCHED = 64;
/** What was told counts for so long. */
const COUNTS_MS = 125_000;

/** What was told, and when it was asked. */
export class Presences {
  private readonly told = new Map<UserId, Presence & { readonly heardAt: number }>();
  private readonly asked = new Map<string, number>();

  constructor(private readonly client: Client, private readonly me: UserId) {}

  /** The server says so. */
  hear(user: UserId, state: number, lastSeen: bigint): void {
    this.told.set(user, { state, lastSeen, heardAt: performance.now() });
  }

  /** Whether somebody is there, if that was told lately. */
  of(user: UserId | undefined): Presence | undefined {
    const presence = user === undefined ? undefined : this.told.get(user);
    return presence && performance.now() - presence.heardAt < COUNTS_MS ? presence : undefined;
  }

  /** What was asked for has lapsed: it is asked for again. */
  lapse(): void {
    this.asked.clear();
  }

  /** Nothing of what was told counts any more. */
  forget(): void {
    this.told.clear();
    this.asked.clear();
  }

  /** A group has other members now. */
  changed(group: Talk): void {
    this.asked.delete(group.id);
  }

  /** Asks for those with whom the user spoke last, and for the members of the group that is open. */
  ask(talks: Iterable<Talk>, open: Talk | undefined): void {
    const peers = [...talks].filter(({ peer, isBlocked }) => peer && peer !== this.me && !isBlocked);
    const latest = peers.sort((a, b) => (a === open ? -1 : b === open ? 1 : b.rank - a.rank)).slice(0, WATCHED);
    const due = latest.map(({ peer }) => peer!).filter((peer) => this.isDue(peer));
    if (due.length > 0) this.client.watch(due.map((id) => ({ id })));
    const isWatched = open?.isGroup && open.description && !open.description.isLarge && (open.role ?? 0) > 0;
    if (isWatched && this.isDue(open.id)) this.client.watch(open.id);
  }

  private isDue(id: string): boolean {
    const now = performance.now();
    const isDue = now - (this.asked.get(id) ?? -Infinity) > WATCH_MS - 1_000;
    if (isDue) this.asked.set(id, now);
    return isDue;
  }
}
