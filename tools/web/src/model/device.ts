/**
 * Each tab is a device of its own. A tab claims its number by a lock that the browser takes away with the tab, so that of a tab and its copy one gets
 * another number, and a reload gets the same. A number whose last tab left something to be sent is claimed first.
 */

import { unsentKey } from "./store.js";

/** Devices of one browser: as many as the server remembers of a user. */
const TABS = 64;
/** How long a reload waits for the page before it to be gone. */
const PATIENCE_MS = 500;
const BASE = "tidings/browser";
const OWN = "tidings/tab";

/** A device of this browser. */
export interface Claim {
  readonly device: number;
  /** The name of what it keeps. */
  readonly store: string;
  /** Gives the number back. */
  release(): void;
}

/** The browser's first number, the same for all of its tabs. */
function base(): number {
  const kept = Number(localStorage.getItem(BASE));
  if (kept >= TABS && kept < 2 ** 31 && kept % TABS === 0) return kept;
  const [random = 1] = crypto.getRandomValues(new Uint32Array(1));
  // Below 2^31 it is no guest.
  const fresh = Math.max(TABS, random % 2 ** 31) & ~(TABS - 1);
  localStorage.setItem(BASE, String(fresh));
  return fresh;
}

/** Holds a lock until it is given back, or the page is gone; `undefined`: it could not be had. */
function hold(name: string, options: LockOptions): Promise<(() => void) | undefined> {
  return new Promise((resolve) => {
    const held = navigator.locks.request(name, options, (lock) => {
      if (lock === null) return resolve(undefined);
      return new Promise<void>((release) => resolve(release));
    });
    held.catch(() => resolve(undefined));
  });
}

const storeOf = (user: string, device: number): string => `tidings/${user}/${device}`;
const revokedKey = (user: string, device: number): string => `${storeOf(user, device)}/revoked`;

/** The server lets a device in no more: its number is not claimed again. */
export const noteRevoked = (user: string, device: number): void => localStorage.setItem(revokedKey(user, device), "1");

/** Claims a number for this tab. */
export async function claimDevice(user: string): Promise<Claim> {
  const first = base();
  const own = sessionStorage.getItem(OWN);
  const claimed = (at: number, release: () => void): Claim => {
    sessionStorage.setItem(OWN, String(at));
    return { device: first + at, store: storeOf(user, first + at), release };
  };
  const mayBe = Array.from({ length: TABS }, (_, at) => at).filter((at) => localStorage.getItem(revokedKey(user, first + at)) === null);
  // A page that is not from a trusted origin has no locks: then a copied tab takes the place of its original.
  if (!("locks" in navigator)) return claimed(own === null ? (mayBe[Math.floor(Math.random() * mayBe.length)] ?? 0) : Number(own), () => undefined);
  if (own !== null && mayBe.includes(Number(own))) {
    const release = await hold(storeOf(user, first + Number(own)), { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (release) return claimed(Number(own), release);
  }
  const isLeft = (at: number): boolean => localStorage.getItem(unsentKey(storeOf(user, first + at))) !== null;
  for (const at of [...mayBe.filter(isLeft), ...mayBe]) {
    const release = await hold(storeOf(user, first + at), { ifAvailable: true });
    if (release) return claimed(at, release);
  }
  throw new Error(`${mayBe.length} tabs are open`);
}
