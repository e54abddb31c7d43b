/** Sessions: a command that comes again is answered, not applied, whatever happened in between. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "../base/index.ts";
import { Prng } from "../sim/index.ts";
import { Member, openSession, plain, randomCommand, rootText, scale } from "./fixture.suite.ts";
import type { CommandOutcome, Replica } from "./index.ts";

const stamp = (session: number, sequence: number, acknowledgedBelow = 1) => ({
  stamp: { session, sequence, acknowledgedBelow },
});

function code(outcome: CommandOutcome): string {
  if (outcome.ok) return "ok";
  return `${outcome.code}${outcome.sessionRefused === true ? " by the session" : ""}`;
}

for (const how of ["at once", "after a restart", "after a checkpoint and a restart", "after both twice"]) {
  test(`a command that comes again ${how} gets the recorded answer`, async () => {
    const member = new Member(`again ${how}`);
    let replica = await member.open();
    const restart = async (checkpoint: boolean) => {
      if (checkpoint) await replica.checkpoint();
      await replica.close();
      replica = await member.open();
    };
    const session = await openSession(replica);
    await replica.propose([member.put("a", "0")], stamp(session, 1));
    const commands = [
      [member.put("a", "1", { previous: true }), member.put("b", "1")],
      [member.remove("a", "z", true)],
      [member.grant(5n)],
    ];
    const answers: CommandOutcome[] = [];
    for (const [index, command] of commands.entries()) {
      answers.push(await replica.propose(command, stamp(session, 2 + index)));
    }
    const { revision } = replica;
    if (how === "after a restart") await restart(false);
    if (how === "after a checkpoint and a restart") await restart(true);
    if (how === "after both twice") for (const checkpoint of [true, false, true, false]) await restart(checkpoint);
    for (const [index, command] of commands.entries()) {
      const again = await replica.propose(command, stamp(session, 2 + index));
      assert.equal(plain(again), plain(answers[index] as CommandOutcome));
    }
    assert.equal(replica.revision, revision, "nothing was applied twice");
    assert.equal(replica.sessionCount, 1);
    await replica.close();
  });
}

test("answers are kept until the client says that it has them", async () => {
  const member = new Member("acknowledged");
  const replica = await member.open();
  const session = await openSession(replica);
  for (let sequence = 1; sequence <= 5; sequence++) {
    assert.equal(code(await replica.propose([member.put("a", `${sequence}`)], stamp(session, sequence))), "ok");
  }
  assert.equal(code(await replica.propose([member.put("b", "6")], stamp(session, 6, 4))), "ok");
  const refused = await replica.propose([member.put("a", "3")], stamp(session, 3));
  assert.equal(code(refused), "invalid by the session");
  assert.equal(code(await replica.propose([member.put("a", "4")], stamp(session, 4))), "ok");
  assert.equal(replica.revision, 6);
  // Late: it was overtaken by the acknowledgement, so it must never take effect.
  assert.equal(code(await replica.propose([member.put("late", "x")], stamp(session, 2))), "invalid by the session");
  assert.equal(replica.revision, 6);
  await replica.close();
});

test("a command that changed nothing, or was refused, is answered the same when it comes again", async () => {
  const member = new Member("unchanged");
  const replica = await member.open();
  const session = await openSession(replica);
  assert.equal(code(await replica.propose([member.revoke(9n)], stamp(session, 1))), "notFound");
  await replica.propose([member.grant(9n)]);
  assert.equal(code(await replica.propose([member.revoke(9n)], stamp(session, 1))), "notFound");
  assert.equal(code(await replica.propose([member.revoke(9n)], stamp(session, 2))), "ok");
  // A repeated command must not do what it did not do at first.
  assert.equal(code(await replica.propose([member.remove("later")], stamp(session, 3))), "ok");
  await replica.propose([member.put("later", "x")]);
  const { revision } = replica;
  assert.equal(code(await replica.propose([member.remove("later")], stamp(session, 3))), "ok");
  assert.equal(replica.revision, revision);
  await replica.close();
});

test("a session takes only so many commands ahead of its acknowledgements", async () => {
  const member = new Member("window");
  const replica = await member.open();
  const session = await openSession(replica);
  const count = limits.sessionWindowCountMax;
  const all = Array.from({ length: count + 3 }, (_, index) =>
    replica.propose([member.put(`k${index}`, "x")], stamp(session, index + 1)),
  );
  const outcomes = (await Promise.all(all)).map(code);
  assert.equal(outcomes.filter((outcome) => outcome === "ok").length, count);
  assert.deepEqual(outcomes.slice(count), Array(3).fill("exhausted by the session"));
  // With its answers acknowledged, the very command that was refused is let in.
  const again = await replica.propose([member.put("later", "x")], stamp(session, count + 1, 3));
  assert.equal(code(again), "ok");
  assert.equal(replica.revision, count + 1);
  await replica.checkpoint();
  await replica.close();
  const after = await member.open();
  const other = await after.propose([], stamp(session, count + 1));
  assert.equal(code(other), "invalid by the session");
  assert.match(other.ok ? "" : other.message, /has used sequence 4097 for another command/);
  assert.equal(code(await after.propose([member.grant(1n)], stamp(session, count + 2))), "ok");
  await after.close();
});

test("large answers never keep a checkpoint from being written", async () => {
  const member = new Member("large answers");
  let replica = await member.open();
  const session = await openSession(replica);
  for (let step = 0; step < 4; step++) await replica.propose([member.put(`k${step}`, new Uint8Array(500_000))]);
  assert.equal(code(await replica.propose([member.remove("k0", "k3", true)], stamp(session, 1))), "ok");
  assert.equal(code(await replica.propose([member.remove("k3", "k4", true)], stamp(session, 2))), "ok");
  await replica.checkpoint();
  await replica.close();
  replica = await member.open();
  const first = await replica.propose([member.remove("k0", "k3", true)], stamp(session, 1));
  assert.match(plain(first), /was applied, at revision 5/);
  const second = await replica.propose([member.remove("k3", "k4", true)], stamp(session, 2));
  assert.equal(code(second), "ok");
  assert.equal(replica.revision, 6);
  await replica.close();
});

test("idle sessions end in store time when another is opened; the log alone decides", async () => {
  const member = new Member("expiry");
  let replica = await member.open();
  const idle = await openSession(replica);
  const busy = await openSession(replica);
  await replica.propose([member.put("a", "1")], stamp(idle, 1));
  await replica.propose([member.put("a", "2")], stamp(busy, 1));
  await replica.checkpoint();
  member.env.wall.offsetMs += limits.sessionIdleMs - 1_000;
  await replica.propose([member.put("a", "3")], stamp(busy, 2));
  member.env.wall.offsetMs += 2_000;
  assert.equal(replica.sessionCount, 2);
  await replica.propose([member.put("a", "4")]);
  await openSession(replica);
  assert.equal(replica.sessionCount, 2);
  const refused = await replica.propose([member.put("a", "5")], stamp(idle, 2));
  assert.equal(code(refused), "notFound by the session");
  assert.match(refused.ok ? "" : refused.message, /session 1 is not open; idle ones end after 60 minutes/);
  await replica.checkpoint();
  await replica.close();
  replica = await member.open();
  assert.equal(replica.sessionCount, 2);
  assert.equal(code(await replica.propose([member.put("a", "2")], stamp(busy, 2))), "ok");
  assert.equal(replica.revision, 4);
  await replica.close();
});

test("a full table of sessions lets the one that was idle for longest go", async () => {
  const member = new Member("full table");
  const replica = await member.open();
  const opened: Promise<number>[] = [];
  const many = 200;
  for (let index = 0; index < many; index++) opened.push(openSession(replica));
  const ids = await Promise.all(opened);
  assert.equal(new Set(ids).size, many);
  assert.equal(replica.sessionCount, many);
  await replica.close();
});

/** Retries at random of commands that may be random, through restarts, against a replica that never stops. */
async function retryCampaign(seed: string): Promise<void> {
  const dice = new Prng(seed);
  const member = new Member(seed);
  const still = new Member(`${seed}/still`, member.log);
  const reference = await still.open();
  let replica: Replica = await member.open({ cacheSizeMax: 8_192 });
  const session = await openSession(replica);
  const answers = new Map<number, { readonly answer: string; readonly command: ReturnType<typeof randomCommand> }>();
  let next = 1;
  let acknowledged = 1;
  for (let step = 0; step < 250; step++) {
    const retry = next > acknowledged && dice.chance(0.4);
    const sequence = retry ? acknowledged + dice.below(next - acknowledged) : next++;
    const known = answers.get(sequence);
    const command = known?.command ?? randomCommand(dice, member);
    const outcome = await replica.propose(command, stamp(session, sequence, acknowledged));
    if (known === undefined) answers.set(sequence, { answer: plain(outcome), command });
    else assert.equal(plain(outcome), known.answer, seed);
    if (dice.chance(0.1)) acknowledged += dice.below(next - acknowledged + 1);
    if (dice.chance(0.05)) await replica.checkpoint();
    if (dice.chance(0.05)) {
      await replica.close();
      replica = await member.open({ cacheSizeMax: 8_192 });
    }
  }
  await reference.linearize();
  assert.equal(await rootText(replica), await rootText(reference), seed);
  await replica.close();
  await reference.close();
}

for (const seed of Array.from({ length: 3 * scale }, (_, index) => `retries ${index}`)) {
  test(`retries through restarts leave the state of a replica that never stopped (${seed})`, () => retryCampaign(seed));
}
