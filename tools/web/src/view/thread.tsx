/** The conversation that is open. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { duration } from "../model/acts.js";
import type { Chats } from "../model/chats.js";
import { beginning } from "../model/tame.js";
import type { Pending, Talk } from "../model/talk.js";
import type { Row } from "../model/thread.js";
import { Composer } from "./composer.js";
import { MessageMenu } from "./menu.js";
import { MessageRow, TickMark, Words } from "./message.js";
import { Face, Icon, shortly } from "./parts.js";
import { VirtualList } from "./virtual.js";

/** A message that is not measured yet is about so high, in pixels. */
const ROW_HEIGHT = 56;

/** Who is there, or typing, in words. */
export function doing(chats: Chats, talk: Talk): string {
  const typers = talk.typers(performance.now());
  if (typers.length > 0) {
    if (!talk.isGroup) return "typing…";
    return typers.length > 2 ? `${typers.length} are typing…` : `${typers.map((user) => chats.names.of(user)).join(" and ")} ${typers.length > 1 ? "are" : "is"} typing…`;
  }
  if (talk.isGroup) {
    const { description } = talk;
    if (!description) return "";
    const there = description.members.filter(({ user, role }) => role > 0 && user !== chats.me && chats.presence.of(user)?.state === 1).length;
    return `${description.current} members${there > 0 ? `, ${there} online` : ""}`;
  }
  const presence = chats.presence.of(talk.peer);
  if (talk.isBlocked) return "blocked";
  if (presence?.state === 1) return "online";
  return presence && presence.state === 0 && presence.lastSeen > 0n ? `last seen ${shortly(presence.lastSeen)}` : "";
}

/** The conversation. */
export function ThreadView({ chats, talk, onBack, onInfo }: { readonly chats: Chats; readonly talk: Talk; readonly onBack: () => void; readonly onInfo: () => void }): ComponentChildren {
  const list = useRef<VirtualList<Row>>(null);
  const input = useRef<HTMLTextAreaElement>(null);
  const [menu, setMenu] = useState<{ row: Row; near: HTMLElement }>();
  const [isAtEnd, setAtEnd] = useState(true);
  const { thread } = talk;
  const title = chats.title(talk);
  const go = (seq: number): Promise<HTMLElement | undefined> | undefined =>
    list.current?.show(seq).then((row) => {
      const article = row?.querySelector<HTMLElement>("article") ?? undefined;
      article?.focus({ preventScroll: true });
      return article;
    });
  const show = async (seq: number): Promise<void> => {
    if (!(await chats.past.loadTo(talk, seq))) return;
    (await go(seq))?.animate([{ opacity: 0.3 }, { opacity: 1 }], 600);
  };
  const sent = (): void => list.current?.toEnd();
  const unsent = talk.pending;
  useEffect(() => {
    if (unsent.length > 0) sent();
  }, [unsent.length]);
  const state = doing(chats, talk);
  return (
    <section class="thread" aria-label={`Conversation with ${title}`}>
      <header>
        <button class="plain back" aria-label="Back to the list" onClick={onBack}>
          <Icon name="back" />
        </button>
        <div class="heading">
          <button class="plain title" onClick={onInfo}>
            <Face id={talk.peer ?? talk.id} name={title} />
            <bdi class="name">{title}</bdi>
            <span class="unseen">, details</span>
          </button>
          <span class="doing" role="status">{state}</span>
        </div>
      </header>
      <VirtualList
        handle={list}
        rows={thread.rows}
        keyOf={(row: Row) => row.seq}
        indexOf={(seq) => thread.indexOf(Number(seq))}
        estimate={ROW_HEIGHT}
        onBeginning={() => void chats.past.loadOlder(talk)}
        onEnd={(isThere) => {
          if (isThere !== isAtEnd) setAtEnd(isThere);
          chats.seesEnd(isThere);
        }}
        header={thread.isWhole ? <Beginning talk={talk} title={title} /> : <p class="note">{chats.link === "up" ? "Loading older messages…" : "Older messages come once you are connected"}</p>}
        footer={unsent.map((pending) => <Unsent key={String(pending.message.clientMsgId)} {...{ chats, talk, pending }} />)}
        render={(row, at) => (
          <MessageRow {...{ chats, talk, row, at }} before={thread.rows[at - 1]} count={thread.isWhole ? thread.rows.length : -1} onMenu={(row, near) => setMenu({ row, near })} onShow={(seq) => void show(seq)} />
        )}
        attributes={{ class: "messages", role: "feed", "aria-label": "Messages", "aria-busy": talk.isLoading, tabIndex: 0, onKeyDown: (event: KeyboardEvent) => walk(event, input.current, setMenu, thread.rows, (seq) => thread.indexOf(seq), (seq) => void go(seq)) }}
      />
      {!isAtEnd && (
        <button class="to-end" aria-label="To the newest message" onClick={sent}>
          <Icon name="down" />
          {talk.unread > 0 && <b>{talk.unread}</b>}
        </button>
      )}
      {talk.mayWrite ? <Composer key={talk.id} {...{ chats, talk, input }} onSent={sent} /> : <p class="note closed">{talk.isBlocked ? "You have blocked this user." : "You cannot write here."}</p>}
      {menu && <MessageMenu {...{ chats, talk }} {...menu} onClose={() => setMenu(undefined)} onWrite={() => input.current?.focus()} />}
      <div class="unseen" aria-live="polite">{chats.announcement}</div>
    </section>
  );
}

/** Arrow keys go from message to message, Enter opens what can be done with one, Escape and letters go back to writing. */
function walk(event: KeyboardEvent, input: HTMLTextAreaElement | null, setMenu: (menu: { row: Row; near: HTMLElement }) => void, rows: readonly Row[], indexOf: (seq: number) => number, show: (seq: number) => void): void {
  const target = event.target as HTMLElement;
  const key = target.closest<HTMLElement>("[data-key]")?.dataset["key"];
  const at = key === undefined ? rows.length : indexOf(Number(key));
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (step !== undefined && target.matches("article, .messages")) {
    event.preventDefault();
    const next = rows[at + step];
    if (next) show(next.seq);
    else if (step > 0) input?.focus();
  } else if (event.key === "Enter" && target.matches("article")) {
    event.preventDefault();
    const row = rows[at];
    if (row && target.querySelector(".tools")) setMenu({ row, near: target.querySelector<HTMLElement>(".tools")! });
  } else if (event.key === "Escape" || (event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey && event.key !== " " && target.matches("article, .messages"))) {
    input?.focus();
  }
}

function Beginning({ talk, title }: { readonly talk: Talk; readonly title: string }): ComponentChildren {
  return (
    <div class="beginning">
      <Face id={talk.peer ?? talk.id} name={title} />
      <p>
        This is the beginning of {talk.isGroup ? "the group" : "your conversation with"} <bdi>{title}</bdi>.
      </p>
      {talk.thread.timer > 0 && <p>Messages disappear after {duration(talk.thread.timer)}.</p>}
    </div>
  );
}

/** A message that is not durable yet. */
function Unsent({ chats, talk, pending: { message, failed } }: { readonly chats: Chats; readonly talk: Talk; readonly pending: Pending }): ComponentChildren {
  const text = new TextDecoder().decode(message.payload);
  return (
    <article class="message own text unsent">
      <div class={failed ? "bubble failed" : "bubble"}>
        <span class="unseen">You:</span>
        <Words text={text} />
        <span class="foot">{failed ? <span role="alert">{`Not sent: ${failed}`}</span> : <TickMark tick="pending" />}</span>
        {failed && (
          <span class="again">
            <button class="link" onClick={() => void chats.sendAgain(talk, message)}>Send again</button>
            <button class="link" aria-label={`Discard “${beginning(text, 20)}”`} onClick={() => chats.dismiss(talk, message.clientMsgId)}>Discard</button>
          </span>
        )}
      </div>
    </article>
  );
}
