/** How far a device is in one conversation. */

import { Order, type Placed } from "./order.js";
import { Unread, type Released } from "./unread.js";

/** A conversation as a device knows it. */
export interface Place {
  readonly order: Order<Item>;
  /** What the application was given and stored, what this connection has said of it, and what is known for good. */
  delivered: bigint;
  told: bigint;
  deliveredOk: bigint;
  /** The same of what the user has read. */
  read: bigint;
  readOrdinal: bigint;
  readTold: bigint;
  readOk: bigint;
  /** Messages with content up to which the server has made READ durable; 0: it does not say. */
  seenOk: bigint;
  repeatAt: number;
  fetching: boolean;
  readonly unread: Unread;
  /** How often the user said of messages that it does not want to see them any more, as this device heard. */
  forgotten: number;
  /** A large group: nobody waits for its messages to be acknowledged. */
  isLarge: boolean;
}

/** Something with a place in it. */
export interface Item extends Placed, Released {
  readonly seq: bigint;
}

/** One of which the application was given everything up to `last`. */
export function newPlace(last: bigint): Place {
  return {
    order: new Order<Item>(last), delivered: 0n, told: 0n, deliveredOk: 0n, read: 0n, readOrdinal: 0n, readTold: 0n, readOk: 0n, seenOk: 0n, repeatAt: 0, fetching: false,
    isLarge: false, unread: new Unread(), forgotten: 0,
  };
}
