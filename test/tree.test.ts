/** Trees go in and come back identical, also when the command is killed in the middle: see round-trip.suite.ts. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { roundTrip } from "./round-trip.suite.ts";

function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-tree-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function needRsync(): void {
  if (spawnSync("which", ["rsync"]).status === 0) return;
  const environment = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const install = () =>
    spawnSync("apt-get", ["install", "-y", "--no-install-recommends", "rsync"], { env: environment }).status === 0;
  if (install()) return;
  spawnSync("apt-get", ["update"]);
  if (!install()) throw new Error("rsync (Debian: rsync) is needed and cannot be installed");
}

test("a part of /usr, killed in the middle of both ways", async (t) => {
  needRsync();
  const source = process.env["HOLDFAST_TREE"] ?? "/usr/include";
  await roundTrip({ source, scratch: scratch(t), killAfterMs: 1_200, say: (text) => t.diagnostic(text) });
});

test("odd names, links, holes, modes, times, empty folders", async (t) => {
  needRsync();
  const directory = scratch(t);
  const source = join(directory, "source");
  mkdirSync(source);
  makeOddTree(source);
  await roundTrip({ source, scratch: directory, say: (text) => t.diagnostic(text) });
});

function makeOddTree(source: string): void {
  const at = (name: string) => join(source, name);
  const names = ["plain", " spaces ", "new\nline", "ümlaut", "-dash", "a:b", "*", "..dots", "quote'\"", "\u{1f600}"];
  for (const name of names) writeFileSync(at(name), name);
  writeFileSync(Buffer.concat([Buffer.from(`${source}/`), Buffer.from([0x66, 0xff, 0xfe, 0x80])]), "no UTF-8");
  writeFileSync(at("n".repeat(255)), "long");
  writeFileSync(at("empty"), "");
  mkdirSync(at("empty-folder/inside"), { recursive: true });
  mkdirSync(at("a"));
  writeFileSync(at("a/b"), "sorts otherwise as a path");
  writeFileSync(at("a-b"), "than as a name");
  writeFileSync(at("a.b"), "or so");
  symlinkSync("plain", at("link"));
  symlinkSync("/nowhere/at/all", at("dangling"));
  symlinkSync("a", at("link-to-folder"));
  mkdirSync(at("hard"));
  for (const [name, size] of [
    ["small", 10],
    ["large", 3_000_000],
  ] as const) {
    writeFileSync(at(`hard/${name}`), Buffer.alloc(size, name));
    linkSync(at(`hard/${name}`), at(`hard/${name}-again`));
    linkSync(at(`hard/${name}`), at(`another-${name}`));
  }
  writeFileSync(at("sparse"), "begins");
  truncateSync(at("sparse"), 50_000_000);
  writeFileSync(at("private"), "x");
  chmodSync(at("private"), 0o400);
  writeFileSync(at("special"), "x");
  chmodSync(at("special"), 0o4755);
  mkdirSync(at("sticky"));
  chmodSync(at("sticky"), 0o1777);
  mkdirSync(at("read-only"));
  writeFileSync(at("read-only/inside"), "x");
  utimesSync(at("read-only/inside"), 1, 1);
  utimesSync(at("plain"), -86_400.5, -86_400.5);
  utimesSync(at("empty"), 4_102_444_800, 4_102_444_800);
  execFileSync("touch", ["-h", "-d", "2001-02-03 04:05:06.123456789", at("link"), at("a-b"), at("hard")]);
  execFileSync("mkfifo", [at("pipe")]);
  chmodSync(at("read-only"), 0o555);
}
