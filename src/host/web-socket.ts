/**
 * One connection over a WebSocket (RFC 6455): a byte stream cut into binary messages whose boundaries mean nothing.
 *
 * A WebSocket cannot be closed in one direction: who has received a close frame may not send any more, so an answer to
 * the last bytes would be lost. An empty message therefore says that its sender will send no more; when both sides have
 * said so, the WebSocket is closed. A peer that only closes, with code 1000 or none, as a page in a browser does, has
 * ended both directions at once.
 *
 * | state   | left by                                            | meaning                                           |
 * |---------|----------------------------------------------------|---------------------------------------------------|
 * | waiting | `start` → open, or over                            | paused; the system holds what arrives             |
 * | open    | `end` → ending, `destroy`, the other side          | data, drained                                     |
 * | ending  | the other side's end                               | writes are ignored; data still arrives            |
 * | over    | –                                                  | `closed` was called, or will be by `start`        |
 *
 * 1. Nothing is delivered before `start` or while paused, and nothing after `closed`, which is called exactly once.
 * 2. What waits here because the reader pauses is no more than one read of the socket had brought: the socket is paused.
 * 3. When the other side ends, so does this one, after sending what was written.
 */
import type { RawData, WebSocket } from "ws";
import { assert, HoldfastError } from "../base/index.ts";
import type { Connection, ConnectionHandlers } from "../base/index.ts";
import { highWaterSize } from "./connection.ts";

/** Largest incoming message; a larger one closes the connection. Writers cut at a quarter of it. */
export const messageSizeMax = 4_194_304;

const pieceSizeMax = messageSizeMax / 4;
/** Small buffers are joined into messages of up to this size: a copy is cheaper than a frame and a callback for each. */
const joinSizeMax = 65_536;
const lowWaterSize = highWaterSize / 4;
/** Close codes of a peer that ended on purpose: "normal", and none given. */
const cleanCodes: ReadonlySet<number> = new Set([1000, 1005]);
const empty = new Uint8Array(0);

export class WebSocketConnection implements Connection {
  readonly peer: string;
  readonly #socket: WebSocket;
  #handlers: ConnectionHandlers | undefined;
  /** Messages that came while nobody took them; an empty one is the other side's end. */
  readonly #inbox: Uint8Array[] = [];
  #delivering = false;
  #paused = false;
  #awaitsDrain = false;
  #ended = false;
  #endArrived = false;
  /** The WebSocket is closed; `closed` is due as soon as the inbox is empty. */
  #socketClosed = false;
  #over = false;
  #error: Error | undefined;

  /** `socket` is open, or still connecting and handed out when it is open. */
  constructor(socket: WebSocket, peer: string) {
    this.peer = peer;
    this.#socket = socket;
    socket.on("message", (data: RawData, isBinary: boolean) => this.#arrive(data, isBinary));
    socket.on("error", (error) => (this.#error ??= this.#failure(error.message, error)));
    socket.on("close", (code) => this.#onClose(code));
    if (socket.readyState === socket.OPEN) socket.pause();
    else socket.once("open", () => socket.pause());
  }

  start(handlers: ConnectionHandlers): void {
    assert(this.#handlers === undefined, `connection to ${this.peer} was started twice`);
    this.#handlers = handlers;
    queueMicrotask(() => this.#deliver());
    if (!this.#paused) this.#socket.resume();
  }

  write(buffers: readonly Uint8Array[]): boolean {
    if (this.#ended || this.#over || this.#socket.readyState !== this.#socket.OPEN) return false;
    let from = 0;
    let size = 0;
    for (const [index, buffer] of buffers.entries()) {
      if (size + buffer.length > joinSizeMax) {
        this.#send(buffers.slice(from, index), size);
        from = index;
        size = 0;
      }
      size += buffer.length;
    }
    this.#send(from === 0 ? buffers : buffers.slice(from), size);
    if (this.#socket.bufferedAmount < highWaterSize) return true;
    this.#awaitsDrain = true;
    return false;
  }

  pause(): void {
    this.#paused = true;
    // After the other side's end only its close frame is to come, and must be seen.
    if (!this.#endArrived) this.#socket.pause();
  }

  resume(): void {
    this.#paused = false;
    if (this.#handlers === undefined || this.#over) return;
    this.#socket.resume();
    queueMicrotask(() => this.#deliver());
  }

  end(): void {
    if (this.#ended || this.#over) return;
    this.#ended = true;
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.send(empty, sendOptions);
    this.#closeIfDone();
  }

  destroy(error?: Error): void {
    if (this.#over || this.#socketClosed) return;
    this.#ended = true;
    this.#error ??= error;
    this.#inbox.length = 0;
    // Nothing is delivered from here on; `closed` comes when the socket says so.
    this.#over = true;
    this.#socket.terminate();
  }

  /** Sends buffers that were joined, or one that is large by itself. */
  #send(buffers: readonly Uint8Array[], size: number): void {
    if (size === 0) return;
    const bytes = buffers.length === 1 ? (buffers[0] as Uint8Array) : Buffer.concat(buffers, size);
    for (let from = 0; from < size; from += pieceSizeMax) {
      this.#socket.send(bytes.subarray(from, Math.min(size, from + pieceSizeMax)), sendOptions, this.#onSent);
    }
  }

  readonly #onSent = (): void => {
    if (!this.#awaitsDrain || this.#over || this.#ended || this.#socket.bufferedAmount > lowWaterSize) return;
    this.#awaitsDrain = false;
    this.#handlers?.drained();
  };

  #arrive(data: RawData, isBinary: boolean): void {
    if (this.#over) return;
    if (!isBinary) return this.destroy(this.#failure("a text message came where only bytes are due"));
    // The socket's binary type is the default: one Buffer a message. A plain array: a Buffer's `slice` does not copy.
    const { buffer, byteOffset, length } = data as Buffer;
    this.#inbox.push(new Uint8Array(buffer, byteOffset, length));
    this.#deliver();
  }

  #deliver(): void {
    const handlers = this.#handlers;
    if (handlers === undefined || this.#delivering) return;
    this.#delivering = true;
    while (this.#inbox.length > 0 && !this.#paused && !this.#over) {
      // The length was just checked.
      const bytes = this.#inbox.shift() as Uint8Array;
      if (bytes.length === 0) this.#endArrived = true;
      else if (!this.#endArrived) handlers.data(bytes);
    }
    this.#delivering = false;
    if (this.#inbox.length > 0) return;
    if (this.#socketClosed) return this.#finish(handlers);
    if (this.#endArrived) {
      this.end();
      this.#closeIfDone();
    }
  }

  #closeIfDone(): void {
    if (this.#ended && this.#endArrived && this.#socket.readyState === this.#socket.OPEN) this.#socket.close(1000);
  }

  #onClose(code: number): void {
    const clean = this.#endArrived || cleanCodes.has(code);
    if (!clean && !this.#over) this.#error ??= this.#failure(`closed with code ${code}`);
    this.#socketClosed = true;
    // After a failure nothing more is delivered; after a clean end the reader gets what it has not taken yet.
    if (this.#error !== undefined || this.#over) this.#inbox.length = 0;
    this.#deliver();
  }

  #finish(handlers: ConnectionHandlers): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#over = true;
    handlers.closed(this.#error);
  }

  #finished = false;

  #failure(reason: string, cause?: unknown): HoldfastError {
    return new HoldfastError("unavailable", `connection to ${this.peer}: ${reason}`, { cause });
  }
}

const sendOptions = { binary: true, compress: false } as const;
