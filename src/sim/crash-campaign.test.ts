/** The crash campaign finds what it is there to find: planted mistakes of a small journal, and none in the right one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { DiskFile, Env } from "../base/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { crashEverywhere } from "./index.ts";
import type { CrashPoint, CrashWorkload } from "./index.ts";

type Mistake = "none" | "no durable write" | "no directory sync" | "no checksum" | "told too early";

const recordSize = 700;
interface Notes {
  /** How many records the journal has said are there. */
  told: number;
}

/** Records of a fixed size: the number, a CRC-32, then bytes that follow from the number. */
function record(env: Env, number: number): Uint8Array {
  const bytes = new Uint8Array(recordSize).fill((number % 250) + 1);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, number + 1);
  view.setUint32(4, env.digest.crc32(bytes.subarray(8), number + 1));
  return bytes;
}

async function open(env: Env, mistake: Mistake): Promise<DiskFile> {
  await env.disk.makeDirectory("journal");
  const file = await env.disk.open("journal/0", "write", { durable: mistake !== "no durable write" });
  if (mistake !== "no directory sync") {
    await env.disk.syncDirectory("");
    await env.disk.syncDirectory("journal");
  }
  return file;
}

function journal(mistake: Mistake): CrashWorkload<Notes> {
  return {
    start: () => ({ told: 0 }),
    async run(env, notes) {
      const file = await open(env, mistake);
      for (let number = 0; number < 6; number += 1) {
        if (mistake === "told too early") notes.told = number + 1;
        await file.write([record(env, number)], number * recordSize);
        notes.told = number + 1;
      }
    },
    async check(env, notes) {
      const file = await open(env, mistake);
      let count = 0;
      for (; ; count += 1) {
        const bytes = await file.read(count * recordSize, recordSize);
        if (bytes.length < recordSize) break;
        const expected = record(env, count);
        const view = new DataView(bytes.buffer, bytes.byteOffset);
        if (view.getUint32(0) !== count + 1) break;
        if (mistake !== "no checksum" && view.getUint32(4) !== env.digest.crc32(bytes.subarray(8), count + 1)) break;
        assert.deepEqual(bytes, expected, `record ${count} is damaged`);
      }
      assert.ok(count >= notes.told, `${notes.told} records were acknowledged, ${count} are there`);
      await file.truncate(count * recordSize);
      // Goes on where it stopped, as a restarted member does.
      await file.write([record(env, count)], count * recordSize);
      notes.told = count + 1;
    },
  };
}

const campaign = { drain: nextTurn, digest: new NodeDigest() };

test("a journal that keeps its word passes every crash, and crashes while it recovers", async () => {
  const result = await crashEverywhere({ ...campaign, seed: 1, recoveryCrashes: true }, journal("none"));
  // makeDirectory, open, two syncs of directories, six writes; three moments and two fates for each.
  assert.deepEqual(result, { changeCount: 10, crashCount: 60 });
  for (let seed = 2; seed < 8; seed += 1) {
    await crashEverywhere({ ...campaign, seed, recoveryCrashes: seed % 2 === 0 }, journal("none"));
  }
});

for (const mistake of ["no durable write", "no directory sync", "no checksum", "told too early"] as const) {
  test(`a planted mistake is found, and found again alone: ${mistake}`, async () => {
    let failure: Error | undefined;
    let seed = 0;
    for (; failure === undefined && seed < 20; seed += 1) {
      failure = await crashEverywhere({ ...campaign, seed }, journal(mistake)).then(
        () => undefined,
        (error: Error) => error,
      );
    }
    const named = /^seed (\d+), crash (\{.*?\}): (.*)/.exec(failure?.message ?? "");
    assert.ok(named, `20 seeds did not find it: ${String(failure)}`);
    const only = JSON.parse(named[2] as string) as CrashPoint;
    // The crash after everything belongs to the undisturbed run, which always comes first.
    const message = failure?.message as string;
    await assert.rejects(crashEverywhere({ ...campaign, seed: Number(named[1]), only }, journal(mistake)), { message });
  });
}
