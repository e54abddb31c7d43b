/** The bytes of streams, queues, counters, locks and rate limiters in the tree are as docs/format.md has them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { hex, Member, utf8 } from "./fixture.suite.ts";
import { operation } from "./index.ts";
import type { Operation } from "./index.ts";
import { turnOf } from "./lock/lock-state.ts";

/** Of every command: in hexadecimal as u64 000000e8d4a51000, as a varint 80a094a58d1d. */
const timeMs = 0xe8d4a51000;

/** The entries of the ranges whose first bytes are given, behind the commands, each of which takes one revision. */
async function entriesOf(
  t: TestContext,
  member: Member,
  commands: readonly (readonly Operation[])[],
  of: readonly (readonly number[])[],
) {
  // Store time stands still.
  Object.assign(member.env.clock, { wallMs: () => timeMs, monotonicMs: () => 0 });
  const replica = await member.open();
  t.after(() => replica.close());
  for (const [index, command] of commands.entries()) {
    const outcome = await replica.propose([...command]);
    assert.ok(outcome.ok, `command ${index}: ${outcome.ok ? "" : outcome.message}`);
    assert.equal(outcome.revision, index + 1);
  }
  return replica.read((tree) =>
    of.flatMap((prefix) => {
      const end = [...prefix.slice(0, -1), (prefix.at(-1) as number) + 1];
      const range = { start: new Uint8Array(prefix), end: new Uint8Array(end) };
      return Array.from(tree.entries(range), ({ key, value }) => [hex(key), hex(value)] as const);
    }),
  );
}

/** Of leases, what views have attached to them. */
const attached = [17, 0x76];

test("streams", async (t) => {
  const member = new Member(t.name);
  const { stream } = member.views;
  const commands = [
    [
      operation(stream, {
        operation: { case: "append", value: { name: "s", values: [utf8("\u0000a"), utf8("\u0000b")] } },
      }),
      operation(stream, { operation: { case: "commit", value: { name: "s", group: "g", position: 1 } } }),
    ],
    [
      operation(stream, {
        operation: {
          case: "configure",
          value: { name: "s", retention: { countMax: 5, sizeMax: 6_000, ageMaxMs: 7_000 } },
        },
      }),
    ],
    [operation(stream, { operation: { case: "trim", value: { name: "s", before: 1 } } })],
    [operation(stream, { operation: { case: "deleteGroup", value: { name: "s", group: "g" } } })],
    [operation(stream, { operation: { case: "commit", value: { name: "s", group: "h", position: 2 } } })],
  ];
  assert.deepEqual(await entriesOf(t, member, commands, [[21]]), [
    ["1564", "0804"],
    ["156573000000000000000001", "0a02006210011880a094a58d1d"],
    ["1567730068", "08021005"],
    ["15737300", "0803100118022022280530f02e38d836"],
  ]);
});

test("queues", async (t) => {
  const member = new Member(t.name);
  const { queue } = member.views;
  const push = (...jobs: object[]) =>
    operation(queue, {
      operation: {
        case: "push",
        value: { name: "q", jobs: jobs.map((job) => ({ value: utf8("\u0000v"), ...job })) },
      },
    });
  const pull = (lease: bigint) =>
    operation(queue, { operation: { case: "pull", value: { name: "q", count: 1, lease, ttlMs: 60_000 } } });
  const commands = [
    [
      push(
        { priority: 5, dedupKey: "k", dedupMs: 1_000 },
        { priority: 4 },
        { priority: 3 },
        { priority: -1 },
        { delayMs: 1_000 },
      ),
    ],
    [pull(7n)],
    [pull(8n)],
    [pull(9n)],
    [
      operation(queue, {
        operation: { case: "ack", value: { name: "q", deliveries: [{ id: 1, attempt: 1, lease: 7n }] } },
      }),
    ],
    [
      operation(queue, {
        operation: {
          case: "reject",
          value: { name: "q", delivery: { id: 2, attempt: 1, lease: 8n }, dead: true, error: "bad" },
        },
      }),
    ],
  ];
  assert.deepEqual(await entriesOf(t, member, commands, [attached, [22]]), [
    ["117600000000000000091671000000000000000003", ""],
    ["16647100000000e8d4a513e80000000000000005", ""],
    ["166b71006b", "080110e8a794a58d1d"],
    ["166d71000000000000000002", "0a0200761008180320e8a794a58d1d28014080a094a58d1d4a03626164"],
    ["166d71000000000000000003", "0a020076100618022080a094a58d1d280130094080a094a58d1d"],
    ["166d71000000000000000004", "0a02007610012080a094a58d1d4080a094a58d1d"],
    ["166d71000000000000000005", "0a020076180120e8a794a58d1d4080a094a58d1d"],
    ["16717100", "08061005181020e8072880dddb013001380140014801"],
    ["16727100800000000000000000000004", ""],
    ["16747100000000e8d4a513e86b", ""],
    ["167871000000000000000002", ""],
  ]);
});

test("counters", async (t) => {
  const member = new Member(t.name);
  const { counter } = member.views;
  const commands = [
    [operation(counter, { operation: { case: "add", value: { name: "c", amount: -3 } } })],
    [operation(counter, { operation: { case: "add", value: { name: "d", amount: 1 } } })],
    [operation(counter, { operation: { case: "delete", value: { name: "d" } } })],
  ];
  assert.deepEqual(await entriesOf(t, member, commands, [[23]]), [
    ["17636300", "08051001"],
    ["1764", "0803"],
  ]);
});

test("locks of every kind", async (t) => {
  const member = new Member(t.name);
  const { lock } = member.views;
  const acquire = (lease: bigint, value: object) =>
    operation(lock, { operation: { case: "acquire", value: { lease, ttlMs: 60_000, ...value } } });
  const commands = [
    [acquire(1n, { kind: "lock", name: "l", mode: "exclusive", value: utf8("\u0000v") })],
    [acquire(2n, { kind: "lock", name: "l", mode: "exclusive" })],
    [acquire(3n, { kind: "readWriteLock", name: "r", mode: "shared" })],
    [acquire(4n, { kind: "semaphore", name: "s", mode: "permits", permits: 2, permitCount: 3 })],
    [acquire(5n, { kind: "barrier", name: "b", mode: "shared", count: 1 })],
    [acquire(6n, { kind: "election", name: "e", mode: "exclusive" })],
    [acquire(7n, { kind: "presence", name: "p", mode: "shared" })],
    [acquire(8n, { ...turnOf("s", "g"), mode: "exclusive" })],
    [
      operation(lock, {
        operation: { case: "release", value: { kind: "presence", name: "p", fence: 7, endLease: true } },
      }),
    ],
  ];
  assert.deepEqual(await entriesOf(t, member, commands, [attached, [25]]), [
    ["11760000000000000001196c6c000000000000000001", ""],
    ["11760000000000000002196c6c000000000000000002", ""],
    ["11760000000000000003197272000000000000000003", ""],
    ["11760000000000000004197373000000000000000004", ""],
    ["11760000000000000006196565000000000000000006", ""],
    ["11760000000000000008197422732220226722000000000000000008", ""],
    ["19626200", "08053801"],
    ["1964", "0809"],
    ["19656500", "080610013001"],
    ["19656500680000000000000006", "0806"],
    ["196c6c00", "0802100118013001"],
    ["196c6c00680000000000000001", "080122020076"],
    ["196c6c00770000000000000002", "0802"],
    ["19727200", "08031001"],
    ["19727200680000000000000003", "08031001"],
    ["19737300", "0804100120022803"],
    ["19737300680000000000000004", "080410021802"],
    ["19742273222022672200", "080810013001"],
    ["19742273222022672200680000000000000008", "0808"],
  ]);
});

test("rate limiters", async (t) => {
  const member = new Member(t.name);
  const { limiter } = member.views;
  const commands = [
    [
      operation(limiter, {
        operation: { case: "take", value: { name: "l", count: 1, rate: { permits: 2, perMs: 1_000, burst: 2 } } },
      }),
    ],
  ];
  assert.deepEqual(await entriesOf(t, member, commands, [[27]]), [["1b6c6c00", "0900803ea2941a6d421001"]]);
});
