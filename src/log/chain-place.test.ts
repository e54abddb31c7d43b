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

/** Put together from docs/format.md by other means. */
const golden =
  "4846434841494e31d7ab09160a0d0a0b0a0466696c6512036c6f670a1c0a170a046e617473120f6e6174733a2f2f613a343232322f5310840b";

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
      assert.equal(Buffer.from(whole).toString("hex"), golden);
      await file.write([new Uint8Array([(whole[20] as number) ^ 1])], 20);
      await file.sync();
      await file.close();
      await assert.rejects(chain.load(), { code: "corrupt", message: /the file chain/ });
    })(),
  );
});
