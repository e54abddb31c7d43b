/** The picture fits its terminal, and says what is so. */
import assert from "node:assert/strict";
import { Writable } from "node:stream";
import { test } from "node:test";
import type { WriteStream } from "node:tty";
import { clip, pictureOf, Screen } from "./picture.ts";
import type { Scene } from "./picture.ts";

const scene: Scene = {
  elapsedMs: 12_300,
  members: [
    { name: "a", condition: "running", role: "leader", position: 200 },
    { name: "b", condition: "cut off", role: "voter", position: 100 },
    { name: "c", condition: "killed", role: "voter", position: undefined },
  ],
  rates: [100, 50, 0, 200],
  sliceMs: 250,
  acknowledged: 12_345,
  longestPauseMs: 1_250,
  events: Array.from({ length: 10 }, (_, index) => `event ${index}`),
};

test("members with role and position, the pace, the sum, the last events", () => {
  const text = pictureOf(scene)
    .map((line) => clip(line, 200))
    .join("\n");
  assert.match(text, /◆ a {2}leader +█{24} {2}position 200\n/);
  assert.match(text, /◌ b {2}cut off +█{12}░{12} {2}position 100\n/);
  assert.match(text, /✕ c {2}killed +░{24} {2}no answer\n/);
  assert.match(text, / 350 ops\/s ▅▃ █\n/);
  assert.match(text, /12,345 acknowledged, longest pause 1\.3 s/);
  assert.match(text, /event 4\n.*event 9$/s);
  assert.doesNotMatch(text, /event 3/);
});

test("no line is wider than the terminal, and no picture higher", () => {
  for (const width of [1, 10, 40]) {
    for (const line of pictureOf(scene)) assert.ok(clip(line, width).length <= width);
  }
  const written: string[] = [];
  const stream = new Writable({
    decodeStrings: false,
    write(text: string, _encoding, done) {
      written.push(text);
      done();
    },
  });
  const screen = new Screen(Object.assign(stream, { columns: 30, rows: 5, isTTY: true }) as unknown as WriteStream);
  screen.draw(pictureOf(scene));
  screen.draw(pictureOf(scene));
  screen.close();
  const [hide, first = "", second = "", show] = written;
  assert.deepEqual([hide, show], ["\u001b[?25l", "\u001b[?25h"]);
  assert.equal(first.split("\n").length - 1, 4);
  assert.ok(second.startsWith("\u001b[4A\r"), "the second is drawn over the first");
});
