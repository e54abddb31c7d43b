/** Commands and what they leave in the tree, byte by byte: formats that are released. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, limits } from "../base/index.ts";
import { Prng } from "../sim/index.ts";
import { hex, Member } from "./fixture.suite.ts";
import { decodeCommand, encodeCommand, operation, SessionOperation, SessionResult, sessionViewId } from "./index.ts";
import type { Operation, View } from "./index.ts";

const member = new Member("formats");
const header = { session: 0, sequence: 0, acknowledgedBelow: 0, timeMs: 0 };

test("a command is these bytes", () => {
  const bytes = encodeCommand({ session: 3, sequence: 300, acknowledgedBelow: 299, timeMs: 1_700_000_000_000 }, [
    member.put("k", "v"),
    member.grant(7n, 5_000),
  ]);
  assert.equal(
    hex(bytes),
    "0803" + // session
      "10ac02" + // sequence
      "18ab02" + // acknowledgedBelow
      "2080d095ffbc31" + // timeMs
      "2a0b" + // operation, 11 bytes
      "820108" + // of view 16, 8 bytes
      "0a060a016b120176" + // put, key k, value v
      "2a0a" +
      "8a0107" + // of view 17
      "0a0508071088" +
      "27",
  );
  const decoded = decodeCommand(bytes);
  assert.deepEqual(
    { ...decoded, operations: decoded.operations.map(({ viewId, body }) => [viewId, hex(body)]) },
    {
      session: 3,
      sequence: 300,
      acknowledgedBelow: 299,
      timeMs: 1_700_000_000_000,
      operations: [
        [16, "0a060a016b120176"],
        [17, "0a050807108827"],
      ],
    },
  );
});

test("decoding passes over what it does not know, and refuses what is no command", () => {
  assert.deepEqual(decodeCommand(new Uint8Array(0)), { ...header, operations: [] });
  // Field 9 as a number, as bytes, as four and as eight bytes.
  const unknown = Buffer.from("48054a01614d010203044901020304050607080807", "hex");
  assert.deepEqual(decodeCommand(unknown), { ...header, session: 7, operations: [] });
  const dice = new Prng("decode");
  const whole = encodeCommand({ ...header, sequence: 5, timeMs: 9 }, [member.put("k", "v"), member.remove("a", "b")]);
  for (let round = 0; round < 5_000; round++) {
    const bytes = whole.slice();
    for (let flips = 1 + dice.below(3); flips > 0; flips--) {
      const at = dice.below(bytes.length);
      bytes[at] = dice.below(256);
    }
    try {
      decodeCommand(bytes.subarray(0, dice.chance(0.3) ? dice.below(bytes.length) : bytes.length));
    } catch (error) {
      assert.ok(error instanceof HoldfastError && error.code === "corrupt", `${hex(bytes)}: ${String(error)}`);
    }
  }
});

test("a command over a limit is refused before it is proposed, and leaves the encoder as it was", () => {
  const many = Array.from({ length: limits.operationCountMax + 1 }, () => member.remove("a"));
  assert.throws(() => encodeCommand(header, many), { code: "invalid", message: /16385 operations.*operationCountMax/ });
  const large = Array.from({ length: 17 }, () => member.put("a", new Uint8Array(1_000_000)));
  assert.throws(() => encodeCommand(header, large), { code: "invalid", message: /limit is 16777216.*recordSizeMax/ });
  const wrong = operation(member.views.key, { operation: { case: "compact", value: { revision: -1 } } });
  assert.throws(() => encodeCommand(header, [wrong, member.put("a", "1")]), { code: "invalid" });
  assert.equal(hex(encodeCommand({ ...header, session: 1 }, [])), "0801");
});

const sessionView = {
  id: sessionViewId,
  name: "session",
  operation: SessionOperation,
  result: SessionResult,
} as unknown as View<unknown>;

test("the tree holds these entries after these commands", async () => {
  const commands: readonly (readonly [session: number, sequence: number, operations: readonly Operation[]])[] = [
    [0, 1, [operation(sessionView, { close: 0 })]],
    [0, 2, [member.grant(7n, 5_000)]],
    [1, 1, [member.put("a\0", "1"), member.put("b", "2", { lease: 7n })]],
    [1, 2, [member.put("b", "3", { lease: 7n, previous: true })]],
    [0, 3, [member.remove("a\0")]],
    [0, 4, [member.put("a\0", "4")]],
    [0, 5, [member.put("c", "5")]],
    [0, 6, [member.remove("c")]],
    [0, 7, [member.key({ case: "compact", value: { revision: 1 } })]],
    [0, 8, [member.key({ case: "sweep", value: { limit: 1 } })]],
  ];
  for (const [session, sequence, operations] of commands) {
    await member.log.append([
      encodeCommand({ session, sequence, acknowledgedBelow: session, timeMs: 1_000 }, operations),
    ]);
  }
  const replica = await member.open();
  assert.equal(replica.revision, 6);
  await replica.checkpoint();
  const entries = await replica.read((tree) =>
    Array.from(tree.entries(), ({ key, value }) => `${hex(key)} ${hex(value)}`),
  );
  assert.deepEqual(entries, [
    // The session: time 1000, acknowledged below 1, the answers of sequences 1 and 2.
    "01730000000000000001 08e80710011a0e0801120a080122020a0022020a001a1908021215080222110a0f0a0d08011001180120072a01323001",
    // The compact revision.
    "1063 0000000000000001",
    // The deletion of c.
    "106463 1006",
    // Events. The first of revision 1 has been swept.
    "1065000000000000000100000001 0a0162",
    "1065000000000000000200000000 0a0162120d08011001180120072a01323001",
    "1065000000000000000300000000 0a02610012090801100118012a01311801",
    "1065000000000000000400000000 0a02610012021003",
    "1065000000000000000500000000 0a0163",
    "1065000000000000000600000000 0a016312090805100518012a01351801",
    // The keys as they are.
    "106b6100 0804100418012a0134",
    "106b62 08011002180220072a0133",
    // The lease's key, and the lease: 5000 ms, until 6000.
    "1161000000000000000762 ",
    "116c0000000000000007 08882710f02e",
  ]);
  await replica.close();
});
