/** The transcripts in `testdata`, word for word; `UPDATE=1` rewrites them. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { replay } from "./transcript.suite.ts";

const directory = join(import.meta.dirname, "testdata");

describe("transcripts of raft machines", () => {
  const names = readdirSync(directory).filter((name) => name.endsWith(".txt"));
  assert.ok(names.length > 0);
  for (const name of names) {
    it(name.replace(/\.txt$/, "").replaceAll("-", " "), () => {
      const path = join(directory, name);
      const before = readFileSync(path, "utf8");
      const now = replay(before);
      if (process.env["UPDATE"] === undefined) assert.equal(now, before, `${name}; UPDATE=1 rewrites it`);
      else writeFileSync(path, now);
    });
  }
});
