/** `holdfast demo`, short and in a pipe: it tells what it does, its account adds up, and it leaves nothing behind. */
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { before, test } from "node:test";
import { failWith, launch, linesOf, outcomeOf, succeed, temporaryDirectory } from "./command.suite.ts";

let directory: string;

before(async () => {
  directory = await temporaryDirectory();
  // The demo makes its directories there, so that what it leaves is seen.
  process.env["TMPDIR"] = directory;
});

test("all faults are told, and the account is clean", async () => {
  const text = await succeed(["demo", "--seconds", "2", "--ops", "400"]);
  const facts = [
    /three members are starting/,
    /[abc] leads; clients put, count, read and watch/,
    /[abc], the leader, was killed with SIGKILL/,
    /[abc] was started again/,
    /[abc], the leader, was cut off from the other members/,
    /the network of [abc] was healed/,
    /[abc] was killed, and its directory is lost/,
    /d took the place of [abc]/,
    /The account, after/,
  ];
  let at = 0;
  for (const fact of facts) {
    const found = text.slice(at).search(fact);
    assert.ok(found >= 0, `${fact} is not in what follows:\n${text.slice(at)}`);
    at += found;
  }
  const [, acknowledged = ""] = /^operations acknowledged +([\d,]+)$/m.exec(text) ?? [];
  assert.ok(Number(acknowledged.replaceAll(",", "")) > 100, text);
  assert.match(text, /^lost +0\ndoubled +0\nlongest pause +\d/m);
  assert.match(text, /^reads, of them stale +[\d,]+, 0$/m);
  assert.match(text, /^watched, of them missed, repeated, out of order +[\d,]+, 0, 0, 0$/m);
  assert.equal([...text.matchAll(/^log of [abcd] +[\d,]+ records, clean$/gm)].length, 3);
  // oxlint-disable-next-line no-control-regex -- a pipe gets no colours and no movements of a cursor
  assert.doesNotMatch(text, /\u001b/);
  assert.deepEqual(await readdir(directory), []);
});

test("Ctrl-C ends it, with its members and directories", async () => {
  const child = launch(["demo"]);
  const outcome = outcomeOf(child);
  const lines = linesOf(child);
  for (;;) {
    const { value, done } = await lines.next();
    if (done === true) assert.fail(JSON.stringify(await outcome));
    if (/leads; clients/.test(value)) break;
  }
  child.kill("SIGINT");
  const { status, stderr } = await outcome;
  assert.equal(status, 1);
  assert.match(stderr, /^error: the demo was stopped/);
  assert.deepEqual(await readdir(directory), []);
});

test("wrong usage", async () => {
  assert.match(await failWith(2, ["demo", "--seconds", "0"]), /--seconds.*1 or more/);
});
