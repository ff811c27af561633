/**
 * Each tab is a device of its own. A tab claims its number by a lock that the browser takes away with the tab, so that of a tab and its copy one gets
 * another number, and a reload gets the same.
 */

/** Devices of one browser: as many as the server remembers of a user. */
const TABS = 64;
/** How long a reload waits for the page before it to be gone. */
const PATIENCE_MS = 500;
const BASE = "tidings/browser";
const OWN = "tidings/tab";

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

/** Holds a lock as long as the page is there. Whether it could be had. */
function hold(name: string, options: LockOptions): Promise<boolean> {
  return new Promise((resolve) => {
    const held = navigator.locks.request(name, options, (lock) => {
      resolve(lock !== null);
      return lock === null ? undefined : new Promise<never>(() => undefined);
    });
    held.catch(() => resolve(false));
  });
}

/** Claims a number for this tab. */
export async function claimDevice(user: string): Promise<number> {
  const first = base();
  const own = sessionStorage.getItem(OWN);
  const lockOf = (at: number): string => `tidings/${user}/${first + at}`;
  const claimed = (at: number): number => {
    sessionStorage.setItem(OWN, String(at));
    return first + at;
  };
  // A page that is not from a trusted origin has no locks: then a copied tab takes the place of its original.
  if (!("locks" in navigator)) return claimed(own === null ? Math.floor(Math.random() * TABS) : Number(own));
  if (own !== null && (await hold(lockOf(Number(own)), { signal: AbortSignal.timeout(PATIENCE_MS) }))) return claimed(Number(own));
  for (let at = 0; at < TABS; at++) if (await hold(lockOf(at), { ifAvailable: true })) return claimed(at);
  throw new Error(`${TABS} tabs are open`);
}
