/**
 * The journal's format, pinned: golden bytes, and a small journal put together a second time from the words of
 * docs/format.md alone, which the journal opens.
 */
import assert from "node:assert/strict";
import { it } from "node:test";
import { crc32 } from "node:zlib";
import { position, toHex } from "../base/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { Simulator } from "../sim/index.ts";
import { decodeSuccessor, FileEngine, successorRecord } from "./index.ts";
import { batchSeed, batchSize, decodeBatch, decodeSegmentHeader, encodeBatch, encodeSegmentHeader } from "./segment.ts";

const digest = new NodeDigest();
const nonce = Uint8Array.from({ length: 16 }, (_, index) => index);

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function header(sequence: number, size: number): Buffer {
  const covered = Buffer.concat([Buffer.from("HFJOURN1"), u64(sequence), u64(size), nonce, Buffer.alloc(20)]);
  return Buffer.concat([covered, u32(crc32(covered))]);
}

function batch(offset: number, first: number, records: readonly Uint8Array[]): Buffer {
  const sizes = records.map(({ length }) => u32(length));
  const content = Buffer.concat([...sizes, ...records]);
  const covered = Buffer.concat([u32(content.length), u32(records.length), u64(first), content]);
  const seed = crc32(u64(offset), crc32(nonce));
  return Buffer.concat([Buffer.from("HFJB"), u32(crc32(covered, seed)), covered]);
}

/** A record of 20 equal bytes. */
function record(byte: number): Uint8Array {
  return new Uint8Array(20).fill(byte);
}

it("writes the bytes that were written before", () => {
  const records = [Uint8Array.of(1, 2, 3), new Uint8Array(0), Uint8Array.of(255)];
  const segment = encodeSegmentHeader(digest, { sequence: 7, nonce, size: 4_096 });
  assert.equal(
    toHex(segment),
    "48464a4f55524e3107000000000000000010000000000000000102030405060708090a0b0c0d0e0f" +
      "0000000000000000000000000000000000000000d2940207",
  );
  assert.equal(toHex(segment), header(7, 4_096).toString("hex"));
  const bytes = new Uint8Array(batchSize(records));
  encodeBatch(digest, batchSeed(digest, nonce, 64), 42, records, bytes);
  assert.equal(toHex(bytes), "48464a42da15a35a10000000030000002a00000000000000030000000000000001000000010203ff");
  assert.equal(toHex(bytes), batch(64, 42, records).toString("hex"));
  const fence = new Uint8Array(batchSize([]));
  encodeBatch(digest, batchSeed(digest, nonce, 104), 45, [], fence);
  assert.equal(toHex(fence), "48464a42497aa0ee00000000000000002d00000000000000");
  assert.deepEqual(decodeSegmentHeader(digest, segment), { sequence: 7, nonce, size: 4_096 });
  assert.equal(decodeBatch(digest, nonce, fence, 0, 64), undefined, "a batch counts at its own offset only");
  const successor = successorRecord({ kind: "raft", parameters: Uint8Array.of(9, 8) });
  assert.equal(toHex(successor), "000a047261667412020908");
  assert.deepEqual(decodeSuccessor(successor), { kind: "raft", parameters: Uint8Array.of(9, 8) });
});

it("opens a journal that was put together from the description alone", async () => {
  const simulator = new Simulator({ seed: "golden", drain: nextTurn, digest });
  const { disk } = simulator.machine("a").env;
  await simulator.run(
    (async () => {
      await disk.makeDirectory("log");
      // Two segments; the second begins where the first ends, and its last batch is torn.
      const files: [string, Buffer[], number][] = [
        ["000000000003.log", [header(3, 256), batch(64, 10, [record(1), record(2)]), batch(136, 12, [])], 256],
        [
          "000000000004.log",
          [header(4, 512), batch(64, 12, [record(3)]), batch(112, 13, [record(4)]).subarray(0, 40)],
          512,
        ],
      ];
      for (const [name, parts, size] of files) {
        const file = await disk.open(`log/${name}`, "write");
        await file.truncate(size);
        await file.write(parts, 0);
        await file.close();
      }
      const engine = await FileEngine.open(simulator.machine("a").env, "log");
      assert.deepEqual([engine.start(), await engine.tail()], [10, 13]);
      const found: Uint8Array[] = [];
      for await (const { records } of engine.read(position(10))) if (found.push(...records) === 3) break;
      assert.deepEqual(found, [record(1), record(2), record(3)]);
      await engine.close();
    })(),
  );
});
