// Making elements. Text becomes text nodes only: nothing that a command printed can become markup.

/** Return an element; `onEVENT` attributes are listeners, `false` and missing values are left out. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Return the element of index.html that has this id. */
export const byId = (id) => document.getElementById(id);

/** Say something to those who do not see the page; for changes that matter only. */
export function announce(text) {
  byId("announcer").textContent = text;
}

/** Show a problem in an element with role=alert, or take it away. */
export function showProblem(place, text) {
  place.replaceChildren(...(text ? [element("p", { class: "notice bad" }, text)] : []));
}

/** Run work while its button is disabled, so that it is not begun twice. */
export async function whileBusy(button, work) {
  if (button.disabled) return;
  button.disabled = true;
  button.setAttribute("aria-busy", "true");
  // A disabled element loses the focus, which would throw whoever uses the keyboard back to the page's start.
  const focused = document.activeElement === button;
  try {
    await work();
  } finally {
    button.disabled = false;
    button.removeAttribute("aria-busy");
    if (focused && document.activeElement === document.body && button.checkVisibility()) button.focus();
  }
}
