// What commands wrote: as text, harmless, and little of it at first.

import { element } from "./dom.js";

const SHOWN_CHARACTERS = 64 * 1024;
const HALF = SHOWN_CHARACTERS / 2;
const BLOCK_CHARACTERS = 16 * 1024;

// C0 but for tab and newline, DEL, C1, and what reorders or hides text.
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

const NAMES = (
  "NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI " +
  "DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US"
).split(" ");

/** Return text with every control character as its name in angle brackets, which does nothing. */
export function visible(text) {
  return text.replaceAll("\r\n", "\n").replace(CONTROLS, (character) => {
    const code = character.charCodeAt(0);
    const name = NAMES[code] ?? (code === 0x7f ? "DEL" : `U+${code.toString(16).toUpperCase().padStart(4, "0")}`);
    return `⟨${name}⟩`;
  });
}

/** Return a size in words, from a number of characters. */
export function size(characters) {
  if (characters < 1024) return `${characters} characters`;
  if (characters < 1000 * 1024) return `${Math.round(characters / 1024)} KB`;
  return `${(characters / 1024 / 1024).toFixed(1)} MB`;
}

/** Return one stream's output under its name; of a long one the beginning and the end, the rest on demand. */
export function output(name, text) {
  const box = element("pre", { class: "output", tabindex: 0, role: "group", "aria-label": `${name} of the command` });
  const whole = element("div", { class: `stream ${name}` }, element("span", { class: "stream-name" }, name), box);
  if (text.length <= SHOWN_CHARACTERS) {
    box.append(...blocks(visible(text)));
    return whole;
  }
  const cut = text.length - SHOWN_CHARACTERS;
  box.append(
    ...blocks(visible(text.slice(0, HALF))),
    element("span", { class: "cut" }, `… ${size(cut)} not shown …`),
    ...blocks(visible(text.slice(-HALF))),
  );
  const all = element("button", { type: "button", class: "quiet" }, `Show all ${size(text.length)}`);
  all.addEventListener("click", () => {
    box.replaceChildren(...blocks(visible(text)));
    all.remove();
    box.focus();
  });
  whole.append(all);
  return whole;
}

/** Split text at line ends into blocks that the browser lays out only where they are in view. */
function blocks(text) {
  if (text.length <= BLOCK_CHARACTERS) return [document.createTextNode(text)];
  const made = [];
  for (let start = 0; start < text.length; ) {
    let end = Math.min(start + BLOCK_CHARACTERS, text.length);
    if (end < text.length) {
      const line = text.lastIndexOf("\n", end - 1) + 1;
      if (line > start) end = line;
      // A surrogate pair stays together.
      else if (/[\ud800-\udbff]/.test(text[end - 1])) end -= 1;
    }
    made.push(element("span", { class: "block" }, text.slice(start, end)));
    start = end;
  }
  return made;
}
