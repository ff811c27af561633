/** The page: signing in, then the conversations. */

import { render, type ComponentChildren } from "preact";
import { useEffect, useReducer, useState } from "preact/hooks";
import { Chats } from "./model/chats.js";
import { claimDevice, noteRevoked, type Claim } from "./model/device.js";
import { PageStore } from "./model/store.js";
import type { Talk } from "./model/talk.js";
import { InfoDialog, NewDialog, SettingsDialog } from "./view/dialogs.js";
import { ListView } from "./view/list.js";
import { Notice } from "./view/parts.js";
import { developmentToken, SignIn, type Credentials } from "./view/signin.js";
import { ThreadView } from "./view/thread.js";

/** Who is signed in in this tab, over a reload. */
const SESSION = "tidings/session";

function kept(): Credentials | undefined {
  const text = sessionStorage.getItem(SESSION);
  return text === null ? undefined : (JSON.parse(text) as Credentials);
}

/** Who is signed in, and the device of this tab. */
interface Signed {
  readonly chats: Chats;
  readonly claim: Claim;
}

async function open({ name, tenant, token }: Credentials): Promise<Signed> {
  const claim = await claimDevice(`${tenant}/${name}`);
  const store = await PageStore.open(claim.store);
  const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1`;
  const ask = (): Promise<string> =>
    developmentToken(name).catch((error: unknown) => {
      // A server that is away is waited for; one that says why is heard.
      if (!(error instanceof TypeError)) chats.complain("No token", error);
      throw error;
    });
  const chats = new Chats({ name, tenant, device: claim.device, token: token ?? ask }, store, url);
  await chats.start();
  return { chats, claim };
}

function Page(): ComponentChildren {
  const [credentials, setCredentials] = useState(kept);
  const [signed, setSigned] = useState<Signed>();
  const [why, setWhy] = useState<string>();
  const leave = (why?: string): void => {
    sessionStorage.removeItem(SESSION);
    if (signed?.chats.rejected?.code === "DEVICE_REVOKED") noteRevoked(`${credentials?.tenant}/${credentials?.name}`, signed.claim.device);
    setCredentials(undefined);
    setSigned(undefined);
    setWhy(why);
    // The number is another's once nothing is kept under it any more.
    void signed?.chats.close().finally(() => signed.claim.release());
  };
  useEffect(() => {
    if (!credentials) return;
    sessionStorage.setItem(SESSION, JSON.stringify(credentials));
    open(credentials).then(setSigned, (error: unknown) => leave(error instanceof Error ? error.message : String(error)));
  }, [credentials]);
  if (!credentials) return <SignIn key={why} why={why} onSignIn={setCredentials} />;
  return signed ? <Conversations chats={signed.chats} onLeave={leave} /> : <main class="sign-in"><p>Opening…</p></main>;
}

type Open = "new" | "info" | "settings" | undefined;

function Conversations({ chats, onLeave }: { readonly chats: Chats; readonly onLeave: (why?: string) => void }): ComponentChildren {
  const [, draw] = useReducer((count: number) => count + 1, 0);
  const [dialog, setDialog] = useState<Open>();
  const talk = chats.selected;
  const select = (wanted: Talk | undefined): void => {
    // Going back leads from a conversation to the list.
    if (wanted && !chats.selected) history.pushState({ isOpen: true }, "");
    chats.select(wanted);
  };
  const back = (): void => (history.state?.isOpen ? history.back() : chats.select(undefined));
  useEffect(() => {
    const stop = chats.onChange(() => draw(undefined));
    // What changed between the first drawing and now was told to nobody.
    draw(undefined);
    const look = (): void => {
      chats.look(document.visibilityState === "visible");
      if (document.visibilityState === "visible") chats.client.wake();
    };
    const wake = (): void => chats.client.wake();
    const pop = (): void => {
      setDialog(undefined);
      chats.select(undefined);
    };
    document.addEventListener("visibilitychange", look);
    addEventListener("online", wake);
    addEventListener("popstate", pop);
    if (history.state?.isOpen) history.replaceState(null, "");
    look();
    return () => {
      stop();
      document.removeEventListener("visibilitychange", look);
      removeEventListener("online", wake);
      removeEventListener("popstate", pop);
    };
  }, [chats]);
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent): void => {
      if (document.querySelector("dialog[open]")) return;
      if ((event.ctrlKey || event.metaKey) && event.key === "k") {
        event.preventDefault();
        setDialog("new");
      }
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (event.altKey && step !== undefined) {
        event.preventDefault();
        const talks = chats.list("", false);
        select(talks[chats.selected ? talks.indexOf(chats.selected) + step : 0] ?? chats.selected);
      }
    };
    addEventListener("keydown", onKeyDown);
    return () => removeEventListener("keydown", onKeyDown);
  }, [chats]);
  const unread = chats.unread();
  useEffect(() => {
    document.title = unread > 0 ? `(${unread}) tidings` : "tidings";
  }, [unread]);
  if (chats.rejected) {
    const isElsewhere = chats.rejected.code === "SUPERSEDED";
    return (
      <main class="sign-in">
        <p role="alert">{isElsewhere ? "This device was opened in another place." : `The server let this device go: ${chats.rejected.message}`}</p>
        <button class="strong" onClick={() => (isElsewhere ? location.reload() : onLeave())}>{isElsewhere ? "Use it here" : "Sign in again"}</button>
      </main>
    );
  }
  const closed = (): void => setDialog(undefined);
  return (
    <main class={talk ? "page with-thread" : "page"}>
      <ListView chats={chats} onOpen={select} onNew={() => setDialog("new")} onSettings={() => setDialog("settings")} />
      {talk ? (
        <ThreadView key={talk.id} chats={chats} talk={talk} onBack={back} onInfo={() => setDialog("info")} />
      ) : (
        <section class="nothing">
          <img src="/icon.svg" alt="" width="96" height="96" />
          <p>Choose a conversation, or begin one.</p>
        </section>
      )}
      {!dialog && <Notice text={chats.notice} onClose={() => chats.hush()} />}
      {dialog === "new" && <NewDialog chats={chats} onOpen={select} onClose={closed} />}
      {dialog === "info" && talk && <InfoDialog key={talk.id} chats={chats} talk={talk} onClose={closed} />}
      {dialog === "settings" && <SettingsDialog chats={chats} onSignOut={() => onLeave()} onClose={closed} />}
    </main>
  );
}

render(<Page />, document.getElementById("page")!);
