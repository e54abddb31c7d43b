#!/usr/bin/env node
/**
 * The `holdfast` command of a clone: runs the TypeScript sources on the Node.js in node_modules, whatever Node.js the
 * machine has. The published package has `dist/cli/main.js` in its place.
 */
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const main = join(root, "src", "cli", "main.ts");
const [major = 0] = process.versions.node.split(".").map(Number);

if (major >= 24) {
  process.argv.splice(1, 1, main);
  await import(main);
} else {
  const child = spawn(join(root, "node_modules", ".bin", "node"), [main, ...process.argv.slice(2)], {
    stdio: "inherit",
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => {
    if (signal !== null) process.kill(process.pid, signal);
    else process.exit(code ?? 1);
  });
}
