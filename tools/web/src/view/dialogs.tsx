/** Dialogs: a new conversation, what a conversation is, and what the user wants of its account. */

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ROLE, SETTING, type Device, type UserId } from "tidings";
import { duration } from "../model/acts.js";
import { wallUs, type Chats } from "../model/chats.js";
import { tameName } from "../model/tame.js";
import type { Talk } from "../model/talk.js";
import { Dialog, DialogTitle, Face, Notice, shortly } from "./parts.js";

const NAME_MAX = 64;
const TITLE_MAX = 256;
const TIMERS = [0, 3_600, 86_400, 604_800];

/** Names with commas or lines between them. */
const namesIn = (text: string): string[] => [...new Set(text.split(/[,\n]/).map((name) => name.trim()).filter(Boolean))];
const isTooLong = (text: string, most: number): boolean => new TextEncoder().encode(text).length > most;

export function NewDialog({ chats, onOpen, onClose }: { readonly chats: Chats; readonly onOpen: (talk: Talk) => void; readonly onClose: () => void }): ComponentChildren {
  const [who, setWho] = useState("");
  const [title, setTitle] = useState("");
  const [wrong, setWrong] = useState("");
  const names = namesIn(who);
  const isGroup = names.length > 1 || title.trim() !== "";
  const begin = (event: Event): void => {
    event.preventDefault();
    if (names.length === 0) return setWrong("Say to whom.");
    if (names.some((name) => isTooLong(name, NAME_MAX))) return setWrong(`A name has at most ${NAME_MAX} bytes.`);
    if (names.includes(chats.account.name)) return setWrong("You are there anyway: name the others.");
    if (!isGroup) onOpen(chats.talkWith(names[0]!));
    else if (isTooLong(title, TITLE_MAX)) return setWrong(`A title has at most ${TITLE_MAX} bytes.`);
    else {
      const before = chats.selected;
      // Who has gone on meanwhile is not taken away from there.
      void chats.createGroup(title.trim() || names.join(", ").slice(0, 60), names).then((made) => made && chats.selected === before && onOpen(made));
    }
    onClose();
  };
  return (
    <Dialog label="New conversation" onClose={onClose}>
      <DialogTitle>New conversation</DialogTitle>
      <form onSubmit={begin}>
        <label>
          With whom
          <input autofocus value={who} placeholder="bob, or several: bob, carol" autocapitalize="none" autocomplete="off" spellcheck={false} onInput={({ currentTarget }) => setWho(currentTarget.value)} />
        </label>
        <label>
          The group is called
          <input value={title} placeholder="for a group: Sunday hike" onInput={({ currentTarget }) => setTitle(currentTarget.value)} />
        </label>
        {wrong && <p role="alert">{wrong}</p>}
        <button class="strong">{isGroup ? "Make the group" : "Write"}</button>
      </form>
      <Notice text={chats.notice} onClose={() => chats.hush()} />
    </Dialog>
  );
}

const ROLES = ["", "member", "admin", "owner"];

function Members({ chats, talk }: { readonly chats: Chats; readonly talk: Talk }): ComponentChildren {
  const [add, setAdd] = useState("");
  const { description, role = 0 } = talk;
  if (!description) return <p>Loading…</p>;
  const members = description.members.filter((member) => member.role > 0).sort((a, b) => b.role - a.role);
  const nameOf = (user: UserId): string => (user === chats.me ? "You" : chats.names.of(user));
  const addThem = (event: Event): void => {
    event.preventDefault();
    const names = namesIn(add);
    if (names.length === 0) return;
    for (const name of names) chats.names.give(name);
    void chats.attempt("Nobody was added", chats.client.addMembers(talk.id, names));
    setAdd("");
  };
  return (
    <>
      <h3>{description.current} members</h3>
      <ul class="members">
        {members.map((member) => {
          const raw = chats.names.raw(member.user);
          return (
            <li key={member.user}>
              <Face id={member.user} name={chats.names.of(member.user)} isThere={chats.presence.of(member.user)?.state === 1} />
              <bdi class="name">{nameOf(member.user)}</bdi>
              {member.role > 1 && <span class="role">{ROLES[member.role]}</span>}
              {raw !== undefined && role === ROLE.owner && member.user !== chats.me && (
                <button class="link" onClick={() => void chats.attempt("The role was not changed", chats.client.setRole(talk.id, raw, member.role === ROLE.admin ? ROLE.member : ROLE.admin))}>
                  {member.role === ROLE.admin ? "No admin any more" : "Make admin"}
                </button>
              )}
              {raw !== undefined && role > member.role && role >= ROLE.admin && (
                <button class="link" onClick={() => void chats.attempt("Nobody was removed", chats.client.removeMembers(talk.id, [raw]))}>Remove</button>
              )}
            </li>
          );
        })}
      </ul>
      {role >= description.settings.add && (
        <form class="inline" onSubmit={addThem}>
          <input aria-label="Names to add" placeholder="Add somebody" value={add} autocapitalize="none" autocomplete="off" spellcheck={false} onInput={({ currentTarget }) => setAdd(currentTarget.value)} />
          <button>Add</button>
        </form>
      )}
    </>
  );
}

export function InfoDialog({ chats, talk, onClose }: { readonly chats: Chats; readonly talk: Talk; readonly onClose: () => void }): ComponentChildren {
  const title = chats.title(talk);
  const [called, setCalled] = useState(title);
  const [sure, setSure] = useState<"clear" | "leave">();
  const isMuted = talk.isMuted(wallUs());
  const role = talk.role ?? 0;
  const mayEdit = talk.isGroup && talk.description !== undefined && role >= talk.description.settings.edit;
  const presence = chats.presence.of(talk.peer);
  const rename = (event: Event): void => {
    event.preventDefault();
    if (called.trim() && called !== title && !isTooLong(called, TITLE_MAX)) void chats.attempt("The title was not changed", chats.client.rename(talk.id, called.trim()));
  };
  return (
    <Dialog label={`About ${title}`} kind="side" onClose={onClose}>
      <DialogTitle>
        <bdi>{title}</bdi>
      </DialogTitle>
      {presence?.state === 1 ? <p>Online</p> : presence?.state === 0 && presence.lastSeen > 0n ? <p>Last seen {shortly(presence.lastSeen)}</p> : null}
      {mayEdit && (
        <form class="inline" onSubmit={rename}>
          <input aria-label="The group is called" value={called} onInput={({ currentTarget }) => setCalled(currentTarget.value)} />
          <button>Rename</button>
        </form>
      )}
      {talk.isGroup && <Members {...{ chats, talk }} />}
      <label class="row">
        Messages
        <select
          value={talk.thread.timer} disabled={talk.head === 0 || (talk.isGroup && !mayEdit)}
          onChange={({ currentTarget }) => void chats.attempt("The timer was not set", chats.client.setTimer(talk.id, Number(currentTarget.value)))}
        >
          {[...new Set([...TIMERS, talk.thread.timer])].map((seconds) => (
            <option key={seconds} value={seconds}>{seconds === 0 ? "stay" : `disappear after ${duration(seconds)}`}</option>
          ))}
        </select>
      </label>
      <label class="row">
        <input type="checkbox" checked={isMuted} disabled={talk.head === 0} onChange={() => void chats.mute(talk)} /> Muted
      </label>
      <label class="row">
        <input type="checkbox" checked={talk.pinned > 0} disabled={talk.head === 0} onChange={() => void chats.set(talk, SETTING.pinned, talk.pinned > 0 ? 0n : 1n)} /> Kept at the top
      </label>
      <label class="row">
        <input type="checkbox" checked={talk.isArchived} disabled={talk.head === 0} onChange={() => void chats.set(talk, SETTING.archived, talk.isArchived ? 0n : 1n)} /> Put away
      </label>
      {talk.peer && (
        <label class="row">
          <input type="checkbox" checked={talk.isBlocked} onChange={() => void chats.set(talk, SETTING.blocked, talk.isBlocked ? 0n : 1n)} /> Blocked
        </label>
      )}
      {sure ? (
        <div class="sure">
          <p>{sure === "clear" ? "Nothing that is there now will be shown to you any more, on none of your devices." : "You will read nothing of it any more."}</p>
          <button
            class="danger"
            onClick={() => {
              if (sure === "clear") void chats.clear(talk);
              else void chats.attempt("You did not leave", chats.client.leave(talk.id));
              onClose();
            }}
          >
            {sure === "clear" ? "Clear it" : "Leave it"}
          </button>
          <button onClick={() => setSure(undefined)}>Cancel</button>
        </div>
      ) : (
        <div class="sure">
          <button disabled={talk.head === 0} onClick={() => setSure("clear")}>Clear…</button>
          {talk.isGroup && role > 0 && <button onClick={() => setSure("leave")}>Leave…</button>}
        </div>
      )}
      <Notice text={chats.notice} onClose={() => chats.hush()} />
    </Dialog>
  );
}

const VISIBILITIES = ["everybody", "those I have written to", "nobody"];

export function SettingsDialog({ chats, onSignOut, onClose }: { readonly chats: Chats; readonly onSignOut: () => void; readonly onClose: () => void }): ComponentChildren {
  const [devices, setDevices] = useState<Device[]>();
  useEffect(() => void chats.client.devices().then(setDevices, () => setDevices([])), []);
  return (
    <Dialog label="Settings" kind="side" onClose={onClose}>
      <DialogTitle>
        <bdi>{chats.names.of(chats.me)}</bdi>
      </DialogTitle>
      <label class="row">
        Who sees whether I am there
        <select value={chats.visibility} onChange={({ currentTarget }) => void chats.set(undefined, SETTING.visibility, BigInt(currentTarget.value))}>
          {VISIBILITIES.map((words, value) => <option key={value} value={value}>{words}</option>)}
        </select>
      </label>
      <label class="row">
        <input type="checkbox" checked={!chats.readPrivate} onChange={() => void chats.set(undefined, SETTING.readPrivate, chats.readPrivate ? 0n : 1n)} /> Others see what I have read
      </label>
      <h3>Devices</h3>
      {devices === undefined ? <p>Loading…</p> : devices.length === 0 ? <p>They are shown once you are connected.</p> : null}
      <ul class="members">
        {devices?.map(({ device, flags, seen, name }) => (
          <li key={device}>
            <bdi class="name">{tameName(name) || `device ${device}`}</bdi>
            <span class="role">{(flags & 2) !== 0 ? "this tab" : (flags & 1) !== 0 ? "connected" : seen > 0n ? `last here ${shortly(seen)}` : ""}</span>
            {(flags & 2) === 0 && <button class="link" onClick={() => void chats.attempt("The device was not removed", chats.client.revoke(device).then(setDevices))}>Remove</button>}
          </li>
        ))}
      </ul>
      <div class="sure">
        <button onClick={onSignOut}>Sign out of this tab</button>
      </div>
      <Notice text={chats.notice} onClose={() => chats.hush()} />
    </Dialog>
  );
}
