/**
 * Makes a fresh clone ready: installs the dependencies when they are missing or older than the lock file, and links
 * the `holdfast` command, so that `npx holdfast` in the clone runs the sources. Plain JavaScript, since it is the one
 * file that runs on the machine's own Node.js (20 or later) before there is a current one.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, lstatSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const lock = join(root, "package-lock.json");
const stamp = join(root, "node_modules", ".holdfast-installed");

const wanted = readFileSync(lock, "utf8");
const installed = existsSync(stamp) ? readFileSync(stamp, "utf8") : "";
if (wanted !== installed) {
  console.error("Installing dependencies (once) …");
  // `install --no-save` takes the versions of the lock file as `ci` does, but does not insist that the lock file also
  // lists the optional binaries of every other platform, which not every registry serves. `--include=dev` because the
  // sources run on the Node.js that a dev dependency brings.
  const npm = spawnSync(
    "npm",
    ["install", "--no-save", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error"],
    {
      cwd: root,
      stdio: ["ignore", 2, 2],
    },
  );
  if (npm.status !== 0) {
    console.error("npm install failed; see the lines above.");
    process.exit(1);
  }
  if (!existsSync(join(root, "node_modules", ".bin", "node"))) {
    console.error("The dependency `node` did not install; `npm install` must be allowed to run its install script.");
    process.exit(1);
  }
  writeFileSync(stamp, wanted);
}

const link = join(root, "node_modules", ".bin", "holdfast");
if (lstatSync(link, { throwIfNoEntry: false }) === undefined) {
  rmSync(link, { force: true });
  symlinkSync("../../scripts/holdfast.mjs", link);
  chmodSync(join(root, "scripts", "holdfast.mjs"), 0o755);
}
