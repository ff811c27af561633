/** Where messages are written. */

import type { ComponentChildren, RefObject } from "preact";
import { useEffect, useLayoutEffect, useReducer } from "preact/hooks";
import { PAYLOAD_MAX } from "tidings";
import type { Chats } from "../model/chats.js";
import { beginning } from "../model/tame.js";
import type { Talk } from "../model/talk.js";
import { Icon } from "./parts.js";

/** What a key is called that an input method takes, also the one that ends a composition, where `isComposing` is over by then. */
const COMPOSING = 229;

/** Enter sends where there is a keyboard; where there is none, it begins a line. */
const hasKeyboard = (): boolean => !matchMedia("(pointer: coarse)").matches;

export function Composer({ chats, talk, input, onSent }: { readonly chats: Chats; readonly talk: Talk; readonly input: RefObject<HTMLTextAreaElement | null>; readonly onSent: () => void }): ComponentChildren {
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  const { thread, answering, editing } = talk;
  const about = editing ?? answering;
  const row = about === undefined ? undefined : thread.rows[thread.indexOf(about)];
  const size = (): void => {
    const area = input.current;
    if (!area) return;
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight, 180)}px`;
  };
  useLayoutEffect(size, [talk.draft]);
  useEffect(() => {
    if (hasKeyboard()) input.current?.focus();
  }, [talk]);
  useEffect(() => {
    if (about !== undefined) input.current?.focus();
  }, [about]);
  const cancel = (): void => {
    if (editing !== undefined) talk.draft = talk.keptDraft;
    [talk.answering, talk.editing, talk.keptDraft] = [undefined, undefined, ""];
    chats.changed();
  };
  // What was to be edited or answered is gone.
  useEffect(() => {
    if (about !== undefined && !row) cancel();
  }, [about, row]);
  const send = (): void => {
    const text = talk.draft.trim();
    if (!text) return;
    if (new TextEncoder().encode(text).length > PAYLOAD_MAX) return chats.complain("The message was not sent", new Error("it is too long"));
    void chats.send(talk, text);
    onSent();
    input.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== COMPOSING && hasKeyboard()) {
      event.preventDefault();
      send();
    } else if (event.key === "Escape" && about !== undefined) {
      event.stopPropagation();
      cancel();
    } else if (event.key === "ArrowUp" && talk.draft === "") {
      event.preventDefault();
      input.current?.closest("section")?.querySelector<HTMLElement>(".messages .window > :last-child article")?.focus();
    }
  };
  return (
    <form class="composer" onSubmit={(event) => { event.preventDefault(); send(); }}>
      {row && (
        <div class="about">
          <Icon name={editing === undefined ? "answer" : "edit"} />
          <span>
            <b>{editing === undefined ? <>Answer to <bdi>{row.message.sender === chats.me ? "yourself" : chats.names.of(row.message.sender)}</bdi></> : "Edit"}</b>
            <span dir="auto">{beginning(thread.look(row).text, 120)}</span>
          </span>
          <button type="button" class="plain" aria-label="Cancel" onClick={cancel}>
            <Icon name="close" />
          </button>
        </div>
      )}
      <div class="line">
        <textarea
          ref={input} rows={1} dir="auto" aria-label="Message" placeholder="Message" value={talk.draft} onKeyDown={onKeyDown} enterkeyhint={hasKeyboard() ? "send" : "enter"}
          onInput={({ currentTarget }) => {
            talk.draft = currentTarget.value;
            if (editing === undefined && talk.draft) chats.type(talk);
            redraw(undefined);
          }}
        />
        <button class="send" aria-label={editing === undefined ? "Send" : "Save"} disabled={!talk.draft.trim()}>
          <Icon name={editing === undefined ? "send" : "one"} />
        </button>
      </div>
    </form>
  );
}
