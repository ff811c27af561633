/** The conversations, and how things stand with the server. */

import type { ComponentChildren } from "preact";
import { useMemo, useState } from "preact/hooks";
import { CONTROL, hasContent } from "tidings";
import { said } from "../model/acts.js";
import { wallUs, type Chats } from "../model/chats.js";
import { beginning } from "../model/tame.js";
import type { Talk } from "../model/talk.js";
import { TickMark } from "./message.js";
import { Face, Icon, shortly } from "./parts.js";
import { doing } from "./thread.js";
import { VirtualList, type Measured } from "./virtual.js";

const ROW_HEIGHT = 68;

/** What was said last, on one line. */
function preview(chats: Chats, talk: Talk): string {
  const waiting = talk.pending.at(-1);
  if (waiting) return `You: ${beginning(new TextDecoder().decode(waiting.message.payload), 80)}`;
  const row = talk.thread.newest();
  const newest = talk.newest;
  if (!row) return newest && !hasContent(newest.control) ? "…" : "";
  const name = row.message.sender === chats.me ? "You" : chats.names.of(row.message.sender);
  const look = talk.thread.look(row);
  const prefix = talk.isGroup || name === "You" ? `${name}: ` : "";
  if (newest?.control === CONTROL.react && Number(newest.seq) > row.seq && newest.sender !== chats.me && newest.text) {
    return `${chats.names.of(newest.sender)} reacted ${beginning(newest.text, 8)}`;
  }
  if (look.kind === "act") return `${name} ${said(row.message, (user) => (user === chats.me ? "you" : chats.names.of(user))) ?? ""}`;
  if (look.kind === "gone") return `${prefix}withdrawn`;
  return prefix + (look.growing && !look.text ? "…" : beginning(look.text, 80));
}

function Entry({ chats, talk, onOpen }: { readonly chats: Chats; readonly talk: Talk; readonly onOpen: (talk: Talk) => void }): ComponentChildren {
  chats.past.wantPreview(talk);
  const title = chats.title(talk);
  const isMuted = talk.isMuted(wallUs());
  const typing = talk.typers(performance.now()).length > 0;
  const newest = talk.thread.newest();
  const isOwn = talk.pending.length > 0 || (newest?.message.sender === chats.me && hasContent(newest.message.control));
  const isKnown = !talk.isGroup || talk.description !== undefined;
  const tick = talk.pending.length > 0 ? "pending" : isOwn && isKnown ? talk.tick(newest!.seq) : undefined;
  return (
    <button class={talk === chats.selected ? "entry open" : "entry"} aria-current={talk === chats.selected ? "true" : undefined} onClick={() => onOpen(talk)}>
      <Face id={talk.peer ?? talk.id} name={title} isThere={chats.presence.of(talk.peer)?.state === 1} />
      <span class="about">
        <span class="first">
          <bdi class="name">{title}</bdi>
          {isMuted && <span role="img" aria-label="muted"><Icon name="muted" /></span>}
          {talk.pinned > 0 && <span role="img" aria-label="kept at the top"><Icon name="pin" /></span>}
          {talk.lastTs > 0n && <time>{shortly(talk.lastTs)}</time>}
        </span>
        <span class="second">
          {tick && !typing && <TickMark tick={tick} />}
          <span class={typing ? "preview typing" : "preview"} dir="auto">{typing ? doing(chats, talk) : talk.draft && talk !== chats.selected ? `Draft: ${beginning(talk.draft, 60)}` : preview(chats, talk)}</span>
          {talk.unread > 0 && <b class={isMuted ? "count muted" : "count"}><span class="unseen">unread: </span>{talk.unread > 999 ? "999+" : talk.unread}</b>}
        </span>
      </span>
    </button>
  );
}

/** How things stand, on one line. */
function Status({ chats }: { readonly chats: Chats }): ComponentChildren {
  const { link, resumeMs, latencyMs, isSynced, client } = chats;
  const ms = (value: number): string => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
  const unsent = client.unsent > 0 && link !== "up" ? `${client.unsent} waiting to be sent` : "";
  const words =
    link === "connecting" ? "Connecting…"
    : link === "lost" ? ["Not connected, trying again", unsent].filter(Boolean).join(" · ")
    : isSynced ? "Connected" : "Catching up…";
  const more = link !== "up" || !isSynced ? [] : [resumeMs === undefined ? "" : `caught up in ${ms(resumeMs)}`, latencyMs === undefined ? "" : `last message safe after ${ms(latencyMs)}`];
  return (
    <p class={`status ${link}`}>
      <i />
      <span>
        <span role="status">{words}</span>
        {more.filter(Boolean).map((text) => ` · ${text}`)}
      </span>
    </p>
  );
}

export function ListView({ chats, onOpen, onNew, onSettings }: { readonly chats: Chats; readonly onOpen: (talk: Talk) => void; readonly onNew: () => void; readonly onSettings: () => void }): ComponentChildren {
  const [filter, setFilter] = useState("");
  const [showsArchived, setShowsArchived] = useState(false);
  const heights = useMemo(() => new WeakMap<Talk, Measured & { readonly talk: Talk }>(), []);
  const archived = [...chats.talks.values()].filter(({ isArchived, isHidden }) => isArchived && !isHidden).length;
  const rows = chats.list(filter, showsArchived && archived > 0).map((talk) => {
    let row = heights.get(talk);
    if (!row) heights.set(talk, (row = { talk, height: 0 }));
    return row;
  });
  const places = new Map(rows.map(({ talk }, at) => [talk.id, at]));
  return (
    <nav class="list" aria-label="Conversations">
      <header>
        <button class="plain me" aria-label="Settings" onClick={onSettings}>
          <Face id={chats.me} name={chats.names.of(chats.me)} />
        </button>
        <h1>tidings</h1>
        <button class="plain" aria-label="New conversation" onClick={onNew}>
          <Icon name="plus" />
        </button>
      </header>
      <input type="search" aria-label="Find a conversation" placeholder="Find" value={filter} onInput={({ currentTarget }) => setFilter(currentTarget.value)} />
      {rows.length === 0 ? (
        <div class="entries none">
          <p>{filter ? "Nothing of that name." : chats.isSynced ? "No conversations yet." : ""}</p>
          {!filter && chats.isSynced && <button class="strong" onClick={onNew}>Write to somebody</button>}
        </div>
      ) : (
        <VirtualList
          rows={rows} keyOf={({ talk }) => talk.id} indexOf={(id) => places.get(String(id)) ?? -1} estimate={ROW_HEIGHT} startsAtBeginning
          render={({ talk }) => <Entry {...{ chats, talk, onOpen }} />} attributes={{ class: "entries" }}
        />
      )}
      {archived > 0 && <button class="link archived" onClick={() => setShowsArchived(!showsArchived)}>{showsArchived ? "Back to all" : `Put away: ${archived}`}</button>}
      <Status chats={chats} />
    </nav>
  );
}
