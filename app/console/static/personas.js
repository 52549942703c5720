// What the personas are for, and requests that the built-in runbooks answer.

export const PERSONAS = [
  {
    id: "general",
    words: "Linux administration: health, disks, memory, services, logs.",
    examples: ["Is this server healthy?", "What fills the disk?", "What keeps the CPU busy?"],
  },
  {
    id: "network",
    words: "ip, ss, dig, ufw, curl: ports, names, routes, firewall.",
    examples: ["Which ports are open?", "Does name resolution work?", "Show the firewall rules"],
  },
  {
    id: "database",
    words: "PostgreSQL and MySQL: state, size, backups, safe SQL.",
    examples: ["Are the databases up?", "How old are the backups?", "Which queries are slow?"],
  },
  {
    id: "security",
    words: "Hardening and audit: logins, permissions, users, updates.",
    examples: ["Who failed to log in?", "Is SSH hardened?", "Which security updates are missing?"],
  },
];
