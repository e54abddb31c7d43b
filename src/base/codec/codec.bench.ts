/**
 * What encoding and decoding of one put costs, ours beside protobufjs's compiled code (the same encoders and decoders
 * that its static target prints). Best of several alternating rounds, in nanoseconds.
 *
 *   node src/base/codec/codec.bench.ts
 */
import protobuf from "protobufjs";
import { compilation } from "./decoder.ts";
import { bytes, message, toProto, uint64 } from "./index.ts";

const definition = {
  session: uint64(1),
  sequence: uint64(2),
  timeMs: uint64(3),
  key: bytes(4),
  value: bytes(5),
  lease: uint64(6),
};
const Put = message("bench.Put", definition);
const Interpreted = message("bench.Put", definition);
const Oracle = protobuf.parse(toProto("bench", [Put]), { keepCase: true }).root.lookupType("bench.Put");

const value = {
  session: 81_234,
  sequence: 1_234_567,
  timeMs: 1_790_000_000_000,
  key: new TextEncoder().encode("user/000012345"),
  value: new Uint8Array(251).fill(7),
  lease: 0,
};
const theirs = Oracle.fromObject({
  session: value.session,
  sequence: value.sequence,
  time_ms: value.timeMs,
  key: value.key,
  value: value.value,
});
const encoded = Put.encode(value);
// The kind of decoder is chosen at the first use.
compilation.allowed = false;
Interpreted.decode(encoded);
compilation.allowed = true;
const rounds = 200_000;
/** Results escape to here: a compiler that sees them unused would leave out making them. */
let kept: unknown;

const cases = {
  "encode ours": () => (kept = Put.encode(value)),
  "encode protobufjs": () => (kept = Oracle.encode(theirs).finish()),
  "decode ours": () => (kept = Put.decode(encoded)),
  "decode interpreted": () => (kept = Interpreted.decode(encoded)),
  "decode protobufjs": () => (kept = Oracle.decode(encoded)),
};
const best = new Map<string, number>();
for (let round = 0; round < 9; round++) {
  for (const [name, once] of Object.entries(cases)) {
    const startedMs = performance.now();
    for (let index = 0; index < rounds; index++) once();
    const ns = ((performance.now() - startedMs) * 1e6) / rounds;
    best.set(name, Math.min(best.get(name) ?? Infinity, ns));
  }
}
console.log(`a put of ${encoded.length} bytes (protobufjs: ${Oracle.encode(theirs).finish().length})`);
for (const [name, ns] of best) console.log(`${name.padEnd(20)} ${ns.toFixed(0)} ns`);
if (kept === undefined) throw new Error("nothing was done");
