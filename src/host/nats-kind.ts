/** Logs on NATS JetStream for stores that a program opens: `nats://host:port/STREAM?replicas=3`. */
import { utf8Decode, utf8Encode } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import type { EngineKind } from "../log/index.ts";
import { parseNatsAddress } from "./nats-address.ts";
import { NatsEngine } from "./nats-engine.ts";
import { NatsStream } from "./nats-stream.ts";

export function natsKind(env: Pick<Env, "clock" | "random" | "logger">): EngineKind {
  return {
    kind: "nats",
    parametersOf(address) {
      parseNatsAddress(address);
      return utf8Encode(address);
    },
    open: (parameters, how) => NatsEngine.open(env, utf8Decode(parameters), { ...how, mustExist: !how.fresh }),
    async remove(parameters) {
      const stream = await NatsStream.open(parseNatsAddress(utf8Decode(parameters)));
      try {
        await stream.delete();
      } finally {
        await stream.close();
      }
    },
  };
}
