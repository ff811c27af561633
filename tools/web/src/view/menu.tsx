/** What can be done with a message. */

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Chats } from "../model/chats.js";
import { tame } from "../model/tame.js";
import type { Talk } from "../model/talk.js";
import type { Row } from "../model/thread.js";

const REACTIONS = ["👍", "❤️", "😂", "😮", "😢", "🙏", "🎉", "👀"];
/** Between the menu and the edge of the page, in pixels. */
const GAP = 8;

export function MessageMenu({ chats, talk, row, near, onClose, onWrite }: {
  readonly chats: Chats;
  readonly talk: Talk;
  readonly row: Row;
  readonly near: HTMLElement;
  readonly onClose: () => void;
  readonly onWrite: () => void;
}): ComponentChildren {
  const dialog = useRef<HTMLDialogElement>(null);
  const [asks, setAsks] = useState(false);
  const { seq, message } = row;
  const look = talk.thread.look(row);
  const isOwn = message.sender === chats.me;
  const role = talk.role ?? 0;
  const mayErase = isOwn || (talk.isGroup && role >= 2);
  const mine = talk.thread.reactionsTo(seq).get(chats.me)?.text;
  useLayoutEffect(() => {
    const menu = dialog.current!;
    if (!menu.open) menu.showModal();
    const [place, box] = [near.getBoundingClientRect(), menu.getBoundingClientRect()];
    const left = Math.min(Math.max(place.left - (isOwn ? box.width - place.width : 0), GAP), innerWidth - box.width - GAP);
    const top = place.bottom + box.height + GAP < innerHeight ? place.bottom : Math.max(GAP, place.top - box.height);
    [menu.style.left, menu.style.top] = [`${left}px`, `${top}px`];
  }, [asks]);
  const close = (): void => dialog.current?.close();
  const then = (act: () => void) => () => {
    close();
    act();
  };
  const write = (change: () => void) => then(() => {
    change();
    chats.changed();
    onWrite();
  });
  const items: [string, () => void][] = asks
    ? [["Withdraw for everybody", then(() => void chats.erase(talk, seq))], ["Cancel", close]]
    : [
        ...(talk.mayWrite ? [["Answer", write(() => [talk.answering, talk.editing] = [seq, undefined])] as [string, () => void]] : []),
        ...(isOwn && !look.growing && talk.mayWrite ? [["Edit", write(() => [talk.editing, talk.answering, talk.keptDraft, talk.draft] = [seq, undefined, talk.editing === undefined ? talk.draft : talk.keptDraft, look.text])] as [string, () => void]] : []),
        ["Copy", then(() => void navigator.clipboard?.writeText(tame(look.text)))],
        ["Remove for me", then(() => void chats.forget(talk, seq))],
        ...(mayErase ? [["Withdraw…", () => setAsks(true)] as [string, () => void]] : []),
      ];
  const onKeyDown = (event: KeyboardEvent): void => {
    const step = { ArrowDown: 1, ArrowUp: -1, ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const buttons = [...dialog.current!.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
    buttons[(at + step + buttons.length) % buttons.length]?.focus();
  };
  return (
    <dialog ref={dialog} class="menu" aria-label="What to do with it" onClose={onClose} onKeyDown={onKeyDown} onClick={(event) => event.target === dialog.current && close()}>
      {!asks && (
        <div class="quick" role="group" aria-label="React">
          {REACTIONS.map((reaction) => (
            <button key={reaction} class={reaction === mine ? "mine" : ""} aria-pressed={reaction === mine} onClick={then(() => void chats.react(talk, seq, reaction))}>
              {reaction}
            </button>
          ))}
        </div>
      )}
      {asks && <p>Nobody will be able to read it any more.</p>}
      {items.map(([label, act]) => (
        <button key={label} class="item" onClick={act}>
          {label}
        </button>
      ))}
    </dialog>
  );
}
