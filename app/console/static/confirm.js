// One question before something that cannot be taken back.

import { byId } from "./dom.js";

const dialog = byId("confirm-dialog");
let settle = () => {};

/** Ask, and resolve to whether the answer was yes. */
export function confirm(title, words, yes) {
  byId("confirm-title").textContent = title;
  byId("confirm-words").textContent = words;
  byId("confirm-yes").textContent = yes;
  dialog.showModal();
  byId("confirm-no").focus();
  return new Promise((resolve) => {
    settle = (answer) => {
      dialog.close();
      resolve(answer);
    };
  });
}

byId("confirm-yes").addEventListener("click", () => settle(true));
byId("confirm-no").addEventListener("click", () => settle(false));
dialog.addEventListener("cancel", (event) => {
  event.preventDefault();
  settle(false);
});
