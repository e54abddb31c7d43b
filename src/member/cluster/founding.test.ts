/** How a cluster begins: in any order, with crashes at every change of a disk, and where it must not begin at all. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, toHex } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { nextTurn, NodeDigest } from "../../host/index.ts";
import { memberOf } from "../../raft/index.ts";
import { RpcServer } from "../../rpc/index.ts";
import { Simulator } from "../../sim/index.ts";
import type { CrashMoment } from "../../sim/index.ts";
import { waitingService } from "./cluster-handlers.ts";
import { Founding } from "./founding.ts";
import { IdentityFile, isFormed } from "./identity.ts";
import type { Identity } from "./identity.ts";
import { intendedIdentity } from "./intention.ts";
import { PeerClients } from "./peer-clients.ts";

const names = ["a", "b", "c"];
const peers = { a: "a:1", b: "b:1", c: "c:1" };

interface Seat {
  readonly waited: string[];
  /** What came of it, unless it is still waiting. */
  outcome: Identity | HoldfastError | undefined;
}

/** What a member does until it has its cluster, and for the others' sake behind that. */
async function found(env: Env, name: string, given: Readonly<Record<string, string>>, data = false): Promise<Seat> {
  const seat: Seat = { waited: [], outcome: undefined };
  const clients = new PeerClients(env);
  try {
    const file = new IdentityFile(env);
    const wanted = await intendedIdentity(env, file, { name, peers: given });
    assert.ok(wanted !== undefined);
    const identity = { ...wanted, data, address: given[name] ?? "" };
    await file.save(identity);
    if (isFormed(identity)) seat.outcome = identity;
    const founding = new Founding(env, {
      identity,
      peers: given,
      clients,
      save: (formed) => file.save(formed),
      onWaiting: (missing, reason) => void seat.waited.push(`${missing.join()}: ${reason}`),
    });
    const hello = waitingService(async (request) => {
      const { self, identity: present } = await founding.hello(request);
      const { cluster, seed, founding: configuration } = present;
      return isFormed(present) ? { self, cluster, seed, founding: configuration, present: configuration } : { self };
    });
    await new RpcServer(env, [hello]).listen(given[name] ?? "");
    const run = isFormed(identity) ? Promise.resolve(identity) : founding.run();
    run.then(
      (formed) => (seat.outcome = formed),
      (error: unknown) => (seat.outcome = error as HoldfastError),
    );
  } catch (error) {
    seat.outcome = error as HoldfastError;
  }
  return seat;
}

function simulate(seed: string | number): Simulator {
  return new Simulator({ seed, drain: nextTurn, digest: new NodeDigest() });
}

/** Everybody belongs to one cluster, in which each has the id of its directory. */
function checkOne(identities: readonly Identity[]): void {
  assert.equal(new Set(identities.map(({ cluster }) => toHex(cluster))).size, 1, "clusters");
  assert.equal(new Set(identities.map(({ seed }) => toHex(seed))).size, 1, "seeds");
  for (const { id, name, founding } of identities) {
    assert.equal(founding?.members.length, identities.length);
    assert.equal(founding !== undefined && memberOf(founding, id)?.name, name);
  }
}

function formed(seat: Seat | undefined): Identity {
  const outcome = seat?.outcome;
  if (outcome instanceof HoldfastError) throw outcome;
  assert.ok(outcome !== undefined && isFormed(outcome));
  return outcome;
}

test("three members with empty directories found one cluster, whoever comes when", async () => {
  for (let seed = 0; seed < 5; seed++) {
    const simulator = simulate(seed);
    const seats = new Map<string, Seat>();
    for (const name of names) {
      simulator.schedule(simulator.random.below(3_000), () => {
        void found(simulator.machine(name).env, name, peers).then((seat) => seats.set(name, seat));
      });
    }
    await simulator.run(() => seats.size === 3 && [...seats.values()].every(({ outcome }) => outcome !== undefined));
    const identities = names.map((name) => formed(seats.get(name)));
    checkOne(identities);
    for (const member of identities[0]?.founding?.members ?? []) assert.ok(member.voter && member.address !== "");
  }
});

test("a member that is alone among its peers founds at once", async () => {
  const simulator = simulate("alone");
  const seat = await simulator.run(found(simulator.machine("a").env, "a", { a: "a:1" }));
  await simulator.run(() => seat.outcome !== undefined);
  checkOne([formed(seat)]);
});

/** Founds with a crash of one machine at one change of its disk; the number of changes that it made without one. */
async function foundWithCrash(victim: string, change: number, moment: CrashMoment): Promise<number> {
  const simulator = simulate(`crash ${victim} ${change} ${moment}`);
  const seats = new Map<string, Seat>();
  const machine = simulator.machine(victim);
  if (change > 0) machine.crashAtChange(change, moment);
  const begin = (name: string, env: Env) => void found(env, name, peers).then((seat) => seats.set(name, seat));
  for (const name of names) begin(name, simulator.machine(name).env);
  const done = () => seats.size === 3 && [...seats.values()].every(({ outcome }) => outcome !== undefined);
  await simulator.run(() => done() || !machine.alive);
  if (!machine.alive) {
    // The others may go on meanwhile, or not.
    if (change % 2 === 0) await simulator.advance(2_000);
    seats.delete(victim);
    begin(victim, machine.restart());
    await simulator.run(done);
  }
  const identities = names.map((name) => formed(seats.get(name)));
  checkOne(identities);
  for (const { name, cluster } of identities) {
    const stored = await simulator.run(new IdentityFile(simulator.machine(name).env).load());
    assert.deepEqual(stored?.cluster, cluster, "what a member says is durable");
  }
  return machine.disk.changeCount;
}

test("a crash at any change of any member's disk leaves one cluster", async () => {
  for (const victim of names) {
    const changeCount = await foundWithCrash(victim, 0, "before");
    assert.ok(changeCount >= 10);
    for (let change = 1; change <= changeCount; change++) {
      for (const moment of ["during", "after"] as const) await foundWithCrash(victim, change, moment);
    }
  }
});

async function outcomes(
  simulator: Simulator,
  starts: readonly (readonly [
    machine: string,
    name: string,
    peers: Readonly<Record<string, string>>,
    data?: boolean,
  ])[],
  forMs = 10_000,
): Promise<Seat[]> {
  const seats = starts.map(([machine, name, given, data]) => found(simulator.machine(machine).env, name, given, data));
  const all = await simulator.run(Promise.all(seats));
  await simulator.advance(forMs);
  return all;
}

function refused(seat: Seat | undefined, code: string, message: RegExp): void {
  assert.ok(seat?.outcome instanceof HoldfastError, `not refused: ${JSON.stringify(seat)}`);
  assert.equal(seat.outcome.code, code);
  assert.match(seat.outcome.message, message);
}

test("a member whose directory is lost is refused under its name", async () => {
  const simulator = simulate("lost");
  const before = await outcomes(
    simulator,
    names.map((name) => [name, name, peers] as const),
  );
  checkOne(before.map((seat) => formed(seat)));
  simulator.machine("b").crash();
  const env = simulator.machine("b").restart();
  await simulator.run(env.disk.remove("member"));
  const seat = await simulator.run(found(env, "b", peers));
  await simulator.advance(5_000);
  refused(seat, "denied", /member b cannot come back with this data directory.*--join (a|c):1 --replace b/);
});

test("the member with a store founds, alone as a voter; two with stores do not", async () => {
  const [a, b, c] = await outcomes(simulate("data"), [
    ["a", "a", peers],
    ["b", "b", peers, true],
    ["c", "c", peers],
  ]);
  const identities = [a, b, c].map((seat) => formed(seat));
  checkOne(identities);
  const voters = identities[0]?.founding?.members.filter(({ voter }) => voter);
  assert.deepEqual(
    voters?.map(({ name }) => name),
    ["b"],
  );
  const both = await outcomes(simulate("both"), [
    ["a", "a", peers, true],
    ["b", "b", peers, true],
    ["c", "c", peers],
  ]);
  refused(both[0], "invalid", /a and b each have a store/);
});

test("what cannot become a cluster is told apart from what is not there yet", async () => {
  const others = { a: "a:1", b: "b:1" };
  const [different] = await outcomes(simulate("peers"), [
    ["a", "a", peers],
    ["b", "b", others],
    ["c", "c", peers],
  ]);
  refused(
    different,
    "invalid",
    /a=a:1, b=b:1, c=c:1, but member b one of a=a:1, b=b:1: start all with the same --peers/,
  );
  const [elsewhere] = await outcomes(simulate("addresses"), [
    ["a", "a", peers],
    ["b", "b", { ...peers, c: "x:1" }],
    ["c", "c", peers],
    ["x", "c", { ...peers, c: "x:1" }],
  ]);
  refused(elsewhere, "invalid", /c=c:1, but member b one of .* c=x:1: start all with the same --peers/);
  const crossed = { a: "a:1", b: "c:1", c: "b:1" };
  const [wrong] = await outcomes(simulate("names"), [
    ["a", "a", crossed],
    ["b", "b", peers],
    ["c", "c", peers],
  ]);
  refused(wrong, "invalid", /the member at [bc]:1 is named [bc], not [bc]/);
  const [waiting] = await outcomes(simulate("absent"), [
    ["a", "a", peers],
    ["b", "b", peers],
  ]);
  assert.equal(waiting?.outcome, undefined);
  assert.deepEqual(waiting?.waited.at(-1), "c: they do not answer yet");
});

test("two members of one name do not stop the others, and the one in the wrong place is told", async () => {
  const simulator = simulate("twice");
  const starts = [...names.map((name) => [name, name, peers] as const), ["x", "b", { ...peers, b: "x:1" }] as const];
  const [a, b, c, other] = await outcomes(simulator, starts);
  assert.ok(other?.outcome instanceof HoldfastError, "it was let in");
  // Whether it is told that the others expect b elsewhere, or that the cluster knows another, depends on who was faster.
  assert.match(
    other.outcome.message,
    /b=x:1.*b=b:1.*the same --peers|there is a member b at b:1 already|member b cannot come back/,
  );
  checkOne([a, b, c].map((seat) => formed(seat)));
});
