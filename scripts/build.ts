/** Compiles `src/` to `dist/`: ES modules with declarations, for Node.js 22.15 and later. */
import { spawnSync } from "node:child_process";
import { chmodSync, rmSync } from "node:fs";

rmSync("dist", { recursive: true, force: true });
const compiler = spawnSync("node_modules/.bin/tsc", ["-p", "tsconfig.build.json"], { stdio: "inherit" });
if (compiler.status !== 0) process.exit(compiler.status ?? 1);
chmodSync("dist/cli/main.js", 0o755);
