/**
 * What the page keeps over a reload: what it has not sent, and the names that it gave. How far it is it asks the server each time, which has the list and the
 * last messages ready.
 */

import { IndexedDbStore, MemoryStore, type Outgoing, type Saved, type Store } from "tidings";

/** Where it is noted that a store has something to send. */
export const unsentKey = (name: string): string => `${name}/unsent`;

/** The store of one device. */
export class PageStore implements Store {
  /** Is told of everything that is to be sent, also of what was left from before. */
  onPut: (message: Outgoing) => void = () => undefined;

  private readonly waiting = new Set<bigint>();

  private constructor(private readonly inner: Store, private readonly name: string) {}

  /** Opens it; where the browser keeps nothing, for example in a private window, it lasts as long as the page. */
  static async open(name: string): Promise<PageStore> {
    try {
      return new PageStore(await IndexedDbStore.open(name), name);
    } catch {
      return new PageStore(new MemoryStore(), name);
    }
  }

  async load(): Promise<Saved | undefined> {
    const saved = await this.inner.load();
    return saved && { ...saved, uv: 0n, conversations: new Map() };
  }

  save(saved: Saved): Promise<void> {
    return this.inner.save({ ...saved, uv: 0n, conversations: new Map() });
  }

  async outbox(): Promise<Outgoing[]> {
    const unsent = await this.inner.outbox();
    for (const message of unsent) {
      this.waiting.add(message.clientMsgId);
      this.onPut(message);
    }
    this.note();
    return unsent;
  }

  async put(message: Outgoing): Promise<void> {
    await this.inner.put(message);
    this.waiting.add(message.clientMsgId);
    this.note();
    this.onPut(message);
  }

  async remove(message: Outgoing): Promise<void> {
    await this.inner.remove(message);
    this.waiting.delete(message.clientMsgId);
    this.note();
  }

  /** Another tab is to know that there is something to send. */
  private note(): void {
    if (this.waiting.size > 0) localStorage.setItem(unsentKey(this.name), "1");
    else localStorage.removeItem(unsentKey(this.name));
  }
}
