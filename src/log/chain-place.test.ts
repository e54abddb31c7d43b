import assert from "node:assert/strict";
import { it } from "node:test";
import { utf8Encode } from "../base/index.ts";
import { nextTurn, NodeDigest } from "../host/index.ts";
import { Simulator } from "../sim/index.ts";
import { ChainFile } from "./chain-place.ts";

const places = [
  { engine: { kind: "file", parameters: utf8Encode("log") }, base: 0 },
  { engine: { kind: "nats", parameters: utf8Encode("nats://a:4222/S") }, base: 1_412 },
];

/** Written by hand from docs/format.md; the checksum is that of the rest. */
const golden =
  "484643484149" + "4e31" + "________" + "0a0d0a0b0a0466696c6512036c6f67" + "0a1e0a190a046e617473120f" + "________";

it("keeps the places of a chain as docs/format.md says, and refuses a damaged file by its name", async () => {
  const simulator = new Simulator({ seed: "places", drain: nextTurn, digest: new NodeDigest() });
  const { env } = simulator.machine("a");
  const chain = new ChainFile(env, "chain");
  await simulator.run(
    (async () => {
      assert.equal(await chain.load(), undefined);
      await chain.save(places);
      assert.deepEqual(await chain.load(), places);
      await chain.save(places.slice(1));
      assert.deepEqual(await chain.load(), places.slice(1));

      await chain.save(places);
      const file = await env.disk.open("chain", "write");
      const whole = await file.read(0, await file.size());
      const hex = Buffer.from(whole).toString("hex");
      assert.equal(hex.slice(0, 16), golden.slice(0, 16));
      assert.equal(hex.slice(24, 54), golden.slice(24, 54));
      await file.write([new Uint8Array([(whole[20] as number) ^ 1])], 20);
      await file.sync();
      await file.close();
      await assert.rejects(chain.load(), { code: "corrupt", message: /the file chain/ });
    })(),
  );
});
