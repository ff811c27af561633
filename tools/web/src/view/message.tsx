/** One message, with what was said about it. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { hasContent } from "tidings";
import { said } from "../model/acts.js";
import type { Chats } from "../model/chats.js";
import { beginning, pieces, tame } from "../model/tame.js";
import type { Talk, Tick } from "../model/talk.js";
import type { Look, Row } from "../model/thread.js";
import { dayOf, hueOf, Icon, isSameDay, timeOf } from "./parts.js";

/** Of a longer text the beginning is shown until somebody wants all of it. */
const SHOWN_MAX = 3_000;
/** Messages of one writer that follow one another within so long are of one piece, in microseconds. */
const PIECE_US = 300_000_000n;

const TICKS: Readonly<Record<Tick, [name: "clock" | "one" | "two", words: string]>> = {
  pending: ["clock", "on its way"], sent: ["one", "sent"], delivered: ["two", "delivered"], read: ["two", "read"],
};

/** How far an own message is. */
export function TickMark({ tick }: { readonly tick: Tick }): ComponentChildren {
  const [icon, words] = TICKS[tick];
  return (
    <span class={`tick ${tick}`} role="img" aria-label={words} title={words}>
      <Icon name={icon} />
    </span>
  );
}

/** What somebody wrote. */
export function Words({ text, growing = false }: { readonly text: string; readonly growing?: boolean }): ComponentChildren {
  const [isWhole, setWhole] = useState(false);
  const shown = isWhole || text.length <= SHOWN_MAX ? text : `${text.slice(0, SHOWN_MAX)}…`;
  return (
    <div class="words" dir="auto">
      {pieces(tame(shown)).map(({ text, href }) => (href === undefined ? text : <a href={href} target="_blank" rel="noopener noreferrer nofollow">{text}</a>))}
      {growing && <span class="growing" role="img" aria-label="being written" />}
      {shown !== text && (
        <button class="link" onClick={() => setWhole(true)}>
          Show all
        </button>
      )}
    </div>
  );
}

/** What a message answers. */
function Quote({ chats, talk, seq, onShow }: { readonly chats: Chats; readonly talk: Talk; readonly seq: number; readonly onShow: (seq: number) => void }): ComponentChildren {
  const row = talk.thread.rows[talk.thread.indexOf(seq)];
  const look = row && talk.thread.look(row);
  return (
    <button class="quote" onClick={() => onShow(seq)}>
      <bdi class="who">{row ? chats.names.of(row.message.sender) : "an earlier message"}</bdi>
      <span dir="auto">{look?.kind === "text" ? beginning(look.text, 80) : look ? "withdrawn" : ""}</span>
    </button>
  );
}

interface Props {
  readonly chats: Chats;
  readonly talk: Talk;
  readonly row: Row;
  readonly before: Row | undefined;
  readonly at: number;
  readonly count: number;
  readonly onMenu: (row: Row, near: HTMLElement) => void;
  readonly onShow: (seq: number) => void;
}

/** A message. */
export function MessageRow({ chats, talk, row, before, at, count, onMenu, onShow }: Props): ComponentChildren {
  const { message, seq } = row;
  const look = talk.thread.look(row);
  const isOwn = message.sender === chats.me;
  const isNewDay = !before || !isSameDay(before.message.ts, message.ts);
  const isFirstNew = talk.readBefore > 0 && seq > talk.readBefore && seq <= talk.openedAt && (before?.seq ?? 0) <= talk.readBefore && !isOwn;
  const goesOn = !isNewDay && !isFirstNew && before !== undefined && before.message.sender === message.sender && hasContent(before.message.control) && message.ts - before.message.ts < PIECE_US;
  return (
    <>
      {isNewDay && <div class="day">{dayOf(message.ts)}</div>}
      {isFirstNew && <div class="new">New</div>}
      <article class={`message ${isOwn ? "own" : "other"} ${goesOn ? "goes-on" : ""} ${look.kind}`} tabIndex={-1} aria-posinset={at + 1} aria-setsize={count}>
        {look.kind === "act" ? (
          <p class="act">
            <bdi>{isOwn ? "You" : chats.names.of(message.sender)}</bdi> {said(message, (user) => (user === chats.me ? "you" : chats.names.of(user))) ?? "did something"}
          </p>
        ) : (
          <Bubble {...{ chats, talk, row, look, isOwn, goesOn, onMenu, onShow }} />
        )}
      </article>
    </>
  );
}

function Bubble({ chats, talk, row, look, isOwn, goesOn, onMenu, onShow }: {
  readonly chats: Chats;
  readonly talk: Talk;
  readonly row: Row;
  readonly look: Look;
  readonly isOwn: boolean;
  readonly goesOn: boolean;
  readonly onMenu: Props["onMenu"];
  readonly onShow: Props["onShow"];
}): ComponentChildren {
  const { message, seq } = row;
  const tick = isOwn ? talk.tick(seq) : undefined;
  const [readers, others] = isOwn && talk.isGroup && !talk.description?.isLarge ? talk.readers(seq) : [0, 0];
  const name = isOwn ? "You" : chats.names.of(message.sender);
  return (
    <>
      <div class="bubble">
        {talk.isGroup && !isOwn && !goesOn ? <bdi class={`who ${hueOf(message.sender)}`}>{name}</bdi> : <span class="unseen">{name}:</span>}
        {look.kind === "text" && message.target > 0n && <Quote {...{ chats, talk, onShow }} seq={Number(message.target)} />}
        {look.kind === "gone" ? <p class="words withdrawn">This message was withdrawn</p> : <Words text={look.text} growing={look.growing} />}
        <span class="foot">
          {look.brokenOff && <span>broken off · </span>}
          {look.edited && <span>edited · </span>}
          {message.expiresAt > 0n && look.kind === "text" && (
            <span class="fades" role="img" aria-label="disappears" title="disappears">
              <Icon name="clock" />
            </span>
          )}
          <time dateTime={new Date(Number(message.ts / 1_000n)).toISOString()}>{timeOf(message.ts)}</time>
          {tick && <TickMark tick={tick} />}
          {others > 1 && readers > 0 && readers < others && <span class="readers">{`${readers} of ${others}`}</span>}
        </span>
        {look.reactions.size > 0 && <Reactions {...{ chats, talk, seq }} reactions={look.reactions} />}
      </div>
      {look.kind === "text" && (
        <button class="plain tools" aria-label="Answer, react and more" aria-haspopup="menu" onClick={(event) => onMenu(row, event.currentTarget)}>
          <Icon name="more" />
        </button>
      )}
    </>
  );
}

/** Longest reaction that is shown, in characters. */
const REACTION_MAX = 8;

function Reactions({ chats, talk, seq, reactions }: { readonly chats: Chats; readonly talk: Talk; readonly seq: number; readonly reactions: Look["reactions"] }): ComponentChildren {
  return (
    <div class="reactions">
      {[...reactions].map(([reaction, users]) => {
        const isMine = users.includes(chats.me);
        const who = users.slice(0, 20).map((user) => (user === chats.me ? "you" : chats.names.of(user))).join(", ");
        const shown = beginning(reaction, REACTION_MAX);
        return (
          <button key={reaction} class={isMine ? "mine" : ""} aria-pressed={isMine} aria-label={`${shown}, by ${who}`} title={who} onClick={() => void chats.react(talk, seq, reaction)}>
            <bdi>{shown}</bdi> {users.length > 1 && users.length}
          </button>
        );
      })}
    </div>
  );
}
