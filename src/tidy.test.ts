/**
 * The repository checks itself: the layer table against the folders and ARCHITECTURE.md, names, headers, lengths, and
 * that the linter really sees what it must refuse (a green must never mean "saw nothing").
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { layers } from "../layers.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const ignored = new Set(["node_modules", ".git", "dist", "holdfast-data"]);

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    if (ignored.has(entry.name)) return [];
    const path = join(directory, entry.name);
    return entry.isDirectory() ? filesBelow(path) : [path];
  });
}

const sources = filesBelow(join(root, "src")).filter((path) => path.endsWith(".ts"));
const name = (path: string) => relative(root, path);

test("the layer table, the folders and ARCHITECTURE.md agree", () => {
  const folders = readdirSync(join(root, "src"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);
  assert.deepEqual(folders.toSorted(), Object.keys(layers).toSorted());
  const page = readFileSync(join(root, "ARCHITECTURE.md"), "utf8");
  for (const [layer, { imports }] of Object.entries(layers)) {
    const row = page.split("\n").find((line) => line.startsWith(`| \`${layer}/\``));
    assert.ok(row, `ARCHITECTURE.md has no row for ${layer}/`);
    const cell = row.split("|").at(-2)?.trim() ?? "";
    assert.equal(cell, imports.join(" ") || "–", `ARCHITECTURE.md disagrees with layers.ts about ${layer}/`);
  }
});

test("every layer has an index.ts that opens with what the layer is", () => {
  for (const layer of Object.keys(layers)) {
    if (layer === "cli") continue;
    assert.match(readFileSync(join(root, "src", layer, "index.ts"), "utf8"), /^\/\*\* ?|^\/\*\*\n/, layer);
  }
});

test("no drawer folders, kebab-case names, a header in every file but tests", () => {
  const drawers = /(^|\/)(util|utils|common|core|types|helpers?)(\/|\.ts$)/;
  for (const path of sources) {
    assert.doesNotMatch(name(path), drawers);
    assert.match(name(path), /^[a-z0-9./-]+$/);
    // A test is of the file that it is named after.
    if (path.endsWith(".test.ts")) continue;
    assert.match(readFileSync(path, "utf8"), /^(#!.*\n)?\/\*\*/, `${name(path)} does not open with what it is`);
  }
});

test("no file of code past 500 lines without a reason in its header", () => {
  const long = sources
    .filter((path) => !/\.(test|suite|bench)\.ts$/.test(path))
    .filter((path) => {
      const text = readFileSync(path, "utf8");
      const lines = text.split("\n").filter((line) => !/^\s*(\/\/|\*|\/\*|$)/.test(line));
      return lines.length > 500 && !/Long because/.test(text.slice(0, 6_000));
    });
  assert.deepEqual(long.map(name), []);
});

test("the text speaks of the project alone", () => {
  const banned = /registry\.npmjs|deb\.debian|\/work\/(main|shared)|\/root\/|TODO|FIXME|XXX/;
  const texts = filesBelow(root).filter((path) => /\.(ts|mjs|md|json|yml)$|run$/.test(path));
  for (const path of texts) {
    if (path === fileURLToPath(import.meta.url) || path.endsWith("package-lock.json")) continue;
    assert.doesNotMatch(readFileSync(path, "utf8"), banned, name(path));
  }
});

test("the linter refuses each planted violation", () => {
  const planted: Record<string, { readonly text: string; readonly rule: string }> = {
    "src/base/upward.ts": { text: `export { x } from "../rpc/index.ts";`, rule: "no-restricted-imports" },
    "src/rpc/deep.ts": { text: `export { x } from "../base/errors.ts";`, rule: "no-restricted-imports" },
    "src/view/node.ts": { text: `export { readFile } from "node:fs/promises";`, rule: "no-restricted-imports" },
    "src/tree/package.ts": { text: `export { command } from "commander";`, rule: "no-restricted-imports" },
    "src/log/clock.ts": { text: `export const now = Date.now();`, rule: "no-restricted-globals" },
    "src/blob/random.ts": { text: `export const dice = Math.random();`, rule: "no-restricted-properties" },
    "src/view/one.ts": { text: `export type { B } from "./two.ts";\nexport type A = number;`, rule: "no-cycle" },
    "src/view/two.ts": { text: `export type { A } from "./one.ts";\nexport type B = number;`, rule: "no-cycle" },
    "src/view/camelCase.ts": { text: `export const y = 1;`, rule: "filename-case" },
    "src/view/floating.ts": {
      text: `async function f() {}\nexport function g() {\n  f();\n}`,
      rule: "no-floating-promises",
    },
  };
  const directory = mkdtempSync(join(tmpdir(), "holdfast-tidy-"));
  try {
    for (const [path, { text }] of Object.entries(planted)) {
      mkdirSync(dirname(join(directory, path)), { recursive: true });
      writeFileSync(join(directory, path), `${text}\n`);
    }
    symlinkSync(join(root, "node_modules"), join(directory, "node_modules"));
    for (const file of ["oxlint.config.ts", "layers.ts", "tsconfig.json"]) {
      writeFileSync(join(directory, file), readFileSync(join(root, file)));
    }
    writeFileSync(join(directory, "package.json"), `{ "type": "module" }`);
    const run = spawnSync(
      process.execPath,
      [join(root, "node_modules/oxlint/bin/oxlint"), "--type-aware", "--format=json", "src"],
      { cwd: directory, encoding: "utf8" },
    );
    assert.notEqual(run.status, 0);
    const report = JSON.parse(run.stdout) as { diagnostics: { filename: string; code?: string }[] };
    for (const [path, { rule }] of Object.entries(planted)) {
      const found = report.diagnostics.filter((diagnostic) => diagnostic.filename.endsWith(path));
      assert.ok(
        found.some((diagnostic) => diagnostic.code?.includes(rule)),
        `${path}: ${rule} did not fire; found ${JSON.stringify(found.map((diagnostic) => diagnostic.code))}`,
      );
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
