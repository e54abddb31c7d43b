/** For tests that speak rpc byte by byte: what frames look like, and a peer that sends anything. */
import { deferred, emptyBytes, utf8Encode } from "../base/index.ts";
import type { Connection, HoldfastError, Net } from "../base/index.ts";
import { decodeError, defaultSettings, encodePreface, frameType, typeMask } from "./frame.ts";
import { FrameOutput } from "./frame-output.ts";
import { FrameReader } from "./frame-reader.ts";

export const preface = encodePreface(defaultSettings);

export function frame(kind: number, call: number, body: Uint8Array = emptyBytes): Uint8Array {
  const output = new FrameOutput();
  output.header(kind, call, body.length);
  output.bytes(body);
  return Buffer.concat(output.take());
}

export function varints(...values: number[]): Uint8Array {
  const output = new FrameOutput();
  for (const value of values) output.varint(value);
  return Buffer.concat(output.take());
}

export function bind(name: string, number = 1): Uint8Array {
  return frame(frameType.bind, number, utf8Encode(name));
}

export interface SeenFrame {
  readonly type: number;
  readonly kind: number;
  readonly call: number;
  readonly body: Uint8Array;
}

/** One end of a connection in the test's hand. */
export class RawPeer {
  readonly connection: Connection;
  readonly frames: SeenFrame[] = [];
  readonly closed = deferred<Error | undefined>();
  readonly #waiters: { condition: () => boolean; resolve: () => void }[] = [];

  constructor(connection: Connection) {
    this.connection = connection;
    const check = () => {
      for (const { condition, resolve } of this.#waiters) if (condition()) resolve();
    };
    const reader = new FrameReader(
      {
        preface() {},
        frame: (kind, call, bytes, start, end) => {
          this.frames.push({ type: kind & typeMask, kind, call, body: bytes.slice(start, end) });
        },
      },
      defaultSettings.frameSizeMax,
    );
    connection.start({
      data(bytes) {
        reader.push(bytes);
        check();
      },
      drained() {},
      closed: (error) => {
        this.closed.resolve(error);
        check();
      },
    });
  }

  static async connect(net: Net, address: string): Promise<RawPeer> {
    return new RawPeer(await net.connect(address));
  }

  send(...parts: Uint8Array[]): boolean {
    return this.connection.write(parts);
  }

  until(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push({ condition, resolve }));
  }

  /** The reason in the go-away frame, once the connection is closed. */
  async farewell(): Promise<HoldfastError | undefined> {
    await this.closed.promise;
    const last = this.frames.find(({ type }) => type === frameType.goAway);
    // The number before the reason is 0, one byte.
    return last === undefined ? undefined : decodeError(last.body, 1, last.body.length);
  }
}
