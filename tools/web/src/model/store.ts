/**
 * What the page keeps over a reload: what it has not sent, and the names that it gave. How far it is it asks the server each time, which has the list and the
 * last messages ready.
 */

import { IndexedDbStore, MemoryStore, type Outgoing, type Saved, type Store } from "tidings";

/** The store of one device. */
export class PageStore implements Store {
  /** Is told of everything that is to be sent, also of what was left from before. */
  onPut: (message: Outgoing) => void = () => undefined;

  private constructor(private readonly inner: Store) {}

  /** Opens it; where the browser keeps nothing, for example in a private window, it lasts as long as the page. */
  static async open(name: string): Promise<PageStore> {
    try {
      return new PageStore(await IndexedDbStore.open(name));
    } catch {
      return new PageStore(new MemoryStore());
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
    for (const message of unsent) this.onPut(message);
    return unsent;
  }

  async put(message: Outgoing): Promise<void> {
    await this.inner.put(message);
    this.onPut(message);
  }

  remove(message: Outgoing): Promise<void> {
    return this.inner.remove(message);
  }
}
