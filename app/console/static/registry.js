// The registered servers, read once and shared by the views.

import { api } from "./api.js";

const PAGE = 200;
const listeners = new Set();

/** `servers` is null until they have been read for the first time. */
export const registry = { servers: null };

/** Call a listener whenever the servers have been read. */
export function onServers(listener) {
  listeners.add(listener);
}

/** Read all servers, page by page. */
export async function readServers() {
  const found = [];
  for (let after = 0; after !== null; ) {
    const page = await api.get(`/api/servers?limit=${PAGE}&after=${after}`);
    found.push(...page.servers);
    after = page.next;
  }
  registry.servers = found;
  for (const listener of listeners) listener(found);
  return found;
}

/** Return where a server is, in few words. */
export const address = (server) =>
  server.runner === "local"
    ? "this machine"
    : `${server.sshUsername}@${server.ipAddress || server.hostname}${server.sshPort === 22 ? "" : `:${server.sshPort}`}`;

/** Open a session with a server and say in one line whether that worked. */
export async function testConnection(server) {
  const { status, message } = await api.post(`/api/server/${server.id}/test-connection`);
  return { online: status === "Online", words: `${status}: ${message}` };
}
