/** The examples of docs/keys.md, docs/view.md and docs/files.md: each page's blocks are one program, and it prints what the page says. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

const root = new URL("../../", import.meta.url);

/** The blocks in one module, with the package's entries taken from here, and what it says it prints. */
function program(page: string): { readonly source: string; readonly expected: string[] } {
  const text = readFileSync(new URL(page, root), "utf8");
  const blocks = Array.from(text.matchAll(/^```ts\n(.*?)^```$/gms), ([, block]) => block ?? "");
  const whole = blocks.join("\n").replaceAll(/from "holdfast(?:\/(\w+))?"/g, (_, entry: string | undefined) => {
    return `from "${new URL(entry === undefined ? "src/index.ts" : `src/${entry}/index.ts`, root).href}"`;
  });
  const expected: string[] = [];
  for (const line of whole.split("\n")) {
    // Behind the call, or, for a call that prints several lines, on lines of their own.
    const told = /console\.log\(.*\); \/\/ (.*)$/.exec(line)?.[1] ?? /^\/\/ (\d.*)$/.exec(line)?.[1];
    if (told !== undefined) expected.push(told);
  }
  return { source: `export {};\n${whole}`, expected };
}

for (const page of ["docs/keys.md", "docs/view.md", "docs/files.md", "docs/objects.md", "docs/maps.md"]) {
  test(`the examples of ${page} run and print what the page says`, async (t) => {
    const { source, expected } = program(page);
    assert.ok(expected.length > 3, `${page} has examples that print`);
    const directory = mkdtempSync(join(tmpdir(), "holdfast-docs-"));
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    const path = join(directory, "example.ts");
    writeFileSync(path, source);
    const printed: string[] = [];
    t.mock.method(console, "log", (...values: readonly unknown[]) => printed.push(values.map(String).join(" ")));
    await import(pathToFileURL(path).href);
    t.mock.restoreAll();
    assert.deepEqual(printed, expected);
  });
}
