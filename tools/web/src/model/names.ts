/** What people are called. The server knows ids; a name comes with what its owner writes, or is checked against the id. */

import { userId, type UserId } from "tidings";
import { tameName } from "./tame.js";

/** Names that are kept over a reload. */
const KEPT_MAX = 500;

/** Names by id. */
export class Names {
  private readonly known = new Map<UserId, string>();

  constructor(
    private readonly tenant: string,
    /** Where names are kept that the user gave: the server tells the name of somebody who wrote, and of nobody else. */
    private readonly keeper?: { get(): string | null; set(names: string): void },
  ) {
    for (const name of (keeper?.get() ?? "").split("\n")) if (name) this.known.set(userId(name, tenant), name);
  }

  /** The user wrote to somebody of this name. */
  give(name: string): UserId {
    const user = userId(name, this.tenant);
    this.known.set(user, name);
    const others = (this.keeper?.get() ?? "").split("\n").filter((other) => other && other !== name);
    if (!name.includes("\n")) this.keeper?.set([name, ...others].slice(0, KEPT_MAX).join("\n"));
    return user;
  }

  /** The server says so. */
  learn(user: UserId, name: string): void {
    if (name) this.known.set(user, name);
  }

  /** Somebody says that these are the names of `users`, one a line: that is believed of those whose ids follow from them. */
  hear(lines: string, users: readonly UserId[]): void {
    const unknown = new Set(users.filter((user) => !this.known.has(user)));
    if (unknown.size === 0) return;
    for (const name of lines.split("\n", users.length)) {
      const user = userId(name, this.tenant);
      if (unknown.has(user)) this.known.set(user, name);
    }
  }

  /** The name as it is, if it is known. */
  raw(user: UserId): string | undefined {
    return this.known.get(user);
  }

  /** The name as it is shown. */
  of(user: UserId): string {
    return tameName(this.known.get(user) ?? "") || `user ${user.slice(0, 8)}`;
  }
}
