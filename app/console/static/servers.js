// The servers: those registered, whether they answer, and one more.

import { api } from "./api.js";
import { confirm } from "./confirm.js";
import { byId, element, showProblem, whileBusy } from "./dom.js";
import { address, onServers, readServers, testConnection } from "./registry.js";

const list = byId("servers-list");
const form = byId("register");
const problem = byId("servers-problem");

export const view = {
  title: "Servers",
  show() {
    byId("registered").replaceChildren();
    read();
  },
  hide() {},
};

async function read() {
  try {
    await readServers();
    showProblem(problem, "");
  } catch (error) {
    showProblem(problem, error.message);
  }
}

onServers((servers) => {
  byId("servers-empty").hidden = servers.length > 0;
  list.replaceChildren(...servers.map(row));
});

function row(server) {
  const state = element("p", { class: "hint", role: "status" });
  return element(
    "li",
    { class: "server" },
    element(
      "div",
      { class: "step-head" },
      element("b", { class: "step-title" }, server.serverTag),
      server.allowChanges ? element("span", { class: "badge warn" }, "healing may change it") : null,
      element("span", { class: "tools" },
        element("button", { type: "button", "aria-label": `Test connection of ${server.serverTag}`, onclick: (event) => test(event.currentTarget, server, state) }, "Test connection"),
        element("button", { type: "button", class: "quiet", "aria-label": `Remove ${server.serverTag}`, onclick: (event) => remove(event.currentTarget, server) }, "Remove"),
      ),
    ),
    element("p", { class: "facts" },
      element("span", {}, address(server)),
      server.runner === "ssh" ? element("span", {}, server.sshKeyPath ? `key ${server.sshKeyPath}` : "SSH agent") : null,
    ),
    server.hostKeyFingerprint ? element("p", { class: "hint" }, "Host key ", element("code", {}, server.hostKeyFingerprint)) : null,
    state,
  );
}

function test(button, server, state) {
  return whileBusy(button, async () => {
    state.className = "hint";
    state.textContent = "Connecting …";
    try {
      const { online, words } = await testConnection(server);
      state.textContent = words;
      state.classList.add(online ? "good" : "bad");
    } catch (error) {
      state.textContent = error.message;
      state.classList.add("bad");
    }
  });
}

function remove(button, server) {
  return whileBusy(button, async () => {
    const words = "Nothing more can be run on it until it is registered again. What was run on it stays in the history.";
    if (!(await confirm(`Remove ${server.serverTag}?`, words, "Remove"))) return;
    try {
      await api.delete(`/api/server/${server.id}`);
    } catch (error) {
      showProblem(problem, error.message);
      return;
    }
    await read();
    byId("view-servers").querySelector("h1").focus();
  });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  whileBusy(byId("register-server"), register);
});

async function register() {
  byId("registered").replaceChildren();
  const wrong = [...form.elements].find((box) => box.willValidate && !box.checkValidity());
  if (wrong) {
    showProblem(byId("register-problem"), `${wrong.labels[0].textContent}: ${wrong.validationMessage}`);
    wrong.focus();
    return;
  }
  showProblem(byId("register-problem"), "");
  try {
    const server = await api.post("/api/servers", call());
    form.reset();
    await read();
    byId("registered").replaceChildren(told(server));
  } catch (error) {
    showProblem(byId("register-problem"), error.message);
  }
}

function call() {
  const { serverTag, address: place, sshUsername, sshPort, sshKeyPath, hostKey, allowChanges } = form.elements;
  const where = place.value.trim();
  const isAddress = /^[\d.]+$/.test(where) || where.includes(":");
  return {
    serverTag: serverTag.value,
    [isAddress ? "ipAddress" : "hostname"]: where,
    sshUsername: sshUsername.value.trim(),
    sshPort: Number(sshPort.value),
    sshKeyPath: sshKeyPath.value.trim() || null,
    hostKey: hostKey.value.trim() || null,
    allowChanges: allowChanges.checked,
  };
}

function told(server) {
  return element(
    "div",
    { class: "notice good" },
    element("p", {}, `${server.serverTag} is registered. Its host key is pinned; another is refused from now on:`),
    element("p", {}, element("code", {}, server.hostKeyFingerprint)),
    element("p", {}, "Compare it on the server: ", element("code", {}, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")),
  );
}
