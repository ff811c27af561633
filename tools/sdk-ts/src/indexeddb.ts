/** A store in the browser's database: what is unsent survives a reload. */

import type { ConversationId } from "./ids.js";
import type { Outgoing } from "./outbox.js";
import type { Saved, SavedConversation, Store } from "./store.js";

const STATE = "state";
const OUTBOX = "outbox";

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** The store of one device of one user. */
export class IndexedDbStore implements Store {
  private constructor(private readonly database: IDBDatabase) {}

  /** Opens, or makes, the database of a name. */
  static async open(name: string): Promise<IndexedDbStore> {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(STATE);
      // Ids are text there: bigint is no key. As long as all have 20 digits they are in their order.
      request.result.createObjectStore(OUTBOX);
    };
    return new IndexedDbStore(await done(request));
  }

  async load(): Promise<Saved | undefined> {
    const kept = await done(this.on(STATE, "readonly").get(STATE));
    if (!kept) return undefined;
    return { ...kept, conversations: new Map<ConversationId, SavedConversation>(kept.conversations) };
  }

  async save(saved: Saved): Promise<void> {
    await this.write(STATE, (store) => store.put({ ...saved, conversations: [...saved.conversations] }, STATE));
  }

  async outbox(): Promise<Outgoing[]> {
    return done(this.on(OUTBOX, "readonly").getAll());
  }

  async put(message: Outgoing): Promise<void> {
    await this.write(OUTBOX, (store) => store.put(message, key(message)));
  }

  async remove(message: Outgoing): Promise<void> {
    await this.write(OUTBOX, (store) => store.delete(key(message)));
  }

  /** Closes the database. */
  close(): void {
    this.database.close();
  }

  private on(store: string, mode: IDBTransactionMode): IDBObjectStore {
    return this.database.transaction(store, mode).objectStore(store);
  }

  /** What was written is on the disk once the transaction is complete. */
  private write(name: string, change: (store: IDBObjectStore) => void): Promise<void> {
    const transaction = this.database.transaction(name, "readwrite", { durability: "strict" });
    change(transaction.objectStore(name));
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  }
}

const key = (message: Outgoing): string => message.clientMsgId.toString().padStart(20, "0");
