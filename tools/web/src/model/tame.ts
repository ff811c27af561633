/** Text of others, made fit to be shown: what could cover, reverse or fill a page is taken out. It is shown as text and never as HTML. */

/** Controls, but for the ends of lines and tabs; what turns the direction of all that follows. */
const UNWANTED = /[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u202A-\u202E\u2066-\u2069\uFFF9-\uFFFB]/g;
/** More marks on one letter than any language has. */
const PILED = /(\p{M}{8})\p{M}+/gu;
const LINK = /https?:\/\/[^\s<>"'`]+[^\s<>"'`.,;:!?)\]}]/g;
const NAME_MAX = 64;

/** What somebody wrote. */
export const tame = (text: string): string => text.replace(/\r\n?/g, "\n").replace(UNWANTED, "").replace(PILED, "$1");

/** A name, or a title, on one line. Empty if there is nothing in it to be seen. */
export function tameName(name: string): string {
  const letters = [...tame(name).replace(/\s+/g, " ").trim()];
  return letters.length > NAME_MAX ? `${letters.slice(0, NAME_MAX).join("")}…` : letters.join("");
}

/** The beginning of a text on one line. */
export function beginning(text: string, most: number): string {
  // Only as much is looked at as can be shown.
  const letters = [...tame(text.slice(0, most * 8)).replace(/\s+/g, " ").trim()];
  return letters.length > most ? `${letters.slice(0, most).join("")}…` : letters.join("");
}

/** A piece of a text, and where it leads if it is a link. */
export interface Piece {
  readonly text: string;
  readonly href?: string;
}

/** A text with its links. */
export function pieces(text: string): Piece[] {
  const found: Piece[] = [];
  let at = 0;
  for (const { 0: link, index } of text.matchAll(LINK)) {
    if (!URL.canParse(link)) continue;
    if (index > at) found.push({ text: text.slice(at, index) });
    found.push({ text: link, href: new URL(link).href });
    at = index + link.length;
  }
  if (at < text.length) found.push({ text: text.slice(at) });
  return found;
}
