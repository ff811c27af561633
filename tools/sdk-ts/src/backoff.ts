/** When to connect again: after a random time of at most 50 ms at first, and of at most twice as much each time, up to 10 s. */

const FIRST_MS = 50;
const MOST_MS = 10_000;

/** Waits longer after each failure. */
export class Backoff {
  private most = FIRST_MS;

  constructor(private readonly random: () => number = Math.random) {}

  /** It worked. */
  reset(): void {
    this.most = FIRST_MS;
  }

  /** How long to wait now, in milliseconds; what the server asked for comes on top. */
  next(askedMs = 0): number {
    const wait = askedMs + this.random() * this.most;
    this.most = Math.min(2 * this.most, MOST_MS);
    return wait;
  }
}
