/** Signing in: in development mode by a name, else with a token that the operator's login gives. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

/** Who signs in. */
export interface Credentials {
  readonly name: string;
  readonly tenant: string;
  /** None in development mode: the server gives one for the asking. */
  readonly token?: string;
}

const NAME = "tidings/name";
/** The server says in its page how one signs in. */
export const byName = (): boolean => document.querySelector<HTMLMetaElement>('meta[name="tidings-sign-in"]')?.content === "name";

/** What a token says of itself; its signature the server checks. */
export function credentialsOf(token: string): Credentials {
  const [, payload = ""] = token.trim().split(".");
  const bytes = Uint8Array.from(atob(payload.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));
  const { sub, tenant = "default" } = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown; tenant?: unknown };
  if (typeof sub !== "string" || typeof tenant !== "string") throw new Error("it names no user");
  return { name: sub, tenant, token: token.trim() };
}

/** A token of development mode. */
export async function developmentToken(name: string): Promise<string> {
  const answer = await fetch("/dev/token", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ user: name }) });
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return ((await answer.json()) as { token: string }).token;
}

export function SignIn({ why, onSignIn }: { readonly why: string | undefined; readonly onSignIn: (credentials: Credentials) => void }): ComponentChildren {
  const [text, setText] = useState(byName() ? localStorage.getItem(NAME) ?? "" : "");
  const [wrong, setWrong] = useState(why);
  const signIn = async (event: Event): Promise<void> => {
    event.preventDefault();
    const given = text.trim();
    if (!given) return setWrong(byName() ? "Say your name." : "A token is needed.");
    if (byName()) {
      if (new TextEncoder().encode(given).length > 64) return setWrong("A name has at most 64 bytes.");
      try {
        await developmentToken(given);
      } catch (error) {
        return setWrong(error instanceof Error ? error.message : String(error));
      }
      localStorage.setItem(NAME, given);
      return onSignIn({ name: given, tenant: "default" });
    }
    try {
      onSignIn(credentialsOf(given));
    } catch {
      setWrong("That is no token.");
    }
  };
  return (
    <main class="sign-in">
      <form onSubmit={(event) => void signIn(event)}>
        <img src="/icon.svg" alt="" width="72" height="72" />
        <h1>tidings</h1>
        <label>
          {byName() ? "Your name" : "Your token"}
          {byName() ? (
            <input autofocus value={text} placeholder="alice" autocapitalize="none" autocomplete="username" spellcheck={false} onInput={({ currentTarget }) => setText(currentTarget.value)} />
          ) : (
            <textarea autofocus rows={4} value={text} spellcheck={false} onInput={({ currentTarget }) => setText(currentTarget.value)} />
          )}
        </label>
        {wrong && <p role="alert">{wrong}</p>}
        <button class="strong">Sign in</button>
        {byName() && <p class="hint">This server is for trying things out: any name will do. Each tab may be somebody else.</p>}
      </form>
    </main>
  );
}
