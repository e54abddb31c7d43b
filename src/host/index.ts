/** `host`: the doors of a real machine, for Node.js, and everything else that may name Node.js or an npm package. */
export { nextTurn, nodeEnv } from "./env.ts";
export type { NodeEnvOptions } from "./env.ts";
export { formatAddress, parseAddress } from "./address.ts";
export type { Address, Scheme } from "./address.ts";
export { NodeCipher } from "./cipher.ts";
export { NodeClock } from "./clock.ts";
export { NodeDigest } from "./digest.ts";
export { NodeDisk } from "./disk.ts";
export { NodeFileSystem } from "./file-system.ts";
export { ConsoleLogger, silentLogger } from "./logger.ts";
export type { ConsoleLoggerOptions, LogLevel } from "./logger.ts";
export { NodeNet } from "./net.ts";
export type { NodeNetOptions, TlsOptions } from "./net.ts";
export { NodeRandom } from "./random.ts";
export { WorkerPipeline } from "./worker-pipeline.ts";
export type { WorkerPipelineOptions } from "./worker-pipeline.ts";
