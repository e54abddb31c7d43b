/**
 * One connection of the real network: a Node.js stream (a TCP or TLS socket, or a WebSocket as a stream) behind the
 * `Connection` contract.
 *
 * | state    | left by                                   | meaning                                                  |
 * |----------|-------------------------------------------|----------------------------------------------------------|
 * | waiting  | `start` → open, or over                   | paused; the system holds what arrives                    |
 * | open     | `end` → ending, `destroy`, the other side | data, drained                                            |
 * | ending   | the other side                            | writes are ignored; data still arrives                   |
 * | over     | –                                         | `closed` was called, or will be as soon as `start` is    |
 *
 * 1. Nothing is delivered before `start`, and nothing after `closed`, which is called exactly once.
 * 2. `drained` is only called after a `write` that returned false, once for all such writes.
 * 3. When the other side ends, so does this one, after sending what was written: a half-open stream helps nobody here.
 */
import type { Duplex } from "node:stream";
import { assert, HoldfastError } from "../base/index.ts";
import type { Connection, ConnectionHandlers } from "../base/index.ts";
import { systemCode } from "./disk-error.ts";

/** More than this waiting makes `write` return false. The low-water mark is 0: the system's own buffer is still full. */
export const highWaterSize = 262_144;

/** Batches up to this size are joined into one buffer: a copy is cheaper than a stream's work for each piece. */
const joinSizeMax = 65_536;

export class NodeConnection implements Connection {
  readonly peer: string;
  readonly #stream: Duplex;
  #handlers: ConnectionHandlers | undefined;
  #awaitsDrain = false;
  #paused = false;
  #ended = false;
  #over = false;
  #error: Error | undefined;

  /** `stream` is not flowing; it may still be connecting, and is handed out when it has connected. */
  constructor(stream: Duplex, peer: string) {
    this.peer = peer;
    this.#stream = stream;
    stream.on("error", (error) => (this.#error ??= this.#describe(error)));
    stream.on("close", () => {
      this.#over = true;
      this.#handlers?.closed(this.#error);
    });
  }

  start(handlers: ConnectionHandlers): void {
    assert(this.#handlers === undefined, `connection to ${this.peer} was started twice`);
    this.#handlers = handlers;
    if (this.#over) {
      queueMicrotask(() => handlers.closed(this.#error));
      return;
    }
    this.#stream.on("data", (chunk: Buffer) => {
      // A plain array: a Buffer's `slice` would not copy, which would surprise whoever expects a Uint8Array.
      if (!this.#over) handlers.data(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length));
    });
    this.#stream.on("drain", () => {
      if (!this.#awaitsDrain || this.#over) return;
      this.#awaitsDrain = false;
      handlers.drained();
    });
    if (!this.#paused) this.#stream.resume();
  }

  write(buffers: readonly Uint8Array[]): boolean {
    const stream = this.#stream;
    if (this.#ended || this.#over || stream.destroyed || stream.writableEnded) return false;
    if (buffers.length === 1) {
      stream.write(buffers[0]);
    } else if (buffers.length > 1) {
      let size = 0;
      for (const buffer of buffers) size += buffer.length;
      if (size <= joinSizeMax) {
        stream.write(Buffer.concat(buffers, size));
      } else {
        stream.cork();
        for (const buffer of buffers) stream.write(buffer);
        stream.uncork();
      }
    }
    if (stream.writableLength < highWaterSize) return true;
    this.#awaitsDrain = true;
    return false;
  }

  pause(): void {
    this.#paused = true;
    this.#stream.pause();
  }

  resume(): void {
    this.#paused = false;
    if (this.#handlers !== undefined) this.#stream.resume();
  }

  end(): void {
    if (this.#ended || this.#over) return;
    this.#ended = true;
    this.#stream.end();
  }

  destroy(error?: Error): void {
    if (this.#over || this.#stream.destroyed) return;
    this.#ended = true;
    this.#error ??= error;
    this.#stream.destroy();
  }

  #describe(error: Error): HoldfastError {
    if (isAlert(error)) {
      return new HoldfastError("denied", alertMessage(this.peer, systemCode(error) ?? ""), { cause: error });
    }
    return new HoldfastError("unavailable", `connection to ${this.peer}: ${error.message}`, { cause: error });
  }
}

/** Whether the other side has refused the TLS handshake. Of a client's certificate it does so after connecting. */
export function isAlert(error: Error): boolean {
  return /^ERR_SSL_.*_ALERT_/.test(systemCode(error) ?? "");
}

export function alertMessage(peer: string, code: string): string {
  return `${peer} refuses this side's TLS handshake (${code}); give a certificate that it trusts in tls.cert and tls.key`;
}
