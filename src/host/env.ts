/**
 * All doors of a real machine together.
 */
import type { Env, Logger } from "../base/index.ts";
import { NodeCipher } from "./cipher.ts";
import { NodeClock } from "./clock.ts";
import { NodeDeterminism } from "./determinism.ts";
import { NodeDigest } from "./digest.ts";
import { NodeDisk } from "./disk.ts";
import { silentLogger } from "./logger.ts";
import { NodeNet } from "./net.ts";
import type { NodeNetOptions } from "./net.ts";
import { NodeRandom } from "./random.ts";

export interface NodeEnvOptions extends NodeNetOptions {
  /** The root of the disk door. Nothing is created before something is written or the lock is taken. */
  readonly directory: string;
  /** Default: no log lines. */
  readonly logger?: Logger;
}

export function nodeEnv(options: NodeEnvOptions): Env {
  return {
    clock: new NodeClock(),
    random: new NodeRandom(),
    disk: new NodeDisk(options.directory),
    net: new NodeNet(options),
    digest: new NodeDigest(),
    logger: options.logger ?? silentLogger,
    cipher: new NodeCipher(),
    // Twice the work and more, for faults that show before a program is in production.
    determinism: process.env["NODE_ENV"] === "production" ? undefined : new NodeDeterminism(),
  };
}

/**
 * Resolves in a new turn of the event loop, when no microtask is left: what a `Simulator` needs as its `drain`.
 */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
