/** Tests of patterns: a table from the manual of gitignore(5), and its words where they decide. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Patterns, patternLines } from "./patterns.ts";

const rows: readonly (readonly [pattern: string, matches: string, matchesNot: string])[] = [
  ["*.log", "a.log d/a.log .log", "a.logs a.log.gz"],
  ["/build", "build build/x", "d/build"],
  ["doc/*.txt", "doc/a.txt doc/.txt", "doc/b/a.txt x/doc/a.txt doc/a.txt.gz"],
  ["./a", "a", "d/a"],
  ["cache/", "cache/ d/cache/ cache/x", "cache d/cache"],
  ["**/foo", "foo a/foo a/b/foo", "foobar"],
  ["**/foo/bar", "foo/bar a/foo/bar", "foo/x/bar"],
  ["abc/**", "abc/x abc/x/y", "abc/ x/abc/y"],
  ["a/**/b", "a/b a/x/b a/x/y/b", "ab a/xb"],
  ["a**b", "ab axxb", "a/b"],
  ["?", "x ü \u{1f600} \udc80", "xx"],
  ["[a-c]x", "ax cx", "dx /x"],
  ["[!a-c]x", "dx ^x", "ax"],
  ["[^a]x", "bx", "ax"],
  ["[]-]x", "]x -x", "ax"],
  ["[\\]a]x", "]x ax", "\\x"],
  ["a[/]b", "", "a/b"],
  ["\\!a", "!a", "a"],
  ["\\*", "*", "a"],
  ["a.(b|c)+$^{}", "a.(b|c)+$^{}", "ab"],
  ["end\\", "end\\", "end"],
];

test("what each pattern matches", () => {
  for (const [pattern, matches, matchesNot] of rows) {
    const patterns = new Patterns({ exclude: [pattern] });
    const skipped = (path: string) => {
      const isFolder = path.endsWith("/");
      return patterns.of(isFolder ? path.slice(0, -1) : path, isFolder) === "skip";
    };
    for (const path of matches.split(" ").filter(Boolean)) assert.ok(skipped(path), `${pattern} matches ${path}`);
    for (const path of matchesNot.split(" ").filter(Boolean)) assert.ok(!skipped(path), `${pattern} and ${path}`);
  }
});

test("the last match decides, but below an excluded folder nothing comes back", () => {
  const patterns = new Patterns({ exclude: ["*.log", "!keep.log", "d/", "!d/in"] });
  assert.equal(patterns.of("x.log", false), "skip");
  assert.equal(patterns.of("e/keep.log", false), "take");
  assert.equal(patterns.of("d/in", false), "skip");
  assert.equal(patterns.of("d/in/deep", false), "skip");
});

test("with include patterns only what they match, and what is below it", () => {
  const patterns = new Patterns({ include: ["src/", "*.md"], exclude: ["*.test.ts"] });
  assert.equal(patterns.of("a/src/b/c", false), "take");
  assert.equal(patterns.of("a/src/b/c.test.ts", false), "skip");
  assert.equal(patterns.of("a/b.md", false), "take");
  assert.equal(patterns.of("a", true), "walk");
  assert.equal(patterns.of("a/b.ts", false), "skip");
  assert.equal(new Patterns().of("x", false), "take");
});

test("a pattern that makes no sense is refused; a file of patterns", () => {
  assert.throws(() => new Patterns({ exclude: ["[a"] }), /has a "\[" without a "\]"/);
  assert.throws(() => new Patterns({ exclude: ["[z-a]"] }), /runs backwards/);
  assert.throws(() => new Patterns({ exclude: ["/"] }), /names nothing/);
  assert.throws(() => new Patterns({ exclude: ["x".repeat(5_000)] }), /the limit is 4096/);
  assert.deepEqual(patternLines("# no\r\n\na b\r\n  \n\\#c\n"), ["a b", "\\#c"]);
});
