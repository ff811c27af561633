/** Small parts that several views use. */

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

/** Pictures, drawn with lines in a square of 24. */
const LINES = {
  back: "M15 5l-7 7 7 7", send: "M4 12h15M13 6l6 6-6 6", more: "M5 12h.01M12 12h.01M19 12h.01", close: "M6 6l12 12M18 6L6 18", plus: "M12 5v14M5 12h14",
  group: "M9 11a3 3 0 100-6 3 3 0 000 6zM3 19c0-3 3-5 6-5s6 2 6 5M16 11a3 3 0 000-6M18 14c2 .6 3 2 3 5", gear: "M12 9a3 3 0 100 6 3 3 0 000-6zM12 3v3M12 18v3M3 12h3M18 12h3M5.6 5.6l2.2 2.2M16.2 16.2l2.2 2.2M18.4 5.6l-2.2 2.2M7.8 16.2l-2.2 2.2",
  clock: "M12 7v5l3 2M12 21a9 9 0 100-18 9 9 0 000 18z", one: "M5 13l4 4L19 7", two: "M2 13l4 4L15 7M11 15l2 2L22 7", down: "M12 5v14M6 13l6 6 6-6",
  muted: "M6 10v4h3l4 4V6l-4 4zM17 9l5 6M22 9l-5 6", pin: "M9 4h6l-1 6 3 3H7l3-3zM12 13v7", answer: "M9 7l-5 5 5 5M4 12h9c4 0 7 2 7 6", edit: "M4 20l1-4L16 5l3 3L8 19z",
} as const;

/** A picture. What it means is said beside it, or on the button that it is on. */
export function Icon({ name }: { readonly name: keyof typeof LINES }): ComponentChildren {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={LINES[name]} />
    </svg>
  );
}

/** A colour of its own for each id. */
export const hueOf = (id: string): string => `hue${parseInt(id.slice(0, 4), 16) % 8}`;

/** What went wrong, for a while. A dialog has its own: what is beside it is not heard of. */
export function Notice({ text, onClose }: { readonly text: string | undefined; readonly onClose: () => void }): ComponentChildren {
  return text === undefined ? null : (
    <div class="notice" role="alert">
      {text}
      <button class="plain" aria-label="Hide this" onClick={onClose}>
        <Icon name="close" />
      </button>
    </div>
  );
}

/** A round mark with the beginning of a name, in a colour of its own. */
export function Face({ id, name, isThere }: { readonly id: string; readonly name: string; readonly isThere?: boolean }): ComponentChildren {
  const words = name.split(" ").filter(Boolean);
  const letters = [words[0], words.length > 1 ? words.at(-1) : undefined].map((word) => [...(word ?? "")][0] ?? "").join("");
  return (
    <span class={`face ${hueOf(id)}`} aria-hidden="true">
      {letters.toUpperCase()}
      {isThere && <i class="there" />}
    </span>
  );
}

/** A dialog over the page, closed by Escape or beside it. */
export function Dialog({ label, kind = "", onClose, children }: {
  readonly label: string;
  readonly kind?: string;
  readonly onClose: () => void;
  readonly children: ComponentChildren;
}): ComponentChildren {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} class={kind} aria-label={label} onClose={onClose} onClick={(event) => event.target === dialog.current && dialog.current?.close()}>
      <div class="inside">{children}</div>
    </dialog>
  );
}

/** A dialog's first line. */
export function DialogTitle({ children }: { readonly children: ComponentChildren }): ComponentChildren {
  return (
    <header>
      <h2>{children}</h2>
      <button class="plain" aria-label="Close" onClick={({ currentTarget }) => currentTarget.closest("dialog")?.close()}>
        <Icon name="close" />
      </button>
    </header>
  );
}

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const OLD_DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const SHORT_DAY = new Intl.DateTimeFormat(undefined, { weekday: "short" });
const SHORT_DATE = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const DAY_MS = 86_400_000;

const dateOf = (us: bigint): Date => new Date(Number(us / 1_000n));

/** The time of day of a moment, in microseconds since 1970. */
export const timeOf = (us: bigint): string => TIME.format(dateOf(us));

/** Two moments are of the same day. */
export const isSameDay = (a: bigint, b: bigint): boolean => dateOf(a).toDateString() === dateOf(b).toDateString();

/** The day of a moment. */
export function dayOf(us: bigint): string {
  const date = dateOf(us);
  const ago = new Date().setHours(0, 0, 0, 0) - new Date(date).setHours(0, 0, 0, 0);
  if (ago <= 0) return "Today";
  if (ago < 1.5 * DAY_MS) return "Yesterday";
  return ago < 300 * DAY_MS ? DAY.format(date) : OLD_DAY.format(date);
}

/** A moment, as short as it can be said. */
export function shortly(us: bigint): string {
  const ago = Date.now() - Number(us / 1_000n);
  if (isSameDay(us, BigInt(Date.now()) * 1_000n)) return timeOf(us);
  return (ago < 6 * DAY_MS ? SHORT_DAY : SHORT_DATE).format(dateOf(us));
}
