/**
 * The order of one conversation. Messages may come twice, or before those that they follow; they leave once each, in order. A SENT takes the place of the
 * message that this session wrote.
 */

/** Something with a place in a conversation. */
export interface Placed {
  readonly seq: bigint;
}

/** The place of a device in one conversation. */
export class Order<T extends Placed> {
  private readonly early = new Map<bigint, T>();

  constructor(
    /** The last number that was released. */
    public last: bigint = 0n,
    /** The highest number heard of. */
    public head: bigint = last,
  ) {}

  /** The first numbers that are missing, if any are. */
  gap(): { first: bigint; last: bigint } | undefined {
    if (this.last >= this.head) return undefined;
    let next = this.head + 1n;
    for (const seq of this.early.keys()) if (seq < next) next = seq;
    return { first: this.last + 1n, last: next - 1n };
  }

  /** Takes one in; what can be released now. */
  put(item: T): T[] {
    if (item.seq > this.head) this.head = item.seq;
    if (item.seq > this.last) this.early.set(item.seq, item);
    return this.release();
  }

  /** There is a message of this number. */
  hear(head: bigint): void {
    if (head > this.head) this.head = head;
  }

  /** What is not above `seq` is given up; what can be released now. */
  skipTo(seq: bigint): T[] {
    if (seq > this.last) this.last = seq;
    if (seq > this.head) this.head = seq;
    for (const number of this.early.keys()) if (number <= this.last) this.early.delete(number);
    return this.release();
  }

  private release(): T[] {
    const released: T[] = [];
    for (let item = this.early.get(this.last + 1n); item; item = this.early.get(this.last + 1n)) {
      this.last += 1n;
      this.early.delete(this.last);
      released.push(item);
    }
    return released;
  }
}
