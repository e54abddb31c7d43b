/**
 * The one table of layers: who may import whom, and who may see the machine. `oxlint.config.ts` makes its rules from
 * it, and the tidy test checks that the table, the folders and ARCHITECTURE.md agree.
 */
export interface Layer {
  readonly imports: readonly string[];
  /** A pure layer sees no Node.js, no clock, no random source and no npm package: it runs in a simulation and a browser. */
  readonly pure: boolean;
}

export const layers: Readonly<Record<string, Layer>> = {
  base: { imports: [], pure: true },
  raft: { imports: ["base"], pure: true },
  rpc: { imports: ["base"], pure: true },
  log: { imports: ["base", "raft", "rpc"], pure: true },
  blob: { imports: ["base", "rpc"], pure: true },
  tree: { imports: ["base", "blob"], pure: true },
  view: { imports: ["base", "rpc", "log", "blob", "tree"], pure: true },
  file: { imports: ["base", "rpc", "blob", "tree", "view"], pure: true },
  member: { imports: ["base", "raft", "rpc", "log", "blob", "tree", "view", "file"], pure: true },
  host: { imports: ["base", "log", "blob"], pure: false },
  sim: { imports: ["base", "raft", "rpc", "log", "blob", "tree", "view", "file", "member"], pure: true },
  driver: { imports: ["base", "member"], pure: false },
  cli: { imports: ["base", "file", "member", "host", "sim"], pure: false },
};

/** Globals that read a clock, a random source or the machine. A pure layer gets these through its `Env`. */
export const impureGlobals = [
  "Date",
  "performance",
  "setTimeout",
  "setInterval",
  "setImmediate",
  "process",
  "Buffer",
  "crypto",
  "fetch",
  "console",
  "global",
  "globalThis",
  "require",
] as const;
